"""Is the process alive, and can it do its work? On a port of its own, and asks nobody who they are."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from rotator.api import auth
from rotator.api.auth import Role
from rotator.errors import RotatorError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from starlette.requests import Request

Check = Callable[[], Awaitable[None]]
Scrape = Callable[[], Awaitable[tuple[bytes, str]]]

_CHECK_SECONDS: Final = 5.0
#: However often readiness is asked for, a part is asked no more than once in this time.
_FRESH_SECONDS: Final = 1.0


class Part:
    """Something that the service needs, and how it was when last looked at."""

    def __init__(self, check: Check, now: Callable[[], datetime]) -> None:
        self._check = check
        self._now = now
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self._code: str | None = None
        self._since: datetime | None = None

    async def look(self) -> dict[str, Any]:
        """``ok``, or the code of the error; since when."""
        async with self._looking:
            if time.monotonic() - self._looked_at >= _FRESH_SECONDS:
                code = await self._ask()
                if self._since is None or code != self._code:
                    self._code, self._since = code, self._now()
                self._looked_at = time.monotonic()
        since = self._since.isoformat().replace("+00:00", "Z") if self._since else None
        return {"ok": self._code is None, "code": self._code or "ok", "since": since}

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._check()
        except RotatorError as error:
            return error.code
        except TimeoutError:
            return "timeout"
        except Exception:  # noqa: BLE001 - whatever it is, the part does not work
            return "internal"
        return None


def create_health_app(
    checks: Mapping[str, Check],
    *,
    now: Callable[[], datetime],
    scrape: Scrape | None = None,
    leads: Callable[[], tuple[bool, str | None]] = lambda: (True, None),
) -> Starlette:
    """``/healthz`` says that the loop turns; ``/readyz`` names each part, 503 if one is not ok.

    ``?exclude=secrets_manager`` asks without that part: a probe that takes every replica out of
    service at once, because the secrets manager is away, would lose their heartbeats, too.
    ``/metrics`` answers with what *scrape* gives: a body and its media type. A replica that follows
    is as ready as the one that leads: *leads* is told, and is no condition.
    """
    parts = {name: Part(check, now) for name, check in checks.items()}

    async def healthz(_request: Request) -> Response:
        return _answer({"status": "ok"}, HTTPStatus.OK)

    async def readyz(request: Request) -> Response:
        found = dict(
            zip(parts, await asyncio.gather(*(one.look() for one in parts.values())), strict=True)
        )
        excluded = request.query_params.getlist("exclude")
        is_ready = all(one["ok"] for name, one in found.items() if name not in excluded)
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        is_leading, leader = leads()
        said = {"status": "ok" if is_ready else "degraded", "parts": found}
        return _answer(said | {"leads": is_leading, "leader": leader}, status)

    async def metrics(_request: Request) -> Response:
        body, media_type = await scrape() if scrape else (b"", "text/plain")
        return Response(body, media_type=media_type, headers={"cache-control": "no-store"})

    routes = [Route("/healthz", healthz), Route("/readyz", readyz)]
    if scrape is not None:
        routes.append(Route("/metrics", metrics))
    for route in routes:
        auth.declare(route.endpoint, (Role.PUBLIC,))
    auth.require_roles(routes)
    return Starlette(routes=routes)


def _answer(content: dict[str, Any], status: HTTPStatus) -> Response:
    return Response(
        json.dumps(content),
        status_code=status,
        media_type="application/json",
        headers={"cache-control": "no-store"},
    )
