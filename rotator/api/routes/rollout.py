"""What orchestrators ask: what may restart, for the right to do it, and to be rid of it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Path, Request
from starlette.responses import Response

from rotator.api import auth, bodies, idempotency, longpoll, rollouts
from rotator.api.auth import Role
from rotator.api.dependencies import (
    Asked,
    Asking,
    ClusterPath,
    Route,
    answered,
    as_json,
    node_name,
    principal_of,
    services_of,
)
from rotator.domain.claim import ClaimState
from rotator.domain.claims import Word
from rotator.domain.ids import ClaimId, ClusterName
from rotator.errors import InputError
from rotator.protocol import v1

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rotator.api.throttle import Throttle
    from rotator.domain.cluster import Cluster
    from rotator.domain.rotation import Rotation
    from rotator.services.changes import ReceiptFor

#: Seconds between looks at what changes by the clock alone: who is silent, what hour it is.
_LOOK: Final = 2.0
_MOST: Final = 100  #: claims at once
_MAX_HOLDER: Final = 100
_DIGEST_BITS: Final = 16
_WAITS: Final = "rollout"
_ORCHESTRATOR: Final = (Role.ORCHESTRATOR,)
_READERS: Final = (Role.ORCHESTRATOR, Role.AUDITOR, Role.OPERATOR)
_ROLLOUT: Final = "/v1/clusters/{cluster}/rollout"
_CLAIMS: Final = f"{_ROLLOUT}/claims"


async def show(request: Request) -> Response:
    """What may restart next, what is under way, what waits and why; `ETag`, long poll."""
    services, principal = services_of(request), principal_of(request)
    name = ClusterName(request.path_params["cluster"])
    poll = longpoll.poll_of(request, counter="revision")

    async def still_allowed() -> None:
        again = await auth.authenticate(request, services.tokens)
        auth.require(request, again, frozenset(_READERS))

    async def look() -> v1.Rollout:
        return numbered(rollouts.rollout(await services.claims.report(name)))

    found = await look()
    if poll.wait and found.revision == poll.generation:
        throttle: Throttle = request.app.state.throttle
        looks: longpoll.Looks = request.app.state.looks
        with throttle.waiting(principal.id, _WAITS):
            async with throttle.resting(request.state.place), looks.counted():
                found = await _changed(request, look, poll=poll, still_allowed=still_allowed)
        await still_allowed()
    tag = longpoll.etag(name, found.revision)
    if longpoll.is_known(poll, name, found.revision):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"etag": tag})
    return answered(found, etag=tag)


async def _changed(
    request: Request,
    look: Callable[[], Awaitable[v1.Rollout]],
    *,
    poll: longpoll.Poll,
    still_allowed: Callable[[], Awaitable[None]],
) -> v1.Rollout:
    """The rollout once it is another one, or as it is when the time is over."""
    services = services_of(request)
    name = ClusterName(request.path_params["cluster"])
    ends_at = time.monotonic() + longpoll.with_jitter(poll.wait)
    while True:
        left = ends_at - time.monotonic()
        # Waiting begins before looking: a change between the two would be missed.
        woken = asyncio.ensure_future(services.wakeups.wait(name, seconds=max(0, min(left, _LOOK))))
        try:
            await asyncio.sleep(0)
            await still_allowed()
            found = await look()
            is_over = left <= 0 or services.closing.is_set() or await request.is_disconnected()
            if found.revision != poll.generation or is_over:
                return found
            await woken
        finally:
            woken.cancel()


def numbered(found: v1.Rollout) -> v1.Rollout:
    """With a revision that is another one whenever anything else in it is.

    Some of it changes by the clock alone, and with it no revision of the cluster: its lower bits
    are a digest of all but the seconds that claims have left.
    """
    timeless = replace(
        found, under_way=[replace(claim, seconds_left=0.0) for claim in found.under_way]
    )
    digest = int.from_bytes(hashlib.sha256(as_json(timeless).encode()).digest()[:2], "big")
    return replace(found, revision=(found.revision << _DIGEST_BITS) | digest)


async def take(
    request: Request,
    cluster: ClusterPath,
    body: Annotated[v1.TakeClaims, bodies.command(v1.TakeClaims)],
    services: Asked,
    principal: Asking,
) -> Response:
    """Claim what may restart now; an empty list when nothing may."""
    if not 1 <= body.max <= _MOST:
        raise InputError(f"max: 1 to {_MOST} is wanted")
    wanted = await services.claims.wanted(
        most=body.max,
        holder=_line(body.holder, most=_MAX_HOLDER, name="holder") or principal.id,
        among=None if body.nodes is None else frozenset(map(node_name, body.nodes)),
    )
    now = await services.queries.states.now()

    def render(found: Cluster, _rotation: Rotation | None) -> v1.Claims:
        taken = wanted.taken(found)
        return v1.Claims(claims=[rollouts.claim(one, now=now) for one in taken])

    async def act(receipt: ReceiptFor | None) -> v1.Claims:
        await services.queries.crowd(cluster)
        taken = await services.claims.take(cluster, wanted, by=principal.id, receipt=receipt)
        return v1.Claims(claims=[rollouts.claim(one, now=now) for one in taken])

    return await idempotency.once(request, act=act, render=render)


async def change(
    *,
    cluster: ClusterPath,
    claim: Annotated[str, Path(max_length=64)],
    body: Annotated[v1.ChangeClaim, bodies.command(v1.ChangeClaim)],
    services: Asked,
    principal: Asking,
) -> Response:
    """Renew a claim, say how far it is, or give it up; 409 when it is over. May be repeated."""
    if body.state not in set(ClaimState) - {ClaimState.EXPIRED}:
        raise InputError("state: claimed, restarting, done, failed or released is wanted")
    detail = _line(body.detail, most=bodies.MAX_REASON, name="detail")
    word = Word(state=ClaimState(body.state), token=body.token, detail=detail)
    found = await services.claims.change(cluster, ClaimId(claim), word, by=principal.id)
    now = await services.queries.states.now()
    return answered(rollouts.claim(found, now=now))


def _line(text: str, *, most: int, name: str) -> str:
    clean = text.strip()
    if len(clean) > most or not all(char.isprintable() for char in clean):
        raise InputError(f"{name}: one line of at most {most} characters is wanted")
    return clean


ROUTES: Final = (
    Route("GET", _ROLLOUT, show, _READERS, v1.Rollout, is_plain=True, query=("revision", "wait")),
    Route("POST", _CLAIMS, take, _ORCHESTRATOR, v1.Claims, takes=v1.TakeClaims),
    Route("PUT", f"{_CLAIMS}/{{claim}}", change, _ORCHESTRATOR, v1.Claim, takes=v1.ChangeClaim),
)
