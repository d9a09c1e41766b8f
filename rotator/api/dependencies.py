"""What the routes are given: the services, and who asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Path, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from rotator.api import auth, bodies
from rotator.api.auth import Principal, Role
from rotator.domain.ids import NODE_NAME, ClusterName, NodeName, RotationId
from rotator.errors import InputError, NotFound

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Coroutine

    from rotator.api.throttle import Throttle
    from rotator.ports.state_store import Emergencies
    from rotator.ports.wakeups import Wakeups
    from rotator.services.attestations import Attestations
    from rotator.services.beginnings import Beginnings
    from rotator.services.claims import Claims
    from rotator.services.commands import Commands
    from rotator.services.fleet import Fleet
    from rotator.services.queries import Queries
    from rotator.services.tokens import TokenService


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that a route may call."""

    beginnings: Beginnings
    commands: Commands
    claims: Claims
    fleet: Fleet
    attestations: Attestations
    queries: Queries
    tokens: TokenService
    emergencies: Emergencies
    wakeups: Wakeups
    closing: asyncio.Event  #: set when the process is about to end


def services_of(request: Request) -> Services:
    """The services of this process."""
    found: Services = request.app.state.services
    return found


def principal_of(request: Request) -> Principal:
    """Who asks; the guard has let them in."""
    found: Principal = request.state.principal
    return found


_BODILESS = frozenset({"GET", "HEAD"})
Asked = Annotated[Services, Depends(services_of)]
Asking = Annotated[Principal, Depends(principal_of)]
ClusterPath = Annotated[ClusterName, Path(max_length=255)]
NodePath = Annotated[NodeName, Path(max_length=255)]
RotationPath = Annotated[RotationId, Path(max_length=64)]


@dataclass(frozen=True, slots=True)
class Route:
    """One line of a table of routes."""

    method: str
    path: str
    endpoint: Callable[..., Any]
    roles: Sequence[Role]
    answer: type | None = None  #: a dataclass of the contract
    status: int = HTTPStatus.OK
    takes: type | None = None  #: the command in the body
    is_plain: bool = False  #: a Starlette endpoint: `(request) -> Response`, validated by itself
    query: Sequence[str] = ()  #: of a plain one, for the OpenAPI document


@asynccontextmanager
async def _admitted(request: Request, endpoint: object) -> AsyncIterator[None]:
    """While it is served. A body is read before: who sends one slowly keeps no place of others."""
    await auth.admit(request, services_of(request).tokens, endpoint)
    if Role.PUBLIC in auth.roles_of(endpoint):
        yield
        return
    _require_printable(request)
    if request.method not in _BODILESS:
        await bodies.read(request)
    throttle: Throttle = request.app.state.throttle
    async with throttle.at_work(is_node=principal_of(request).role is Role.NODE) as place:
        request.state.place = place
        yield


def _require_printable(request: Request) -> None:
    """`NotFound` or `InputError` for characters that no name has, and no database may be asked for.

    A look-up is made for several callers together: one that the database refuses would be theirs.
    """
    if not all(str(value).isprintable() for value in request.path_params.values()):
        raise NotFound
    if not all((name + value).isprintable() for name, value in request.query_params.multi_items()):
        raise InputError("query: only characters that can be printed are wanted")


class GuardedRoute(APIRoute):
    """Asks who calls, and whether they may, before anything of the request is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, behind the guard."""
        serve = super().get_route_handler()
        endpoint = self.endpoint

        async def guarded(request: Request) -> Response:
            async with _admitted(request, endpoint):
                return await serve(request)

        return guarded


def guard(
    endpoint: Callable[[Request], Coroutine[Any, Any, Response]],
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """A plain endpoint behind the same guard."""

    async def guarded(request: Request) -> Response:
        async with _admitted(request, endpoint):
            return await endpoint(request)

    auth.declare(guarded, tuple(auth.roles_of(endpoint)))
    return guarded


def as_json(answer: object) -> str:
    """A dataclass of the contract as JSON."""
    return json.dumps(asdict(answer))  # type: ignore[call-overload]


def answered(answer: object, status: int = HTTPStatus.OK, **headers: str) -> Response:
    """The answer to a request that went well."""
    return Response(
        as_json(answer), status_code=status, media_type="application/json", headers=headers
    )


def node_name(text: str) -> NodeName:
    """A node's name as it may stand in a path; `InputError`."""
    if NODE_NAME.fullmatch(text) is None:
        raise InputError("a node's name reads name@host, with at most 255 characters")
    return NodeName(text)
