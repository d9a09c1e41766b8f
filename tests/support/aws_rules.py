"""What AWS Secrets Manager documents and the moto emulator does not hold to, rule by rule.

Sources: API is https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_<Operation>.html,
QUOTAS is https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html,
VERSIONS is https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html.
No real AWS was asked: these are its words. In November 2026 the pages of ListSecretVersionIds,
UpdateSecretVersionStage, PutSecretValue, CreateSecret, DescribeSecret, QUOTAS and VERSIONS were held against copies of
them, or the same texts in AWS's SDKs. What was not found there word for word is marked "unchecked".
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

LARGEST = 65_536  # QUOTAS: "Secret value size: 65,536 bytes" (unchecked)
# QUOTAS: "removes unlabeled versions when there are more than 100, but it does not remove versions
# created less than 24 hours ago"; that the hundred-and-first is refused is unchecked.
MOST_VERSIONS = 100
MOST_LABELS = (
    20  # QUOTAS: "Staging labels attached across all versions of a secret: 20" (unchecked)
)
PAGE = 100  # API ListSecretVersionIds, MaxResults: "Maximum value of 100"
_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")  # API CreateSecret: Name (characters unchecked)


@dataclass
class Refused(Exception):
    """AWS would refuse it with this code."""

    code: str
    message: str = "refused"
    status: int = 400


def stages(secret: Any) -> dict[str, str]:
    """Where each label of moto's secret is."""
    return {
        label: version
        for version, about in secret.versions.items()
        for label in about["version_stages"]
    }


def set_stages(secret: Any, labels: dict[str, str]) -> None:
    """Put every label of moto's secret where it is to be."""
    for version, about in secret.versions.items():
        about["version_stages"] = [label for label, on in labels.items() if on == version]
    secret.default_version_id = labels.get("AWSCURRENT")


def check_create(secret: Any, asked: dict[str, Any]) -> bool:
    """Whether there is anything left to do."""
    if not _NAME.fullmatch(asked["Name"]):
        raise Refused("ValidationException", "the name has other characters than /_+=.@-")
    _check_value(asked)
    if secret is None:
        return True
    if secret.is_deleted():
        # API CreateSecret: InvalidRequestException.
        raise Refused(
            "InvalidRequestException",
            "You can't create this secret because a secret with this name is already scheduled"
            " for deletion.",
        )
    found = secret.versions.get(asked.get("ClientRequestToken"))
    if found is None or found.get("secret_string") != asked.get("SecretString"):
        raise Refused("ResourceExistsException")
    return False  # API CreateSecret: the same token and value, "the request is ignored"


def check_put(secret: Any, asked: dict[str, Any]) -> bool:
    """Whether there is anything left to do."""
    _check_there(secret)
    _check_value(asked)
    found = secret.versions.get(asked["ClientRequestToken"])
    if found is not None:
        # API PutSecretValue: "you can't modify an existing version; you can only create new ones";
        # the same value again "succeeds but does nothing", with its labels. moto writes over a
        # pending one.
        if found.get("secret_string") != asked["SecretString"]:
            raise Refused("ResourceExistsException")
        return False
    if len(secret.versions) >= MOST_VERSIONS:
        raise Refused("LimitExceededException")
    labels = set(stages(secret)) | set(asked.get("VersionStages") or ())
    if len(labels) > MOST_LABELS:
        raise Refused("LimitExceededException")
    return True


def labels_after_put(before: dict[str, str], asked: dict[str, Any]) -> dict[str, str]:
    """API PutSecretValue: labels move to the new version, AWSPREVIOUS follows AWSCURRENT.

    Without VersionStages it is AWSCURRENT; "the first version" gets that in any case.
    """
    wanted = list(asked.get("VersionStages") or ["AWSCURRENT"])
    if "AWSCURRENT" not in before and "AWSCURRENT" not in wanted:
        wanted.append("AWSCURRENT")
    after = dict(before)
    if "AWSCURRENT" in wanted and "AWSCURRENT" in before:
        after["AWSPREVIOUS"] = before["AWSCURRENT"]
    return after | dict.fromkeys(wanted, asked["ClientRequestToken"])


def labels_after_move(secret: Any, asked: dict[str, Any]) -> dict[str, str]:
    """API UpdateSecretVersionStage, as it is documented."""
    _check_there(secret)
    before, label = stages(secret), asked["VersionStage"]
    off, to = asked.get("RemoveFromVersionId"), asked.get("MoveToVersionId")
    if off is None and to is None:
        raise Refused("InvalidParameterException", "neither MoveTo nor RemoveFrom")
    # "If the label is attached and you either do not specify this parameter, or the version ID does
    # not match, then the operation fails." moto checks AWSCURRENT alone, and removes the label
    # before it looks at where it goes.
    if before.get(label) != off:
        raise Refused("InvalidParameterException", f"{label} is on {before.get(label)}")
    if to is not None and to not in secret.versions:
        raise Refused("InvalidParameterException", "Not a valid version")
    if label == "AWSCURRENT" and to is None:
        # Unchecked: that a secret always has a current version, so that AWSCURRENT moves alone.
        raise Refused("InvalidParameterException", "AWSCURRENT can't be removed")
    after = {name: version for name, version in before.items() if name != label}
    if to is not None:
        after[label] = to
    if label == "AWSCURRENT" and off is not None and off != to:
        # "automatically moves the label AWSPREVIOUS to the version that AWSCURRENT was removed from"
        after["AWSPREVIOUS"] = off
    return after


def check_value(secret: Any, asked: dict[str, Any]) -> None:
    """API GetSecretValue: without a version it is AWSCURRENT; an empty version is not found."""
    _check_there(secret)
    label, version = asked.get("VersionStage"), asked.get("VersionId")
    if label is None and version is None:
        label = asked["VersionStage"] = "AWSCURRENT"
    found = stages(secret).get(label) if label else version
    if version is not None and found != version:
        raise Refused("InvalidRequestException", "the label is on another version")
    about = secret.versions.get(found)
    if about is None or "secret_string" not in about:
        raise Refused("ResourceNotFoundException")


def described(secret: Any) -> dict[str, Any]:
    """API DescribeSecret: VersionIdsToStages has the versions with labels alone."""
    if secret is None:
        raise Refused("ResourceNotFoundException")
    answer: dict[str, Any] = secret.to_dict()
    labelled = answer.get("VersionIdsToStages", {}).items()
    answer["VersionIdsToStages"] = {version: list(on) for version, on in labelled if on}
    answer.pop("SecretVersionsToStages", None)
    return {name: value for name, value in answer.items() if value is not None}


def listed(secret: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """API ListSecretVersionIds: in pages, without deprecated versions unless they are asked for."""
    _check_there(secret)
    rows = [
        {"VersionId": version, "VersionStages": list(about["version_stages"])}
        | {"CreatedDate": about.get("createdate", int(time.time()))}
        for version, about in secret.versions.items()
        if about["version_stages"] or asked.get("IncludeDeprecated")
    ]
    begin = int(asked.get("NextToken") or 0)
    end = begin + min(asked.get("MaxResults") or PAGE, PAGE)
    page = {"ARN": secret.arn, "Name": secret.name, "Versions": rows[begin:end]}
    return page | ({"NextToken": str(end)} if end < len(rows) else {})


def check_found(secret: Any) -> None:
    """API DeleteSecret, RestoreSecret, UpdateSecret: ResourceNotFoundException."""
    if secret is None:
        raise Refused("ResourceNotFoundException")


def _check_there(secret: Any) -> None:
    check_found(secret)
    if secret.is_deleted():
        # API PutSecretValue and others: InvalidRequestException. moto takes a put.
        raise Refused(
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
        )


def _check_value(asked: dict[str, Any]) -> None:
    if len(asked.get("SecretString", "").encode()) > LARGEST:
        raise Refused("InvalidParameterException", "the value is over 65,536 bytes")
    if not 32 <= len(asked.get("ClientRequestToken", "x" * 32)) <= 64:  # API PutSecretValue
        raise Refused("InvalidParameterException", "a token has 32 to 64 characters")
