"""One request and its answer: the only place that turns HTTP into named errors.

No exception leaves here with a cause or a context: those of `requests` carry the request, and
with it the token and the cookies that were to be written.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
from hvac.adapters import RawAdapter
from requests.adapters import HTTPAdapter

from rotator.errors import (
    ConfigurationError,
    SecretStoreError,
    StoreBusy,
    StoreConflict,
    StoreForbidden,
    StoreMountMissing,
    StoreSealed,
    StoreUnreachable,
)

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from rotator.adapters.secret_stores.deadline import Deadline

CAS_MISMATCH: Final = "check-and-set parameter did not match"  #: all that tells it from other 400s


class NotThere(StoreMountMissing):
    """There is nothing at that path.

    Where a document may be absent this is caught; elsewhere (a write) only a mount can be missing.
    """

    def __init__(self, path: str, answer: dict[str, Any]) -> None:
        super().__init__(f"there is no secrets engine for {path!r}")
        self.answer = answer


class Wire:
    """HTTP to one address; no proxies, netrc or CA bundles of the environment; no redirects."""

    def __init__(self, *, address: str, ca_cert: Path | None, connections: int) -> None:
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise ConfigurationError("secret_store.address is http(s)://host:port and no more")
        if ca_cert is not None and not ca_cert.is_file():
            raise ConfigurationError(f"secret_store.ca_cert: there is no file {ca_cert}")
        self._address = address.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = True if ca_cert is None else str(ca_cert)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=connections))

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None,
        deadline: Deadline,
        body: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The answer's JSON ({} for an empty one); raises a `SecretStoreError` by name."""
        adapter = RawAdapter(
            base_uri=self._address,
            token=token,
            timeout=deadline.remaining(),
            session=self._session,
            # A redirect would take token and cookies to wherever the answer says.
            allow_redirects=False,
            ignore_exceptions=True,
        )
        failure: SecretStoreError
        try:
            response = adapter.request(method, f"/v1/{path}", json=body)
        except (requests.exceptions.RequestException, OSError) as error:
            failure = _unanswered(error, self._address)
        else:
            answer = _json(response)
            if response.status_code in {200, 204} and answer is not None:
                return answer
            failure = _refused(response.status_code, answer, path)
        raise failure

    def clock(self, deadline: Deadline) -> datetime | None:
        """What the other side's clock says, to the second; None if it does not say."""
        failure: SecretStoreError
        try:
            response = self._session.get(
                f"{self._address}/v1/sys/health",
                timeout=deadline.remaining(),
                allow_redirects=False,
            )
        except (requests.exceptions.RequestException, OSError) as error:
            failure = _unanswered(error, self._address)
        else:
            return _instant(response.headers.get("date"))
        raise failure

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()


def _json(response: requests.Response) -> dict[str, Any] | None:
    if not response.content:
        return {}
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _instant(date: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _unanswered(error: Exception, address: str) -> SecretStoreError:
    kind = type(error).__name__
    if isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.Timeout):
        return StoreUnreachable(f"the secrets manager at {address} cannot be reached ({kind})")
    if isinstance(
        error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError
    ):
        return StoreBusy(f"the secrets manager's answer broke off ({kind})")
    return SecretStoreError(f"the secrets manager could not be asked ({kind})")


def _refused(status: int, answer: dict[str, Any] | None, path: str) -> SecretStoreError:
    if answer is None:
        return StoreBusy(f"something that is no secrets manager answered {status}; a proxy?")
    says = str(answer.get("errors") or "")
    match status:
        case 400 if CAS_MISMATCH in says:
            return StoreConflict()
        case 401 | 403:
            return StoreForbidden(
                f"the secrets manager denies {path!r}, or there is no such mount;"
                " compare the token's policy with deploy/policies, and secret_store.mount"
            )
        case 404:
            return NotThere(path, answer)
        case 503 if "sealed" in says:
            return StoreSealed()
        case _ if status == 429 or not 400 <= status < 500:  # noqa: PLR2004 - HTTP's own numbers
            return StoreBusy(f"the secrets manager answered {status} for {path!r}")
    return SecretStoreError(f"the secrets manager refuses the request for {path!r} ({status})")
