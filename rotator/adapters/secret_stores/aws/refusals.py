"""What boto3 raises, by the names of our own tree. The only place that knows AWS's error codes.

Codes: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html and
its neighbours, https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html.
No message of AWS is repeated: only codes and the secret's name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as Unconnected
from botocore.parsers import ResponseParserError

from rotator.errors import (
    SecretStoreError,
    StoreBusy,
    StoreConflict,
    StoreDeletionScheduled,
    StoreForbidden,
    StoreKeyUnusable,
    StoreLoginFailed,
    StoreQuotaReached,
    StoreTokenExpired,
    StoreUnreachable,
)


class NotThere(StoreConflict):
    """There is no such secret, or no value at that version or label; unless caught, any more."""


class Exists(StoreConflict):
    """There is such a secret, or such a version with another value."""


class NotAttached(StoreConflict):
    """A label is not where it was thought to be."""


_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_LOGIN: Final = frozenset(
    {
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException"})
_KEY: Final = frozenset({"DecryptionFailure", "EncryptionFailure"})
_BUSY: Final = frozenset(
    {
        "InternalFailure",
        "InternalServiceError",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_CREDENTIALS: Final = (
    CredentialRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)


def named(error: Exception, *, operation: str, secret: str) -> SecretStoreError:
    """Our error for what *operation* on *secret* raised; it has no cause to chain."""
    if isinstance(error, ClientError):
        return _answered(error.response, operation, secret)
    kind = type(error).__name__
    if isinstance(error, _CREDENTIALS):
        return StoreLoginFailed(
            f"boto3 finds no usable AWS credentials ({kind}); see docs/how-to/aws.md"
        )
    if isinstance(error, HTTPClientError | Unconnected | OSError):
        return StoreUnreachable(f"AWS Secrets Manager cannot be reached ({kind})")
    if isinstance(error, ResponseParserError):
        return StoreBusy(f"something that is not AWS answered {operation} of {secret!r}; a proxy?")
    if isinstance(error, BotoCoreError):
        return SecretStoreError(f"{operation} of {secret!r} could not be asked ({kind})")
    return SecretStoreError(f"{operation} of {secret!r} failed ({kind})")


def _answered(answer: Any, operation: str, secret: str) -> SecretStoreError:  # noqa: ANN401 - JSON
    code = str(answer.get("Error", {}).get("Code", ""))
    says = str(answer.get("Error", {}).get("Message", "")).lower()
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    for known, make in _BY_CODE.items():
        if code in known:
            return make(operation, secret, says)
    if code in _BUSY or status >= 500:  # noqa: PLR2004 - HTTP's own number
        return StoreBusy(f"AWS answered {operation} of {secret!r} with {code or status}")
    return SecretStoreError(f"AWS refuses {operation} of {secret!r} ({code or status})")


def _denied(operation: str, secret: str, says: str) -> SecretStoreError:
    if "kms" in says and "secretsmanager:" not in says:
        return _key(operation, secret, says)
    return StoreForbidden(
        f"AWS denies {operation} of {secret!r};"
        " compare the identity's policy with deploy/policies/aws-service.json"
    )


def _key(_operation: str, secret: str, _says: str) -> SecretStoreError:
    return StoreKeyUnusable(
        f"the KMS key of {secret!r} cannot be used: it is disabled or gone, or its policy lacks"
        " kms:Decrypt and kms:GenerateDataKey for this identity"
    )


def _invalid(operation: str, secret: str, says: str) -> SecretStoreError:
    if "delet" in says:
        return StoreDeletionScheduled(
            f"{secret!r} is scheduled for deletion; restore it:"
            f" aws secretsmanager restore-secret --secret-id {secret}"
        )
    return SecretStoreError(f"AWS refuses {operation} of {secret!r} as it is (InvalidRequest)")


def _parameter(operation: str, secret: str, _says: str) -> SecretStoreError:
    if operation == "UpdateSecretVersionStage":
        return NotAttached(f"the labels of {secret!r} were moved meanwhile")
    return SecretStoreError(f"AWS refuses a parameter of {operation} of {secret!r}")


def _expired(_operation: str, _secret: str, _says: str) -> SecretStoreError:
    return StoreTokenExpired("the AWS credentials expired, and no newer ones are found")


def _login(_operation: str, _secret: str, _says: str) -> SecretStoreError:
    return StoreLoginFailed("AWS does not accept the credentials; see docs/how-to/aws.md")


def _not_there(_operation: str, secret: str, _says: str) -> SecretStoreError:
    return NotThere(f"there is no {secret!r}")


def _exists(_operation: str, secret: str, _says: str) -> SecretStoreError:
    return Exists(f"there is a {secret!r} already")


def _quota(operation: str, secret: str, _says: str) -> SecretStoreError:
    return StoreQuotaReached(
        f"AWS refuses {operation} of {secret!r}: a quota is reached; wait until its versions of"
        " the last 24 hours are fewer, and rotate less often"
    )


_BY_CODE: Final[dict[frozenset[str], Callable[[str, str, str], SecretStoreError]]] = {
    _EXPIRED: _expired,
    _LOGIN: _login,
    _DENIED: _denied,
    _KEY: _key,
    frozenset({"ResourceNotFoundException"}): _not_there,
    frozenset({"ResourceExistsException"}): _exists,
    frozenset({"InvalidRequestException"}): _invalid,
    frozenset({"InvalidParameterException", "ValidationException"}): _parameter,
    frozenset({"LimitExceededException"}): _quota,
}
