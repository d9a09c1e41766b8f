"""A thin client of the HTTP API: one call in, one value of the wire contract out.

Each command is sent under one idempotency key, so that it may be sent again when no answer came:
the service does it once. Only what may pass by itself is tried again, and for a bounded time.
"""

from __future__ import annotations

import ssl
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from urllib.parse import quote

import httpx

import rotator
from rotator.cli.decoding import NotOfTheContract, decode
from rotator.cli.failure import ExitCode, Failure, Misuse, Refused, Unintelligible, Unreachable
from rotator.protocol import v1

if TYPE_CHECKING:
    from rotator.cli.connection import Connection

_T = TypeVar("_T")
_PAUSES: Final = (0.2, 0.4, 0.8, 1.6)  #: seconds before each further attempt
_BOUND_SECONDS: Final = 60.0  #: no attempt begins later than this after the first
_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
_PASSING: Final = frozenset({429, 502, 503, 504})
#: What does not pass by itself.
FIXED: Final = frozenset({"certificate", "tls"})
_MAX_PROBLEM_TEXT: Final = 500


@dataclass(frozen=True, slots=True)
class Answer(Generic[_T]):
    """What the service said: as a value, and as the JSON it sent (with fields newer than us)."""

    value: _T
    document: Any


def require_token(connection: Connection) -> None:
    """`Failure` where there is nothing to ask with."""
    if not connection.token:
        raise Failure(
            "there is no token to ask with",
            code=ExitCode.NOT_ALLOWED,
            hint="set ROTATOR_TOKEN_FILE to a file that holds one, or give --token-file",
        )


class Api:
    """The service at one address, with one token."""

    def __init__(self, connection: Connection) -> None:
        self.address = connection.address
        self.now = datetime.now(UTC)  # noqa: TID251 - until an answer brings the service's clock
        require_token(connection)
        self._http = httpx.Client(
            base_url=connection.address,
            headers={
                "Authorization": f"Bearer {connection.token}",
                "Accept": "application/json",
                "User-Agent": f"rotator/{rotator.__version__}",
            },
            timeout=_TIMEOUT,
            # Proxies and .netrc of the environment would get to see the token.
            trust_env=False,
            verify=_trust(connection),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, kind: type[_T], *path: str, **query: str | int | None) -> Answer[_T]:
        """``GET /v1/<path>``; raises `Failure`."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._understood(kind, self._exchange("GET", path, query=given))

    def post(self, kind: type[_T], *path: str, body: object = None) -> Answer[_T]:
        """``POST /v1/<path>`` with a command of the contract; raises `Failure`."""
        return self._understood(kind, self._exchange("POST", path, body=_as_json(body)))

    def delete(self, kind: type[_T], *path: str, body: object = None) -> Answer[_T | None]:
        """``DELETE /v1/<path>``; the value is None where nothing is answered."""
        answer = self._exchange("DELETE", path, body=_as_json(body))
        if not answer.content.strip():
            return Answer(None, {})
        found = self._understood(kind, answer)
        return Answer(found.value, found.document)

    def _exchange(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: dict[str, str | int] | None = None,
        body: Any = None,  # noqa: ANN401 - JSON
    ) -> httpx.Response:
        request = self._http.build_request(method, _url(path), params=query, json=body)
        if method != "GET":
            request.headers["Idempotency-Key"] = str(uuid.uuid4())
        begun = time.monotonic()
        for pause in _PAUSES:
            answer = self._attempt(request)
            if not _may_pass(answer) or time.monotonic() - begun > _BOUND_SECONDS:
                break
            time.sleep(_pause(answer, pause))  # noqa: TID251 - a program of its own
        else:
            answer = self._attempt(request)
        if isinstance(answer, Unreachable):
            raise answer
        self._note_clock(answer)
        if answer.is_success:
            return answer
        raise self._refusal(answer, "/".join(path))

    def _attempt(self, request: httpx.Request) -> httpx.Response | Unreachable:
        # What httpx says may quote a header; only words of our own go on from here.
        try:
            return self._http.send(request)
        except httpx.TimeoutException:
            return Unreachable(self.address, "timeout")
        except httpx.ConnectError as error:
            return Unreachable(self.address, _why(error))
        except httpx.HTTPError:
            return Unreachable(self.address, "broken off")

    def _note_clock(self, answer: httpx.Response) -> None:
        try:
            self.now = parsedate_to_datetime(answer.headers["date"])
        except (KeyError, ValueError):
            self.now = datetime.now(UTC)  # noqa: TID251 - the answer brings no clock

    def _understood(self, kind: type[_T], answer: httpx.Response) -> Answer[_T]:
        try:
            document = answer.json()
            return Answer(decode(kind, document), document)
        except (ValueError, NotOfTheContract):
            raise Unintelligible(self.address, "not an answer of the rotator API") from None

    def _refusal(self, answer: httpx.Response, asked: str) -> Failure:
        try:
            said = answer.json()
        except ValueError:
            said = None
        if not isinstance(said, dict) or "code" not in said:
            return Unintelligible(self.address, f"status {answer.status_code}")
        return Refused(
            v1.Problem(
                type=_text(said, "type"),
                title=_text(said, "title"),
                status=answer.status_code,
                code=_text(said, "code"),
                detail=_text(said, "detail"),
                request_id=_text(said, "request_id"),
                rotation=_text(said, "rotation") or None,
            ),
            asked=asked,
        )


def _text(said: dict[str, Any], name: str) -> str:
    found = str(said.get(name) or "")[:_MAX_PROBLEM_TEXT]
    return "".join(char if char.isprintable() else " " for char in found)


def _as_json(body: object) -> Any:  # noqa: ANN401 - JSON
    return None if body is None else asdict(body)  # type: ignore[call-overload]


def _url(path: tuple[str, ...]) -> str:
    if any(part in {"", ".", ".."} for part in path):
        raise Misuse("a name must not be empty or made of dots")
    return "/v1/" + "/".join(quote(part, safe="@") for part in path)


def _trust(connection: Connection) -> ssl.SSLContext | bool:
    if not connection.address.startswith("https:"):
        return True
    try:
        return ssl.create_default_context(cafile=connection.cacert or None)
    except (OSError, ssl.SSLError):
        raise Misuse(f"the certificates in {connection.cacert} cannot be read") from None


def _why(error: httpx.ConnectError) -> str:
    text = str(error).lower()
    if "certificate" in text:
        return "certificate"
    if "ssl" in text:
        return "tls"
    return "refused" if "refused" in text else "no connection"


def _may_pass(answer: httpx.Response | Unreachable) -> bool:
    if isinstance(answer, Unreachable):
        return answer.why not in FIXED
    if answer.status_code == HTTPStatus.CONFLICT:
        # Our own first attempt, whose answer was lost, is still being carried out.
        return b'"still_running"' in answer.content
    return answer.status_code in _PASSING


def _pause(answer: httpx.Response | Unreachable, pause: float) -> float:
    if isinstance(answer, Unreachable):
        return pause
    wanted = answer.headers.get("retry-after", "")
    return max(pause, min(float(wanted), 2.0)) if wanted.isdecimal() else pause
