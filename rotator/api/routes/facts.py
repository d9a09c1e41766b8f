"""The audit log: in pages, and as a stream of server-sent events."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Query, Request
from starlette.responses import Response, StreamingResponse

from rotator.api import auth, mapping
from rotator.api.auth import Principal, Role
from rotator.api.dependencies import (
    Asked,
    Asking,
    Route,
    Services,
    answered,
    as_json,
    principal_of,
    services_of,
)
from rotator.api.problems import Busy
from rotator.domain.ids import ClusterName, RotationId
from rotator.errors import InputError, RotatorError
from rotator.protocol import v1

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from rotator.api.throttle import Throttle
    from rotator.ports.state_store import ChainedFact

_READERS: Final = (Role.AUDITOR, Role.OPERATOR)
MAX_STREAMS: Final = 64  #: per process
HEARTBEAT_SECONDS: Final = 15.0
#: Facts about no cluster (tokens) wake nobody; they are looked for this often, in seconds.
_LOOK_SECONDS: Final = 2.0
_PAGE: Final = 200
_STREAMS: Final = "facts/stream"  #: no node is called so
_POSITION: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


def _is_visible(principal: Principal, fact: ChainedFact) -> bool:
    """Facts of the whole service are for those whose scope is everything."""
    if fact.cluster is None:
        return "*" in principal.token.clusters
    return principal.may_see(fact.cluster)


async def list_facts(
    *,
    services: Asked,
    principal: Asking,
    cluster: Annotated[str | None, Query(max_length=255)] = None,
    rotation: Annotated[str | None, Query(max_length=64)] = None,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    newest_first: Annotated[bool, Query()] = False,
) -> Response:
    """A page of facts in the caller's scope; it may hold fewer than `limit`, or none.

    `next` is what `after` is for the page after.
    """
    name = await _cluster(services, principal, cluster)
    found = await services.queries.states.facts(
        name,
        after=after,
        limit=limit,
        rotation=None if rotation is None else RotationId(rotation),
        newest_first=newest_first,
    )
    seen = [mapping.fact(one) for one in found if _is_visible(principal, one)]
    following = found[-1].position if len(found) == limit else None
    return answered(v1.Facts(facts=seen, next=following))


async def _cluster(
    services: Services, principal: Principal, name: str | None
) -> ClusterName | None:
    if name is None:
        return None
    principal.require_cluster(name)
    return (await services.queries.crowd(ClusterName(name))).cluster.name


async def stream(request: Request) -> Response:
    """Facts as they happen: `id` is the position, `event` the kind, `data` the fact.

    Begins after `Last-Event-ID`, else after `after`, else with what happens from now on.
    """
    services, principal = services_of(request), principal_of(request)
    name = await _cluster(services, principal, request.query_params.get("cluster"))
    position = await _begin(request, services)
    if request.app.state.streams >= MAX_STREAMS or services.closing.is_set():
        raise Busy
    throttle: Throttle = request.app.state.throttle
    with throttle.waiting(principal.id, _STREAMS):
        pass  # refused while it can still be said; it is counted as long as it is sent
    return _Counted(
        _events(request, services, name, position),
        media_type="text/event-stream",
        request=request,
        principal=principal,
    )


class _Counted(StreamingResponse):
    """Counted while it is sent, also if nobody is there for its first word."""

    def __init__(self, events: Any, *, request: Request, principal: Principal, **more: Any) -> None:  # noqa: ANN401 - Starlette's own
        super().__init__(events, **more)
        self._state = request.app.state
        self._principal = principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        self._state.streams += 1
        try:
            with self._state.throttle.waiting(self._principal.id, _STREAMS):
                await super().__call__(scope, receive, send)
        finally:
            self._state.streams -= 1


async def _begin(request: Request, services: Services) -> int:
    given = request.headers.get("last-event-id") or request.query_params.get("after")
    if given is not None:
        if _POSITION.fullmatch(given) is None:
            raise InputError("after: a position is wanted")
        return int(given)
    newest = await services.queries.states.facts(None, limit=1, newest_first=True)
    return newest[0].position if newest else 0


async def _events(
    request: Request, services: Services, name: ClusterName | None, position: int
) -> AsyncIterator[str]:
    yield ": facts follow\n\n"
    said_at = time.monotonic()
    while not services.closing.is_set():
        try:
            # Pulled, one bounded page at a time: a slow reader costs no memory. The token is
            # looked at before each page.
            principal = await auth.authenticate(request, services.tokens)
            auth.require(request, principal, frozenset(_READERS))
            if name is not None:
                principal.require_cluster(name)
            found = await services.queries.states.facts(name, after=position, limit=_PAGE)
        except RotatorError as error:
            yield f'event: end\ndata: {{"code": "{error.code}"}}\n\n'
            return
        for one in found:
            position = one.position
            if _is_visible(principal, one):
                said_at = time.monotonic()
                fact = mapping.fact(one)
                yield f"id: {fact.position}\nevent: {fact.kind}\ndata: {as_json(fact)}\n\n"
        if time.monotonic() - said_at >= HEARTBEAT_SECONDS:
            said_at = time.monotonic()
            yield ": heartbeat\n\n"
        if len(found) < _PAGE:
            await _pause(services, name)


async def _pause(services: Services, name: ClusterName | None) -> None:
    """Until something changes, the process ends, or it is time to look."""
    waiting: set[asyncio.Future[Any]] = {
        asyncio.ensure_future(services.wakeups.wait(name, seconds=_LOOK_SECONDS)),
        asyncio.ensure_future(services.closing.wait()),
    }
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


ROUTES: Final = (
    Route("GET", "/v1/facts", list_facts, _READERS, v1.Facts),
    Route("GET", "/v1/facts/stream", stream, _READERS, is_plain=True, query=("cluster", "after")),
)
