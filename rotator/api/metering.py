"""Counts answers by route template: what a client wrote into a path is no name of anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNMATCHED: Final = "unmatched"


class Observe(Protocol):
    """Is told of each answer."""

    def __call__(self, method: str, route: str, status: int, /) -> None:
        """*status* 0: the caller had hung up."""
        ...


class Metered:
    """The outermost layer, so that it sees what every other has answered."""

    def __init__(self, app: ASGIApp, *, observe: Observe) -> None:
        self.app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        finally:
            self._observe(scope["method"], _template(scope), status)


def _template(scope: Scope) -> str:
    """The route's path as it was declared, with its parameters' names."""
    found = getattr(scope.get("route"), "path", None)
    if found is None:
        paths: dict[object, str] = scope["app"].state.paths if "app" in scope else {}
        found = paths.get(scope.get("endpoint"))
    return found if isinstance(found, str) else UNMATCHED
