"""Wait for a cluster to change, as Consul's blocking queries do.

``?generation=42&wait=60s`` answers at once if the cluster's generation is another one, else when it
changes, else 304. Whoever is woken looks for itself, so a wake-up for nothing costs a read.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from rotator.domain.rotation import Kind
from rotator.errors import InputError, NotFound
from rotator.protocol.v1 import MAX_WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request

    from rotator.api.dependencies import Services
    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import ClusterName
    from rotator.ports.state_store import ClusterStates

_WAIT: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s|m)?", re.ASCII)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}
_GENERATION: Final = re.compile(r"[0-9]{1,16}", re.ASCII)
#: Fleets that begin to wait together shall not come back together.
_JITTER: Final = 1 / 16
#: Changes within this many seconds are answered once, but for those of an emergency.
COALESCE: Final = (0.02, 0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """What a caller knows already, and how long it will wait for something else."""

    generation: int | None  #: or another counter
    wait: float  #: seconds; 0: not at all
    if_none_match: str | None


def poll_of(request: Request, *, counter: str = "generation") -> Poll:
    """The poll that a request asks for, by the generation or another *counter*; `InputError`."""
    given = request.query_params.get(counter)
    if given is not None and _GENERATION.fullmatch(given) is None:
        raise InputError(f"{counter}: a whole number is wanted")
    return Poll(
        generation=None if given is None else int(given),
        wait=seconds_of(request.query_params.get("wait")),
        if_none_match=request.headers.get("if-none-match"),
    )


def seconds_of(text: str | None) -> float:
    """``60s``, ``500ms``, ``2m`` or ``60`` as seconds, 300 at most; `InputError`."""
    if text is None:
        return 0.0
    match = _WAIT.fullmatch(text)
    if match is None:
        raise InputError("wait: a duration is wanted, such as 60s")
    return min(float(match[1]) * _UNITS[match[2]], float(MAX_WAIT_SECONDS))


def etag(cluster: ClusterName, generation: int) -> str:
    """Made of cluster and generation."""
    return f'"{quote(cluster, safe="")}.{generation}"'


def is_known(poll: Poll, cluster: ClusterName, generation: int) -> bool:
    """Whether the caller has this state already, so that the answer is 304."""
    if poll.generation is not None:
        return poll.generation == generation
    if poll.if_none_match is None:
        return False
    offered = {tag.strip().removeprefix("W/") for tag in poll.if_none_match.split(",")}
    return etag(cluster, generation) in offered


def with_jitter(seconds: float) -> float:
    """Up to a sixteenth less."""
    return seconds * (1 - _JITTER * secrets.randbelow(1000) / 1000)


class Looks:
    """Reads of clusters, shared by whoever is woken at the same moment.

    A read that has begun is not joined: it may be older than what its caller was woken for.
    """

    def __init__(self, states: ClusterStates) -> None:
        self._states = states
        self._about_to: dict[ClusterName, asyncio.Task[Cluster | None]] = {}
        self.waiting = 0  #: requests that wait for a change just now

    async def look(self, name: ClusterName) -> Cluster:
        """The cluster as it is after this call began; `NotFound`."""
        task = self._about_to.get(name)
        if task is None:
            task = self._about_to[name] = asyncio.ensure_future(self._load(name))
        found = await asyncio.shield(task)
        if found is None:
            raise NotFound
        return found

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        """One more waits meanwhile."""
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    async def _load(self, name: ClusterName) -> Cluster | None:
        await asyncio.sleep(0)
        del self._about_to[name]
        return await self._states.load(name)


async def wait_for_change(
    request: Request,
    services: Services,
    name: ClusterName,
    *,
    poll: Poll,
    still_allowed: Callable[[], Awaitable[None]],
) -> Cluster:
    """Until the generation is not the poll's, or its time is over, or the process ends.

    Returns the cluster as it is then. When a token has been revoked meanwhile, rights are looked
    at again at once: *still_allowed* raises. Before it answers, the caller looks once more.
    """
    looks: Looks = request.app.state.looks
    cluster = await looks.look(name)
    if poll.generation is None or not poll.wait or cluster.generation != poll.generation:
        return cluster
    ends_at = time.monotonic() + with_jitter(poll.wait)
    revocations = request.state.revocations
    async with _gone(request, services.closing) as gone, looks.counted():
        while (left := ends_at - time.monotonic()) > 0 and not gone.done():
            # Waiting begins before looking: a change between the two would be missed.
            woken = asyncio.ensure_future(services.wakeups.wait(name, seconds=left))
            try:
                await asyncio.sleep(0)
                cluster = await looks.look(name)
                if cluster.generation != poll.generation:
                    await _coalesce(cluster)
                    break
                if revocations != services.tokens.revocations:
                    revocations = services.tokens.revocations
                    await still_allowed()
                waiting: set[asyncio.Future[Any]] = {woken, gone}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                woken.cancel()
                with suppress(asyncio.CancelledError):
                    await woken
    return await looks.look(name)


async def _coalesce(cluster: Cluster) -> None:
    """Let changes in quick succession be one answer; an emergency does not wait."""
    rotation = cluster.rotation
    if rotation is not None and rotation.kind is Kind.EMERGENCY:
        return
    low, high = COALESCE
    await asyncio.sleep(low + (high - low) * secrets.randbelow(1000) / 1000)


@asynccontextmanager
async def _gone(request: Request, closing: asyncio.Event) -> AsyncIterator[asyncio.Future[None]]:
    """Done when the caller has hung up or the process ends: nobody waits for either."""

    async def hung_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    async def either() -> None:
        watching: set[asyncio.Future[Any]] = {
            asyncio.ensure_future(hung_up()),
            asyncio.ensure_future(closing.wait()),
        }
        try:
            await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in watching:
                one.cancel()

    gone = asyncio.ensure_future(either())
    try:
        yield gone
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
