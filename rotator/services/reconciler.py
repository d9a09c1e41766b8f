"""Bring every cluster one step nearer to what it should be, again and again.

Level-triggered: a pass looks at what is, resolves, does one thing, and looks again, until there
is only waiting left. Wake-ups and the metronome only say when to look; a missed one costs time,
never a step.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rotator.domain.actions import Decision, Wait
from rotator.domain.cluster import Blocker
from rotator.domain.resolver import Snapshot, resolve
from rotator.errors import (
    FenceLost,
    InvariantViolated,
    RevisionConflict,
    RotatorError,
    SecretStoreError,
)
from rotator.services.clock import Clock
from rotator.services.holdings import Holdings, question
from rotator.services.notices import Notices
from rotator.services.standings import Standings

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from rotator.domain.actions import Action
    from rotator.domain.cluster import Change, Cluster
    from rotator.domain.ids import ClusterName, Fence, Generation
    from rotator.domain.liveness import Crowd
    from rotator.ports.state_store import ClusterStates
    from rotator.ports.wakeups import Wakeups
    from rotator.services.crowds import Crowds
    from rotator.services.documents import Documents
    from rotator.services.executor import Executor
    from rotator.services.heads import Heads
    from rotator.services.holdings import Held
    from rotator.services.keyring import KeyRing
    from rotator.services.turns import Turns

log = logging.getLogger(__name__)

MAX_STEPS: Final = 32  #: in one pass over a cluster
AT_ONCE: Final = 16  #: clusters
_RESYNC: Final = 30.0  #: seconds between looks at a cluster with nothing under way
_RETRY: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)  #: seconds after failures in a row


@dataclass(slots=True)
class _Pace:
    """When to look at a cluster again, on the monotonic clock."""

    due_at: float = 0.0
    failures: int = 0
    is_running: bool = False
    poked: bool = False


class Reconciler:
    """Drives all clusters of the state store, for as long as its fencing token is the newest.

    Every write to the state store is refused after that. *may_act* says before each step whether
    the lease still lasts, so that a leader that was stopped does not even try.
    """

    def __init__(
        self,
        *,
        states: ClusterStates,
        documents: Documents,
        keyring: KeyRing,
        executor: Executor,
        heads: Heads,
        crowds: Crowds,
        wakeups: Wakeups,
        fence: Fence,
        on_lost_lease: Callable[[], None],
        turns: Turns,
        on_pass: Callable[[str], None] = lambda _outcome: None,
        may_act: Callable[[], bool] = lambda: True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turns = turns
        self._states = states
        self._holdings = Holdings(
            documents, keyring, heads=heads, fence=fence, may_act=self._still_leads
        )
        self._executor = executor
        self._heads = heads
        self._crowds = crowds
        self._wakeups = wakeups
        self._on_lost_lease = on_lost_lease
        self._on_pass = on_pass  #: is told ``ok``, or the code of what failed
        self._may_act = may_act
        self.fence = fence
        self.is_halted = False
        self._paces: dict[ClusterName, _Pace] = {}
        self._announced: dict[ClusterName, Generation] = {}
        self._clock = Clock(states=states, crowds=crowds, fence=fence, monotonic=monotonic)
        self._standings = Standings(states=states, fence=fence)
        self._notices = Notices()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def poke(self, cluster: ClusterName) -> None:
        """Look at the cluster at once: something has changed."""
        pace = self._paces.setdefault(cluster, _Pace())
        pace.due_at, pace.poked = 0.0, True
        self._begin(cluster, pace)

    def look_at_all(self) -> None:
        """Any cluster may have changed: the next tick looks at each, or its pass when it has ended."""
        for pace in self._paces.values():
            pace.due_at = 0.0
            pace.poked = pace.poked or pace.is_running

    async def tick(self) -> None:
        """Look at every cluster that is due. Called by the metronome, as often as it likes."""
        self._watch_the_clock(await self._states.now())
        moment = time.monotonic()
        for name in await self._states.names():
            pace = self._paces.setdefault(name, _Pace())
            if pace.due_at <= moment:
                self._begin(name, pace)

    async def stop(self, *, seconds: float = 10) -> None:
        """Let the passes under way come to their end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def halt(self) -> None:
        """Begin no pass any more, and no step of those under way."""
        self.is_halted = True

    def _begin(self, name: ClusterName, pace: _Pace) -> None:
        if pace.is_running or self.is_halted:
            return
        pace.is_running = True
        task = asyncio.get_running_loop().create_task(self._visit(name, pace))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _visit(self, name: ClusterName, pace: _Pace) -> None:
        try:
            async with self._slots:
                pace.poked = False
                delay = await self._guarded(name, pace)
        finally:
            pace.is_running = False
        pace.due_at = time.monotonic() + delay
        if pace.poked:
            self._begin(name, pace)
        elif delay < 1:
            asyncio.get_running_loop().call_later(delay, self._begin_if_due, name, pace)

    def _begin_if_due(self, name: ClusterName, pace: _Pace) -> None:
        if pace.due_at <= time.monotonic() + 0.01:
            self._begin(name, pace)

    async def _guarded(self, name: ClusterName, pace: _Pace) -> float:
        """One pass, with every expected failure turned into a named blocker and a pause."""
        try:
            delay = await self.reconcile(name)
        except FenceLost:
            if not self.is_halted:
                log.warning("lease lost", extra={"cluster": name})
                self.halt()
                self._on_pass(FenceLost.code)
                self._on_lost_lease()
            return _RESYNC
        except RevisionConflict:
            self._on_pass(RevisionConflict.code)
            return 0.0
        except RotatorError as error:
            return await self._failed(name, pace, error)
        except Exception:
            log.exception("pass failed", extra={"cluster": name, "code": "internal"})
            self._on_pass("internal")
            return _RETRY[-1]
        pace.failures = 0
        self._on_pass("ok")
        return delay

    async def _failed(self, name: ClusterName, pace: _Pace, error: RotatorError) -> float:
        log.warning(
            "pass failed",
            extra={"cluster": name, "code": error.code},
            exc_info=isinstance(error, InvariantViolated),
        )
        self._on_pass(error.code)
        subject = "secrets manager" if isinstance(error, SecretStoreError) else ""
        blocker = Blocker(code=error.code, subject=subject, detail=str(error))
        await self._stand_quietly(name, blocker)
        if isinstance(error, SecretStoreError) and not error.is_transient:
            return _RESYNC
        pace.failures += 1
        return _RETRY[min(pace.failures, len(_RETRY)) - 1]

    async def reconcile(self, name: ClusterName) -> float:
        """Step until there is only waiting left; returns the seconds until the next look."""
        for _ in range(MAX_STEPS):
            crowd = await self._look(name)
            if crowd is None:
                return _RESYNC
            if await self._clock.restart_window(crowd):
                continue
            held = await self._holdings.of(crowd.cluster)
            pause = None if held is None else await self._step(crowd.cluster, held)
            if pause is not None:
                return pause
        return 0.0

    async def _step(self, before: Cluster, held: Held) -> float | None:
        """Decide and do one thing; the seconds to wait, None: to go on.

        Agents report while a secrets manager is waited for, and what was decided about the cluster
        before that would be late for ever. So it is looked at again here, in turn with them, and
        nothing in that turn waits for a secrets manager.
        """
        name = before.name
        async with self._turns.of(name):
            crowd = await self._look(name)
            if crowd is None or question(crowd.cluster) != question(before):
                return None
            if not self._clock.is_noted(name):
                return None
            action = await self._resolve(crowd, held)
            if action is None or isinstance(action, Wait):
                waiting = action or Wait()
                await self._standings.keep(crowd, waiting.blockers)
                self._notices.see(crowd, waiting.blockers)
                return self._pause(crowd, waiting)
            if isinstance(action, Decision):
                change = await self._executor.decide(action, crowd, held.stored, fence=self.fence)
                log.info("%s", _described(change), extra={"cluster": name})
                await self._wakeups.notify(name)
                return None
        await self._executor.write(action, crowd, held.stored, fence=self.fence)
        return None

    async def _resolve(self, crowd: Crowd, held: Held) -> Action | None:
        cluster, document = crowd.cluster, None
        if held.stored is not None:
            document = await self._heads.view(cluster, held.stored.document)
        snapshot = Snapshot(
            crowd=crowd,
            document=document,
            epoch_is_open=held.epoch_is_open,
            fence=self.fence,
        )
        if not self._still_leads():
            raise FenceLost
        return resolve(snapshot)

    def _still_leads(self) -> bool:
        return not self.is_halted and self._may_act()

    async def _stand_quietly(self, name: ClusterName, blocker: Blocker) -> None:
        """Name what blocks, if the state store can be used at all."""
        try:
            async with self._turns.of(name):
                crowd = await self._look(name)
                if crowd is not None:
                    await self._standings.fail(crowd, blocker)
        except RotatorError:
            log.warning("blockers not stored", extra={"cluster": name})

    def _watch_the_clock(self, now: datetime) -> None:
        if self._clock.jumped(now):
            self.look_at_all()

    async def _look(self, name: ClusterName) -> Crowd | None:
        cluster = await self._states.load(name)
        if cluster is None or (cluster.uid is None and not cluster.is_declared):
            return None
        await self._announce(cluster)
        now = await self._states.now()
        # By the very instant that is decided on: silence may have to be counted anew.
        self._watch_the_clock(now)
        return self._crowds.of(cluster, now=now)

    async def _announce(self, cluster: Cluster) -> None:
        """Wake who waits for a generation, whoever made it and whether its answer came or not."""
        if self._announced.get(cluster.name) != cluster.generation:
            self._announced[cluster.name] = cluster.generation
            await self._wakeups.notify(cluster.name)

    def _pause(self, crowd: Crowd, waiting: Wait) -> float:
        cluster = crowd.cluster
        if cluster.uid is None or (cluster.rotation is None and cluster.is_initialised):
            if waiting.until is None or waiting.until <= crowd.now:
                return _RESYNC
            return min(_RESYNC, (waiting.until - crowd.now).total_seconds())
        if waiting.until is None or waiting.until <= crowd.now:
            return 1.0
        return min(1.0, (waiting.until - crowd.now).total_seconds())


def _described(change: Change) -> str:
    return ", ".join(str(fact.kind) for fact in change.facts) or "saved"
