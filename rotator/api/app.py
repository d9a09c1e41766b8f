"""The HTTP application: every route behind the guard, every error behind one table."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route as PlainRoute

import rotator
from rotator.api import auth, longpoll, openapi, problems
from rotator.api.dependencies import GuardedRoute, Route, Services, guard
from rotator.api.metering import Metered, Observe
from rotator.api.routes import (
    clusters,
    emergencies,
    facts,
    nodes,
    rollout,
    rotations,
    schedules,
    tokens,
)
from rotator.api.throttle import Throttle

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Ids that come with a request are kept only if they can be nothing but an id.
_REQUEST_ID: Final = re.compile(r"[0-9a-fA-F][0-9a-fA-F-]{14,62}[0-9a-fA-F]")

ROUTES: Final[tuple[Route, ...]] = (
    *clusters.ROUTES,
    *schedules.ROUTES,
    *nodes.ROUTES,
    *rotations.ROUTES,
    *rollout.ROUTES,
    *emergencies.ROUTES,
    *tokens.ROUTES,
    *facts.ROUTES,
    *openapi.ROUTES,
)


def create_app(
    services: Services, *, throttle: Throttle | None = None, observe: Observe | None = None
) -> FastAPI:
    """The application; without *throttle*, without limits. *observe* is told of each answer.

    Set `services.closing` when the process is told to end: nobody waits then.
    """
    app = build(ROUTES)
    app.state.throttle = throttle or Throttle()
    app.state.services = services
    app.state.looks = longpoll.Looks(services.queries.states)
    if observe is not None:
        # A plain route does not say in the scope which it is, but its endpoint does.
        app.state.paths = {r.endpoint: r.path for r in app.routes if isinstance(r, PlainRoute)}
        app.add_middleware(Metered, observe=observe)
    return app


def build(routes: tuple[Route, ...]) -> FastAPI:
    """The application without its services, as the OpenAPI document needs it."""
    app = FastAPI(
        title="rotator",
        version=rotator.__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.router.route_class = GuardedRoute
    app.state.running_keys = set()
    app.state.streams = 0
    app.state.table = routes
    for route in routes:
        _add(app, route)
    auth.require_roles(app.routes)
    problems.install(app)
    app.add_middleware(Envelope)
    return app


def _add(app: FastAPI, route: Route) -> None:
    auth.declare(route.endpoint, route.roles)
    if route.is_plain:
        endpoint = guard(route.endpoint) if route.roles else route.endpoint
        plain = PlainRoute(route.path, endpoint, methods=[route.method])
        app.router.routes.append(plain)
        return
    app.add_api_route(
        route.path,
        route.endpoint,
        methods=[route.method],
        status_code=int(route.status),
        response_model=route.answer,
    )


class Envelope:
    """What every answer has: an id, no place in a cache, and a problem where there is a bug."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Request(scope).headers.get("x-request-id", "")
        known = _REQUEST_ID.fullmatch(given) is not None
        request_id = given if known else secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["cache-control"] = "no-store"
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        except ClientDisconnect:
            return  # nobody is there to be answered, and hanging up is no bug
        except Exception as error:  # noqa: BLE001 - the last one who can answer
            answer = problems.of_bug(Request(scope), error)
            if not started:
                await answer(scope, receive, send_on)
