"""A term begins with a token and ends with the lease; silence counts only while anybody could hear."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rotator.domain.ids import Fence
from rotator.domain.policy import RotationPolicy
from rotator.errors import AnotherProcess, FenceLost, StateUnavailable
from rotator.ports.state_store import Tenure
from rotator.services import crowds as module
from rotator.services.crowds import Crowds
from rotator.services.leadership import Leadership
from rotator.testing.factories import NAME, NOW

A = "rabbit@a"
MONTH = timedelta(days=30)


@dataclass
class FakeLease:
    """A lease that does as it is told."""

    life: timedelta | None = timedelta(seconds=0.3)
    fails: Exception | None = None
    fence: int = 0
    holder: str | None = None
    calls: list[str] = field(default_factory=list)

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.fails is not None:
            raise self.fails

    async def acquire(self) -> Fence:
        """Take it."""
        self._note("acquire")
        if self.holder not in {None, "us"}:
            raise AnotherProcess
        self.fence, self.holder = self.fence + 1, "us"
        return Fence(self.fence)

    async def renew(self) -> None:
        """Keep it."""
        self._note("renew")
        if self.holder != "us":
            raise FenceLost

    async def release(self) -> None:
        """Give it back."""
        self._note("release")
        self.holder = None

    async def look(self) -> Tenure:
        """Who has it."""
        self._note("look")
        return Tenure(
            fence=Fence(self.fence), holder=self.holder, is_free=self.holder in {None, "us"}
        )


@dataclass
class FakeStates:
    """The clock and heartbeats of a state store."""

    fails: Exception | None = None
    touched: list[dict[Any, dict[Any, datetime]]] = field(default_factory=list)

    async def now(self) -> datetime:
        """Ours."""
        return datetime.now(UTC)

    async def touch(self, seen: dict[Any, dict[Any, datetime]]) -> None:
        """Written down, or not."""
        if self.fails is not None:
            raise self.fails
        self.touched.append(seen)


@dataclass
class FakeReconciler:
    """Knows whether it was halted."""

    fence: int
    is_halted: bool = False
    ticks: int = 0

    def halt(self) -> None:
        """No more steps."""
        self.is_halted = True

    async def stop(self, *, seconds: float) -> None:
        """There is nothing under way."""

    async def tick(self) -> None:
        """Look."""
        self.ticks += 1


@dataclass
class World:
    """A leadership over fakes."""

    lease: FakeLease
    terms: list[FakeReconciler] = field(default_factory=list)
    lost: int = 0
    renewals: int = 0  #: of the lease, before a term begins

    def __post_init__(self) -> None:
        self.crowds = Crowds(FakeStates(), {NAME: RotationPolicy(expect=None)}, serving_since=NOW)  # type: ignore[arg-type]
        self.leadership = Leadership(
            lease=self.lease,
            states=FakeStates(),  # type: ignore[arg-type]
            crowds=self.crowds,
            begin=self.begin,  # type: ignore[arg-type]
            on_lost=self.note_loss,
        )

    async def begin(self, fence: Fence) -> FakeReconciler:
        """A term."""
        await self.until(lambda: self.lease.calls.count("renew") >= self.renewals)
        self.terms.append(FakeReconciler(fence))
        return self.terms[-1]

    def note_loss(self) -> None:
        """For good."""
        self.lost += 1

    async def until(self, condition: Any) -> None:
        """Until it is true; the test's own timeout bounds it."""
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_term_ends_when_the_lease_cannot_be_renewed_and_another_begins() -> None:
    """By our own clock, without an answer; the next term has a token of its own, and silence begins anew."""
    world = World(FakeLease())
    await world.leadership.start()
    assert world.leadership.is_leading
    assert (world.terms[0].fence, world.leadership.leader) == (1, "us")
    world.lease.fails = StateUnavailable("away")
    await world.until(lambda: world.terms[0].is_halted)
    assert not world.leadership.is_leading
    since = world.crowds.serving_since
    world.lease.fails = None
    await world.until(lambda: world.leadership.is_leading)
    assert [term.fence for term in world.terms] == [1, 2]
    assert world.crowds.serving_since > since
    await world.leadership.resign()
    assert world.terms[1].is_halted
    assert world.lease.holder is None


async def test_a_leader_whose_lease_was_taken_follows() -> None:
    """It halts at once, and waits until the lease is free again; it ends no process."""
    world = World(FakeLease())
    await world.leadership.start()
    world.lease.holder = "them"
    await world.until(lambda: world.terms[0].is_halted)
    await world.until(lambda: world.leadership.leader == "them")
    assert not world.leadership.is_leading
    world.lease.holder = None
    world.leadership.lease_is_free()
    await world.until(lambda: world.leadership.is_leading)
    assert (len(world.terms), world.lost) == (2, 0)
    await world.leadership.resign()


async def test_a_term_that_is_long_in_beginning_keeps_its_lease() -> None:
    """Else no term would ever begin where what is declared takes longer than the lease lasts."""
    world = World(FakeLease(), renewals=5)
    await world.leadership.start()
    assert [term.fence for term in world.terms] == [1]
    assert world.leadership.is_leading
    await world.leadership.resign()


async def test_a_lease_that_is_lost_in_the_beginning_begins_no_term() -> None:
    """Whoever was quicker leads; this replica does not believe it does."""
    world = World(FakeLease(), renewals=1_000_000)
    starting = asyncio.ensure_future(world.leadership.start())
    await world.until(lambda: "renew" in world.lease.calls)
    world.lease.holder = "them"
    await starting
    assert (world.terms, world.leadership.is_leading) == ([], False)
    await world.leadership.resign()


async def test_a_lease_that_nobody_shares_is_refused_or_lost_for_good() -> None:
    """Where one process serves, the second does not start, and a lost lease ends the first."""
    taken = World(FakeLease(life=None, holder="them"))
    with pytest.raises(AnotherProcess):
        await taken.leadership.start()
    world = World(FakeLease(life=None))
    await world.leadership.start()
    assert world.leadership.may_act()
    world.leadership.lost()
    assert (world.lost, world.leadership.has_lost) == (1, True)


async def test_a_lease_that_cannot_be_given_back_holds_nobody_up() -> None:
    """A replica that ends does not wait for a database that is away: the lease runs out."""
    world = World(FakeLease(life=timedelta(minutes=1)))
    await world.leadership.start()
    world.lease.fails = StateUnavailable("away")
    await world.leadership.resign()
    assert world.terms[0].is_halted


async def test_heartbeats_that_could_not_be_written_are_written_later() -> None:
    """A database that is away loses none of them."""
    states = FakeStates(fails=StateUnavailable("away"))
    crowds = Crowds(states, {}, serving_since=NOW)  # type: ignore[arg-type]
    crowds.heard(NAME, A, at=NOW)  # type: ignore[arg-type]
    with pytest.raises(StateUnavailable):
        await crowds.flush()
    crowds.heard(NAME, "rabbit@b", at=NOW)  # type: ignore[arg-type]
    states.fails = None
    await crowds.flush()
    await crowds.flush()
    assert states.touched == [{NAME: {A: NOW, "rabbit@b": NOW}}]


async def test_heartbeats_are_written_of_a_few_clusters_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So no save waits for all of them; and what fails for some is repeated last."""
    monkeypatch.setattr(module, "_AT_A_TIME", 2)
    states = FakeStates(fails=StateUnavailable("one of these is locked"))
    crowds = Crowds(states, {}, serving_since=NOW)  # type: ignore[arg-type]
    for name in ("one", "two", "three", "four", "five"):
        crowds.heard(name, A, at=NOW)  # type: ignore[arg-type]
    with pytest.raises(StateUnavailable):
        await crowds.flush()
    states.fails = None
    await crowds.flush()
    assert [list(seen) for seen in states.touched] == [["three", "four"], ["five", "one"], ["two"]]


async def test_a_shorter_node_ttl_holds_for_the_heartbeats_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are written within a third of it from then on, and nobody is silent for what was before."""
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    states = FakeStates()
    of = {
        ttl: {NAME: RotationPolicy(expect=None, node_ttl=timedelta(seconds=ttl))} for ttl in (4, 90)
    }
    crowds = Crowds(states, of[90], serving_since=NOW)  # type: ignore[arg-type]

    async def written(beats: int) -> list[int]:
        found = []
        for _ in range(beats):
            clock[0] += module.BEAT
            crowds.heard(NAME, A, at=NOW)  # type: ignore[arg-type]
            await crowds.beat()
            found.append(len(states.touched))
        states.touched.clear()
        return found

    assert await written(15) == [*[0] * 13, 1, 1]
    crowds.take(of[4], now=NOW + MONTH)
    assert crowds.serving_since == NOW + MONTH
    assert await written(3) == [1, 2, 3]
    crowds.take(of[90], now=NOW)
    assert crowds.serving_since == NOW + MONTH


def test_silence_is_counted_anew_after_nobody_could_be_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a pause of the state store, or of this process, nobody is lost for the pause."""
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    crowds = Crowds(FakeStates(), {}, serving_since=NOW)  # type: ignore[arg-type]
    later = NOW + MONTH
    clock[0] += module.OUT_OF_TOUCH
    crowds.in_touch(now=later)
    assert crowds.serving_since == NOW
    clock[0] += module.OUT_OF_TOUCH + 0.1
    crowds.in_touch(now=later)
    assert crowds.serving_since == later
