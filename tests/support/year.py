"""A year of schedules in minutes: real services and a real state store, on a clock that is set.

The process is killed between the writes, at random: everything in memory is dropped, and some time
later another one begins on what the two stores hold. What should have happened is computed without
the code under test.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from rotator import failpoints
from rotator.adapters.derivation import PROFILES
from rotator.adapters.state.clusters import SqlClusterStates
from rotator.adapters.state.store import open_state
from rotator.adapters.state.wakeups import LocalWakeups
from rotator.domain import schedule as schedules
from rotator.domain import schedule_steps
from rotator.domain.calendar import Calendar
from rotator.domain.ids import ClusterName, MasterName
from rotator.domain.policy import RotationPolicy
from rotator.domain.rotation import Kind
from rotator.domain.schedule import Schedule
from rotator.errors import Conflict, RotatorError
from rotator.services.beginnings import Beginnings
from rotator.services.changes import Changes
from rotator.services.commands import Commands
from rotator.services.crowds import Crowds
from rotator.services.documents import Documents
from rotator.services.executor import Executor
from rotator.services.heads import Heads
from rotator.services.keyring import KeyRing
from rotator.services.reconciler import Reconciler
from rotator.services.turns import Turns
from rotator.testing.memory import MemoryCookieStore, MemoryMasterStore
from rotator.testing.states import MemoryClusterStates, MemoryEpochs
from tests.support.api import QuickStretcher

if TYPE_CHECKING:
    from pathlib import Path

    from rotator.domain.ids import Fence
    from rotator.domain.liveness import Crowd
    from rotator.ports.state_store import ChainedFact, ClusterStates, Epochs

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "UTC")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Hits of failpoints that one rotation causes: ten writes, each before, after and lost.
HITS = 30
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def _nobody(cluster: ClusterName) -> None:
    """Looks are planned, not poked for."""


class Killed(BaseException):
    """The process is gone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule as a person thinks of it, and not as cron does."""

    days: tuple[int, ...]  #: of the week, Monday being 0; or of the month, if *monthly*
    at: time
    zone: str
    monthly: bool = False

    @property
    def cron(self) -> str:
        """As an expression."""
        if self.monthly:
            return f"{self.at.minute} {self.at.hour} {','.join(map(str, self.days))} * *"
        return f"{self.at.minute} {self.at.hour} * * {','.join(DAYS[day] for day in self.days)}"

    def slots(self, begin: datetime, end: datetime) -> list[datetime]:
        """Every slot in (begin, end]."""
        found = []
        day = begin.date() - DAY
        while day <= end.date() + DAY:
            if (day.day if self.monthly else day.weekday()) in self.days:
                slot = first_showing(day, self.at, self.zone)
                if begin < slot <= end:
                    found.append(slot)
            day += DAY
        return found


@lru_cache(maxsize=100_000)
def first_showing(day: date, at: time, zone: str) -> datetime:
    """The first minute at which a clock on the wall shows *at* or later on this day: by looking."""
    wanted, place = datetime.combine(day, at), ZoneInfo(zone)
    minute = (wanted.replace(tzinfo=place).astimezone(UTC)) - 3 * HOUR
    while minute.astimezone(place).replace(tzinfo=None) < wanted:
        minute += MINUTE
    return minute


@dataclass
class Chaos:
    """Kills at failpoints, as many as wanted, spread over the hits that are to be expected."""

    random: random.Random
    kills: int
    hits: int  #: that are to be expected, in the whole time
    lost: int = 0
    at: Counter[str] = field(default_factory=Counter)

    time_left: float = 1.0  #: of the whole time

    def hit(self, line: str, when: str) -> None:
        """Instead of `failpoints.hit`."""
        # Twice as often as needed: all are done before the end.
        if self.random.random() >= 2 * self.kills / max(1.0, self.hits * self.time_left):
            return
        if when == "lost":
            self.lost += 1
            raise failpoints.AnswerLost(line)
        if self.kills > 0:
            self.kills -= 1
            self.at[f"{line} {when}"] += 1
            raise Killed


class Year:
    """The world: what outlives a process, the process of the moment, and the clock."""

    def __init__(
        self, database: Path | None, *, clusters: int, days: int, kills: int, seed: int
    ) -> None:
        self.random = random.Random(seed)
        self.path = database  #: None: in memory
        self.memory, self.epochs = (
            MemoryClusterStates(lambda: self.now),
            MemoryEpochs(lambda: self.now),
        )
        self.states: ClusterStates = self.memory
        self.now = BEGIN
        self.end = BEGIN + timedelta(days=days)
        plans = [Plan((6,), time(2, 30), zone) for zone in ZONES]  # where clocks jump
        plans += [self._plan() for _ in range(clusters - len(plans))]
        self.plans = {ClusterName(f"c{n:03}"): plan for n, plan in enumerate(plans[:clusters])}
        self.policies = {name: self._policy(plan) for name, plan in self.plans.items()}
        expected = sum(len(plan.slots(BEGIN, self.end)) for plan in self.plans.values())
        self.chaos = Chaos(self.random, kills, max(1, expected * HITS))
        self.wanted_kills = kills
        self.cookies, self.masters = MemoryCookieStore(), MemoryMasterStore()
        self.up: list[tuple[datetime, datetime]] = []
        self.paused: dict[ClusterName, list[tuple[datetime, datetime]]] = defaultdict(list)
        self.resume_at: dict[ClusterName, datetime] = {}
        self.orders: Counter[str] = Counter()
        self.looks: list[tuple[datetime, ClusterName]] = []
        self.planned: set[tuple[datetime, ClusterName]] = set()
        self.facts: dict[ClusterName, list[ChainedFact]] = {}
        self.crowds_at_end: dict[ClusterName, Crowd] = {}
        self._up_since: datetime | None = None
        self._process: AsyncExitStack | None = None

    def _plan(self) -> Plan:
        dice = self.random
        at = time(dice.choice((0, 1, 2, 2, 3, 23)), dice.choice((0, 15, 30, 59)))
        zone = dice.choice(ZONES)
        if dice.random() < 0.25:
            return Plan((dice.choice((1, 15, 28, 29)),), at, zone, monthly=True)
        day = dice.randrange(7)
        days = (day, (day + 3) % 7) if dice.random() < 0.05 else (day,)
        return Plan(tuple(sorted(days)), at, zone)

    def _policy(self, plan: Plan) -> RotationPolicy:
        dice = self.random
        window = timedelta(hours=dice.choice((2, 4))) if dice.random() < 0.3 else None
        schedule = Schedule(
            calendar=Calendar(plan.cron, ZoneInfo(plan.zone)),
            jitter=dice.choice((0, 10, 30)) * MINUTE,
            window=window,
        )
        return RotationPolicy(expect=None, schedule=schedule)

    # --- the process ----------------------------------------------------------------------

    async def start(self) -> None:
        """A process begins on what is stored."""
        stack = AsyncExitStack()
        epochs, fence = await self._open(stack)
        states = self.states
        await states.declare(list(self.policies), now=self.now)
        self.crowds = Crowds(states, self.policies, serving_since=self.now)
        documents = Documents(self.cookies)
        kdf = {MasterName("default"): next(iter(PROFILES.values()))}
        keyring = KeyRing(self.masters, epochs, QuickStretcher(), kdf)
        executor = Executor(states, documents, keyring)
        wakeups, turns = LocalWakeups(), Turns()
        self.reconciler = Reconciler(
            states=states,
            documents=documents,
            keyring=keyring,
            executor=executor,
            heads=Heads(states),
            crowds=self.crowds,
            wakeups=wakeups,
            fence=fence,
            on_lost_lease=lambda: None,
            turns=turns,
            monotonic=self._monotonic,
        )
        changes = Changes(
            states=states, crowds=self.crowds, wakeups=wakeups, poke=_nobody, turns=turns
        )
        self.commands = Commands(changes=changes, documents=documents, keyring=keyring)
        self.beginnings = Beginnings(
            changes=changes, documents=documents, keyring=keyring, executor=executor, fence=fence
        )
        self._process, self._up_since = stack, self.now

    def _monotonic(self) -> float:
        return (self.now - BEGIN).total_seconds()

    async def _open(self, stack: AsyncExitStack) -> tuple[Epochs, Fence]:
        if self.path is None:
            return self.epochs, await self.memory.acquire()
        state = await stack.enter_async_context(open_state(self.path))
        fence = await state.lease.acquire()
        stack.push_async_callback(state.lease.release)

        async def now() -> datetime:
            return self.now

        state.clusters.now = now  # type: ignore[method-assign]
        self.states = state.clusters
        return state.epochs, fence

    async def die(self) -> None:
        """Nothing is left but the two stores."""
        assert self._process is not None
        assert self._up_since is not None
        await self._process.aclose()
        self._process = None
        self.up.append((self._up_since, self.now))

    async def come_back(self) -> None:
        """After seconds mostly, sometimes hours, rarely days; not after the end."""
        dice = self.random.random()
        longest = 5 * MINUTE if dice < 0.85 else 3 * HOUR if dice < 0.99 else 2 * DAY
        self.now = min(self.now + longest * self.random.random(), max(self.now, self.end))
        await self.start()

    # --- time -----------------------------------------------------------------------------

    async def run(self, hit: Any) -> None:
        """The whole time; *hit* puts a function into the place of `failpoints.hit`."""
        await self.start()
        for name in self.plans:
            await self.beginnings.init(name, by="test", reason="")
            await self.reconciler.reconcile(name)
            self._look_at(name, self.now)
            for _ in range(3):
                self._look_at(name, BEGIN + (self.end - BEGIN) * self.random.random())
        hit(self.chaos.hit)
        while self.looks and self.looks[0][0] < self.end:
            at, name = heapq.heappop(self.looks)
            self.planned.discard((at, name))
            self.now = max(self.now, at)
            self.chaos.time_left = (self.end - self.now) / (self.end - BEGIN)
            try:
                if name in self.resume_at and self.resume_at[name] <= self.now:
                    await self._resume(name)
                if self.random.random() < 0.02:
                    await self._order(name)
                await self._look(name)
            except Killed:
                await self.die()
                self._look_at(name, self.now)
                await self.come_back()
        hit(lambda _line, _when: None)
        self.now = max(self.now, self.end)
        await self._close()

    def _look_at(self, name: ClusterName, at: datetime) -> None:
        if (at, name) not in self.planned:
            self.planned.add((at, name))
            heapq.heappush(self.looks, (at, name))

    async def _look(self, name: ClusterName) -> None:
        try:
            await self.reconciler.reconcile(name)
        except RotatorError:
            self._look_at(name, self.now + timedelta(seconds=1))
            return
        cluster = await self.states.load(name)
        assert cluster is not None
        crowd = self.crowds.of(cluster, now=self.now)
        rotation = cluster.rotation
        if rotation is not None:
            schedule = crowd.policy.schedule
            assert schedule is not None
            waits = schedules.outside_window(crowd)
            until = schedule.calendar.after(self.now) if waits else rotation.ends_at
            if until is None or until <= self.now:
                until = self.now + MINUTE
        else:
            turn = schedules.turn(crowd)
            assert isinstance(turn, schedules.Rest), f"{turn} was not done"
            until = turn.until
        # A day is the longest, so that what resolve says cannot hide that it should be asked.
        self._look_at(name, min(until or self.end, self.now + 7 * DAY))

    async def _order(self, name: ClusterName) -> None:
        """What people do meanwhile."""
        what = self.random.choice(("manual", "emergency", "pause"))
        try:
            if what == "pause":
                await self._pause(name)
            else:
                kind = Kind.MANUAL if what == "manual" else Kind.EMERGENCY
                await self.commands.start(name, kind=kind, by="test", reason="test")
        except Conflict:
            return
        except RotatorError:
            pass  # the answer was lost
        self.orders[what] += 1

    async def _pause(self, name: ClusterName) -> None:
        if name not in self.resume_at:
            self.resume_at[name] = self.now + 20 * DAY * self.random.random()
            self._look_at(name, self.resume_at[name])
            order = schedule_steps.pause
            await self.commands.order_schedule(name, order, by="test", reason="test")

    async def _resume(self, name: ClusterName) -> None:
        cluster = await self.states.load(name)
        assert cluster is not None
        progress = cluster.schedule
        assert progress is not None
        if progress.paused_at is not None:
            self.paused[name].append((progress.paused_at, self.now))
        order = schedule_steps.resume
        await self.commands.order_schedule(name, order, by="test", reason="test")
        del self.resume_at[name]

    async def _close(self) -> None:
        """Keep what there is to examine."""
        for name in self.plans:
            cluster = await self.states.load(name)
            assert cluster is not None
            self.crowds_at_end[name] = self.crowds.of(cluster, now=self.now)
            progress = cluster.schedule
            if progress is not None and progress.paused_at is not None:
                self.paused[name].append((progress.paused_at, self.now))
            found: list[ChainedFact] = []
            while page := await self.states.facts(
                name, after=found[-1].position if found else 0, limit=500
            ):
                found += page
            self.facts[name] = found
            if isinstance(self.states, SqlClusterStates):
                assert await self.states.broken_link(name) is None
        await self.die()
