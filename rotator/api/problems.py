"""Errors as HTTP (RFC 9457): the only place where that is decided.

What is said is a fixed text, or the message of an error whose class writes it from names that the
service knows. Nothing that a caller sent is ever repeated: it may be a cookie in the wrong field.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from rotator import errors
from rotator.api.throttle import TooManyAtWork, TooManyRequests
from rotator.protocol import v1
from rotator.services.queries import Changing

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"


class BadBody(errors.InputError):
    """The body is not a JSON object in UTF-8, or is nested too deep."""

    code = "malformed_body"


class UnknownField(errors.InputError):
    """The body has a field that this command does not know."""

    code = "unknown_field"


class BodyTooLarge(errors.InputError):
    """The body is larger than 256 KiB."""

    code = "body_too_large"


class BodyTooSlow(errors.InputError):
    """The body did not arrive in time."""

    code = "timeout"


class ReasonRequired(errors.InputError):
    """This needs a reason: one line that says why, for those who read the facts later."""

    code = "reason_required"


class StillRunning(errors.Conflict):
    """The request with this idempotency key is still running."""

    code = "still_running"


class AlreadyDone(errors.Conflict):
    """It was done under this idempotency key before; the answer held a secret and is not kept."""

    code = "already_done"


class KeyReused(errors.InputError):
    """This idempotency key was used for another request."""

    code = "key_reused"


class Busy(errors.RotatorError):
    """Too many are connected just now; try again."""

    code: ClassVar[str] = "busy"


class Unhandled(errors.RotatorError):
    """Something went wrong here; the log has more under the request id."""

    code: ClassVar[str] = "internal"


@dataclass(frozen=True, slots=True)
class _Row:
    status: HTTPStatus
    title: str
    speaks: bool = True  #: its message may be shown; else the fixed text of its class
    retry_after: int | None = None  #: seconds


_UNAVAILABLE: Final = _Row(
    HTTPStatus.SERVICE_UNAVAILABLE, "Not available just now", speaks=False, retry_after=2
)
_BROKEN: Final = _Row(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error", speaks=False)

#: The nearest class in an error's line of descent counts.
_TABLE: Final[dict[type[errors.RotatorError], _Row]] = {
    errors.InputError: _Row(HTTPStatus.UNPROCESSABLE_ENTITY, "That cannot be used"),
    BadBody: _Row(HTTPStatus.BAD_REQUEST, "Malformed body"),
    BodyTooLarge: _Row(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Body too large"),
    BodyTooSlow: _Row(HTTPStatus.REQUEST_TIMEOUT, "Body too slow"),
    KeyReused: _Row(HTTPStatus.UNPROCESSABLE_ENTITY, "Idempotency key reused"),
    errors.NotFound: _Row(HTTPStatus.NOT_FOUND, "Not found", speaks=False),
    errors.Conflict: _Row(HTTPStatus.CONFLICT, "Not possible in the present state"),
    errors.StaleGeneration: _Row(HTTPStatus.CONFLICT, "Stale report", speaks=False),
    errors.WrongFingerprint: _Row(HTTPStatus.CONFLICT, "Wrong fingerprint", speaks=False),
    errors.NotAuthenticated: _Row(HTTPStatus.UNAUTHORIZED, "Not authenticated", speaks=False),
    errors.NotAllowed: _Row(HTTPStatus.FORBIDDEN, "Not allowed"),
    errors.IdentityAway: _UNAVAILABLE,
    errors.SecretStoreError: _UNAVAILABLE,
    errors.StateStoreError: _UNAVAILABLE,
    errors.NotConfiguredHere: _UNAVAILABLE,
    Changing: _Row(HTTPStatus.SERVICE_UNAVAILABLE, "Changing", retry_after=1),
    Busy: _Row(HTTPStatus.SERVICE_UNAVAILABLE, "Busy", retry_after=5),
    TooManyRequests: _Row(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests", retry_after=1),
    TooManyAtWork: _Row(HTTPStatus.SERVICE_UNAVAILABLE, "Busy", retry_after=1),
    errors.RotatorError: _BROKEN,
}


def _row(error: errors.RotatorError) -> _Row:
    return next(_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE)


def request_id(request: Request) -> str:
    """The id that the answer's header and the log carry."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def _answer(
    request: Request,
    row: _Row,
    *,
    code: str,
    detail: str,
    rotation: str | None = None,
    retry_after: int | None = None,
    allow: str | None = None,
) -> Response:
    problem = v1.Problem(
        type=f"/problems/{code}",
        title=row.title,
        status=row.status,
        code=code,
        detail=detail,
        request_id=request_id(request),
        rotation=rotation,
    )
    content = {name: value for name, value in asdict(problem).items() if value is not None}
    headers = {} if allow is None else {"allow": allow}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    if row.status is HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return Response(
        json.dumps(content), status_code=row.status, media_type=MEDIA_TYPE, headers=headers
    )


def of_error(request: Request, error: errors.RotatorError) -> Response:
    """The answer to an error of the project's own."""
    row = _row(error)
    if row.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning(
            "request failed",
            extra={"code": error.code, "request_id": request_id(request), "why": str(error)},
        )
    is_passing = getattr(error, "is_transient", True)
    fixed = (type(error).__doc__ or "").strip().splitlines()[0]
    return _answer(
        request,
        row,
        code=error.code,
        detail=str(error) if row.speaks else fixed,
        rotation=error.rotation_id if isinstance(error, errors.RotationUnderway) else None,
        retry_after=getattr(error, "retry_after", row.retry_after) if is_passing else None,
    )


def places(found: list[Any]) -> str:
    """Where pydantic found something wrong, and what; never the value.

    Only fields that the contract names are named: a key of a mapping is input as well.
    """
    said = []
    for one in found[:10]:
        names = [part for part in one["loc"][:2] if isinstance(part, str) and part.isidentifier()]
        known = [name for name in names if name in _KNOWN]
        said.append(f"{'.'.join(known) or 'body'}: {one['type'].replace('_', ' ')}")
    return "; ".join(dict.fromkeys(said))


_KNOWN: Final = frozenset(
    name
    for kind in vars(v1).values()
    if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__")
    for name in kind.__dataclass_fields__
) | {"query", "path", "after", "before", "limit", "newest_first", "wait", "node", "cluster"}


def install(app: FastAPI) -> None:
    """Make every error that leaves a route an answer of this module."""

    @app.exception_handler(errors.RotatorError)
    async def _ours(request: Request, error: errors.RotatorError) -> Response:
        return of_error(request, error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        return of_error(request, errors.InputError(places(list(error.errors()))))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        allow = (error.headers or {}).get("Allow")
        code = {404: "not_found", 405: "method_not_allowed"}.get(status, "invalid")
        row = _Row(status, status.phrase)
        return _answer(request, row, code=code, detail=status.phrase, allow=allow)


def of_bug(request: Request, error: BaseException) -> Response:
    """The answer to what nobody foresaw. The log gets where, and never the values of variables."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    log.error(
        "unhandled",
        extra={
            "request_id": request_id(request),
            "error": type(error).__name__,
            "frames": frames[-20:],
        },
    )
    return of_error(request, Unhandled())
