"""How much one caller may ask for: so that a flood costs those who make it, and nodes nothing.

Everything is decided in memory before a token is looked up or a body is read. A good token has its
own allowance, whatever others send from its address and whatever ids they guess: allowances belong
to digests of whole tokens, and only those that are known as good have one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter, OrderedDict
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar

from rotator.api.doors import network
from rotator.errors import RotatorError
from rotator.services.allowance import Allowance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator

log = logging.getLogger(__name__)

_K = TypeVar("_K", bound="Hashable")
_V = TypeVar("_V")

MAX_KEPT: Final = 10_000  #: tokens, and addresses; the one not heard for longest goes
#: A token for a pattern of nodes speaks for many: it may ask for so many times as much.
SHARED: Final = 50
#: What a second one address may ask without a good token, and how much at once.
STRANGERS_PER_SECOND: Final = 100.0
STRANGERS_BURST: Final = 200
#: Requests being served for others than nodes; the rest of the process's time is for nodes.
OTHERS_AT_WORK: Final = 32
WAIT_SECONDS: Final = 5.0  #: for a place among them
_SAID_EVERY: Final = 10.0  #: seconds between lines in the log


class TooManyRequests(RotatorError):
    """That is more than one caller may ask for; come back later."""

    code: ClassVar[str] = "too_many_requests"

    def __init__(self, detail: str = "", *, seconds: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after = max(1, min(ceil(seconds), 60))  #: seconds


class TooManyAtWork(TooManyRequests):
    """Too many requests are being served just now; nodes go first. Try again."""

    code = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one token may do; the settings of `limits` in rotator.yaml."""

    requests_per_second: float = 100.0
    burst: int = 400
    long_polls: int = 8  #: at once, for each token and node; and fact streams, for each token


@dataclass(slots=True)
class Place:
    """Where one request is being served."""

    is_taken: bool = False  #: it counts among those of others than nodes


class _Kept(Generic[_K, _V]):
    """A mapping of bounded size that forgets what was not used for longest."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._found: OrderedDict[_K, _V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: _K) -> _V | None:
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
        return found

    def put(self, key: _K, value: _V) -> None:
        self._found[key] = value
        self._found.move_to_end(key)
        if len(self._found) > self._at_most:
            self._found.popitem(last=False)

    def drop(self, key: _K) -> None:
        self._found.pop(key, None)


class Throttle:
    """Allowances of tokens and addresses; with no limits it lets everything through."""

    def __init__(
        self, limits: Limits | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits  #: may change while serving
        self._clock = clock
        self._tokens: _Kept[bytes, Allowance] = _Kept(MAX_KEPT)
        self._good: _Kept[bytes, int] = _Kept(MAX_KEPT)
        self._strangers: _Kept[str, Allowance] = _Kept(MAX_KEPT)
        self._waiting: Counter[tuple[str, str, str]] = Counter()
        self._places = asyncio.Semaphore(OTHERS_AT_WORK)
        self._refused = 0
        self._said_at = float("-inf")

    def kept(self) -> int:
        """How many callers are remembered."""
        return len(self._tokens) + len(self._good) + len(self._strangers)

    def knock(self, address: str, credentials: str | None) -> None:
        """One request is about to be looked at; `TooManyRequests`."""
        if self.limits is None:
            return
        digest = _digest(credentials)
        times = None if digest is None else self._good.get(digest)
        if digest is None or times is None:
            self._require(
                self._stranger(network(address)), rate=STRANGERS_PER_SECOND, who="address"
            )
            return
        rate, burst = self.limits.requests_per_second * times, self.limits.burst * times
        found = self._tokens.get(digest) or Allowance(burst, self._clock())
        found = found.refilled(self._clock(), rate=rate, burst=burst)
        self._require(found, rate=rate, who="token")
        self._tokens.put(digest, found.minus(1))

    def failed(self, address: str, credentials: str | None) -> None:
        """It came without a good token, or needed none: that is counted against its address."""
        if self.limits is None:
            return
        place = network(address)
        self._strangers.put(place, self._stranger(place).minus(1))
        digest = _digest(credentials)
        if digest is not None:
            self._good.drop(digest)

    def unclear(self, address: str, credentials: str) -> None:
        """Nobody could tell whether its token is good: counted like `failed`, unless it was before."""
        digest = _digest(credentials)
        if digest is None or self._good.get(digest) is None:
            self.failed(address, credentials)

    def passed(self, credentials: str, *, is_shared: bool) -> None:
        """It came with a good token."""
        digest = _digest(credentials)
        if self.limits is not None and digest is not None:
            self._good.put(digest, SHARED if is_shared else 1)

    def expect(self, tokens: Iterable[tuple[str, bool]]) -> None:
        """Good tokens that may come: SHA-256 (hex), and whether it is for many nodes.

        So a token passes by what strangers send from its address also when it is used the first
        time. Whether it still is good is looked up each time that it comes.
        """
        for digest, is_shared in tokens:
            self._good.put(bytes.fromhex(digest), SHARED if is_shared else 1)

    @asynccontextmanager
    async def at_work(self, *, is_node: bool) -> AsyncIterator[Place]:
        """While a request is being served. Others than nodes wait for a place; `TooManyAtWork`."""
        place = Place()
        if self.limits is None or is_node:
            yield place
            return
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            self._say("work")
            raise TooManyAtWork from None
        place.is_taken = True
        try:
            yield place
        finally:
            if place.is_taken:
                self._places.release()

    @asynccontextmanager
    async def resting(self, place: Place) -> AsyncIterator[None]:
        """While a request that has this place only waits: others may work there."""
        if not place.is_taken:
            yield
            return
        self._places.release()
        place.is_taken = False
        yield
        await self._places.acquire()
        place.is_taken = True

    @contextmanager
    def waiting(self, token: str, what: str, *, cluster: str = "") -> Iterator[None]:
        """While one waits for something to happen; `TooManyRequests` if it waits too often.

        So often for each *what* (a node), and `SHARED` times as often in all of the cluster: who
        holds a token for a pattern of nodes can make names up.
        """
        most = {(token, cluster, what): 1, (token, cluster, ""): SHARED}
        for key, times in most.items():
            if self.limits and self._waiting[key] >= self.limits.long_polls * times:
                self._say("waiting")
                raise TooManyRequests(
                    f"this token waits {self._waiting[key]} times already"
                    " (limits.long_polls); end one, or come back later"
                )
        self._waiting.update(most.keys())
        try:
            yield
        finally:
            self._waiting.subtract(most.keys())
            for key in most:
                if not self._waiting[key]:
                    del self._waiting[key]

    def _stranger(self, place: str) -> Allowance:
        found = self._strangers.get(place) or Allowance(STRANGERS_BURST, self._clock())
        return found.refilled(self._clock(), rate=STRANGERS_PER_SECOND, burst=STRANGERS_BURST)

    def _require(self, found: Allowance, *, rate: float, who: str) -> None:
        if found.left < 1:
            self._say(who)
            raise TooManyRequests(
                "there were too many requests from this "
                + ("token (limits.requests_per_second)" if who == "token" else "address"),
                seconds=(1 - found.left) / rate,
            )

    def _say(self, whose: str) -> None:
        """Some lines say that requests are refused: a flood must not become one of the log."""
        self._refused += 1
        now = self._clock()
        if now - self._said_at >= _SAID_EVERY:
            log.warning("requests refused", extra={"limit": whose, "refused": self._refused})
            self._said_at, self._refused = now, 0


def _digest(credentials: str | None) -> bytes | None:
    if credentials is None:
        return None
    return hashlib.sha256(credentials.encode("utf-8", "surrogatepass")).digest()
