"""One node, for as long as the agent runs: poll for orders, look, tell."""

from __future__ import annotations

import asyncio
import logging
import secrets
import traceback
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rotator.agent import status
from rotator.agent.findings import Findings
from rotator.agent.loop import Outcome
from rotator.agent.orders import orders_of
from rotator.errors import AgentRefused, InputError, RotatorError, ServiceAway

if TYPE_CHECKING:
    from pathlib import Path

    from rotator.agent.loop import NodeAgent
    from rotator.agent.server import Server
    from rotator.protocol import v1

log = logging.getLogger(__name__)

WAIT_SECONDS: Final = 60  #: of one long poll
_HEARTBEAT: Final = 15.0  #: until the service has said what it wants
_AFTER_FAILURE: Final = 1.0
_STALE_AFTER: Final = 10.0  #: seconds that a look may take, and more
_SLOWEST_HEARTBEAT: Final = 3600.0
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0


class Runner:
    """The tasks of one node; `run` returns only by being cancelled."""

    def __init__(self, agent: NodeAgent, server: Server, *, state_dir: Path) -> None:
        self._agent = agent
        self._server = server
        self._status_file = status.path_of(state_dir, agent.name)
        self._changed = asyncio.Event()  #: there is a reason to look
        self._news = asyncio.Event()  #: there is something to tell
        self._is_answered = False  #: the service has said what it wants, or that it wants nothing
        self._report: v1.Attestation | None = None
        self._looked_at = 0.0  #: when that was seen
        self._told: v1.Attestation | None = None
        self._heartbeat = _HEARTBEAT
        self._gone_at = float("-inf")  #: when the VM was lost last
        self._findings = Findings(agent.name)
        self._troubles: dict[str, str] = {}  #: by what was asked of the service

    async def run(self) -> None:
        """Poll, look and tell until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poll())
            tasks.create_task(self._look())
            tasks.create_task(self._tell())

    # --- orders ---------------------------------------------------------------------------

    async def _poll(self) -> None:
        pause = _FIRST_PAUSE
        generation: int | None = None
        loop = asyncio.get_running_loop()
        while True:
            asked_at = loop.time()
            try:
                # After a failure it is asked at once whether that is over.
                wait = 0 if "orders" in self._troubles else WAIT_SECONDS
                desired = await self._server.desired(
                    self._agent.name, generation=generation, wait=wait
                )
                is_new = desired is not None and desired.generation != generation
                if desired is not None:
                    self._take(desired)
                    generation = desired.generation
                self._trouble("orders", "")
                pause = _FIRST_PAUSE
                if not is_new and loop.time() - asked_at < _FIRST_PAUSE:
                    # A service that does not wait is not spun on.
                    await asyncio.sleep(_FIRST_PAUSE)
            except RotatorError as error:
                self._trouble("orders", str(error))
                await asyncio.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
                pause = min(pause * 2, _LONGEST_PAUSE)
                generation = generation if isinstance(error, ServiceAway) else None

    def _take(self, desired: v1.Desired) -> None:
        known = self._agent.memory
        is_another = None not in (known.cluster_uid, desired.cluster_uid) and (
            known.cluster_uid != desired.cluster_uid
        )
        if is_another:
            log.warning("%s: the service speaks of another cluster than before", self._agent.name)
        elif desired.generation < known.generation:
            raise AgentRefused(
                f"the service speaks of generation {desired.generation}, and"
                f" {known.generation} was seen before: it was set back, and is not"
                " obeyed (rotator recover)"
            )
        self._agent.obey(orders_of(desired, self._agent.name))
        self._is_answered = True
        self._changed.set()

    def _trouble(self, where: str, what: str) -> None:
        if what == self._troubles.get(where, ""):
            return
        if what:
            log.warning("%s: %s", self._agent.name, what)
            self._troubles[where] = what
        else:
            del self._troubles[where]
            if not self._troubles:
                log.info("%s: the service answers again", self._agent.name)
        self._changed.set()  # Look, so that the status shows it.

    # --- looking --------------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            self._changed.clear()
            outcome = await self._look_once()
            pause = min(outcome.next_look, self._heartbeat)
            self._note(outcome, next_look=pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wait_for_reason()

    async def _wait_for_reason(self) -> None:
        """Orders, a VM that has gone (if not again and again), or somebody at a locked node."""
        waits = {
            asyncio.create_task(self._changed.wait()),
            asyncio.create_task(self._wait_gone()),
            asyncio.create_task(self._agent.wait_disturbed()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _wait_gone(self) -> None:
        loop = asyncio.get_running_loop()
        await self._agent.wait_gone()
        await asyncio.sleep(self._gone_at + _AFTER_FAILURE - loop.time())
        self._gone_at = loop.time()

    @property
    def _awaits_more(self) -> bool:
        return not self._is_answered or self._agent.orders is not None

    async def _look_once(self) -> Outcome:
        """A look that fails is told, and comes to no more than the next look."""
        try:
            return await self._agent.look()
        except RotatorError as error:
            trouble = str(error)
        except Exception as error:  # noqa: BLE001 - the node needs its agent
            trouble = defect(self._agent.name, error)
        return Outcome(report=None, next_look=_AFTER_FAILURE, is_settled=False, trouble=(trouble,))

    def _note(self, outcome: Outcome, *, next_look: float) -> None:
        # What was seen before there were orders is worth telling only where there are none.
        is_bare = outcome.report is not None and outcome.report.generation == 0
        if outcome.report is not None and not (is_bare and self._awaits_more):
            self._report = outcome.report
            self._looked_at = asyncio.get_running_loop().time()
            self._news.set()
        is_whole = outcome.report is not None and outcome.report.read_from == "vm"
        now = asyncio.get_running_loop().time()
        self._findings.note(outcome.trouble, is_whole=is_whole, now=now)
        trouble = tuple(dict.fromkeys((*outcome.trouble, *self._troubles.values())))
        status.write(self._status_file, outcome, trouble=trouble, next_look=next_look)

    # --- telling --------------------------------------------------------------------------

    async def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        due, pause = loop.time(), _FIRST_PAUSE
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._news.wait()
            self._news.clear()
            report = self._report
            if report is None or (self._says_the_same(report) and loop.time() < due):
                continue
            try:
                answer = await self._attest(report)
            except ServiceAway as error:
                self._trouble("report", str(error))
                self._told = None
                await asyncio.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
                pause = min(pause * 2, self._heartbeat, _LONGEST_PAUSE)
                due = loop.time()
                continue
            except RotatorError as error:
                # Told, and not wanted: the same is told again at the next heartbeat only.
                self._trouble("report", str(error))
                await asyncio.sleep(_FIRST_PAUSE)
            else:
                self._trouble("report", "")
                self._mind(report, answer)
                self._heartbeat = min(max(answer.heartbeat_seconds, 0.1), _SLOWEST_HEARTBEAT)
            self._told, pause = report, _FIRST_PAUSE
            due = loop.time() + self._heartbeat

    async def _attest(self, report: v1.Attestation) -> v1.Attested:
        """Tell what was seen; evidence that is not read any more is none, and silence says so."""
        age = asyncio.get_running_loop().time() - self._looked_at
        if age > 2 * self._heartbeat + _STALE_AFTER:
            raise ServiceAway(f"nothing is reported: the last look at the node is {age:.0f} s old")
        return await self._server.attest(self._agent.name, report)

    def _mind(self, report: v1.Attestation, answer: v1.Attested) -> None:
        """What was held back goes on; a policy that changes makes no new generation."""
        if self._agent.told(report):
            self._changed.set()
        heals, restarts = answer.on_drift != "hold", answer.adoption == "restart"
        orders = self._agent.orders
        if orders is not None and (orders.heals_drift, orders.restarts) != (heals, restarts):
            self._agent.obey(replace(orders, heals_drift=heals, restarts=restarts))
            self._changed.set()

    def _says_the_same(self, report: v1.Attestation) -> bool:
        return self._told is not None and replace(report, at=self._told.at) == self._told


def defect(name: str, error: Exception) -> str:
    """Log where it happened, and never what it says: a message may hold anything."""
    kinds = getattr(error, "exceptions", (error,))
    for one in kinds:
        frames = "".join(traceback.format_tb(one.__traceback__)[-4:])
        log.error("%s: unexpected %s\n%s", name, type(one).__name__, frames)
    return f"a defect in the agent ({type(kinds[0]).__name__}): its log says where"


async def leave(agent: NodeAgent, server: Server) -> None:
    """The node goes for good; a service that is away does not keep it."""
    try:
        await server.leave(agent.name, "the agent was stopped, and told to leave")
        log.info("%s: left", agent.name)
    except (ServiceAway, AgentRefused, InputError) as error:
        log.warning("%s: could not leave: %s", agent.name, error)
