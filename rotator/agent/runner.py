"""One node, for as long as the agent runs: poll for orders, look, tell."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rotator.agent import status
from rotator.agent.orders import orders_of
from rotator.errors import AgentRefused, InputError, RotatorError, ServiceAway

if TYPE_CHECKING:
    from pathlib import Path

    from rotator.agent.loop import NodeAgent, Outcome
    from rotator.agent.server import Server
    from rotator.protocol import v1

log = logging.getLogger(__name__)

WAIT_SECONDS: Final = 60  #: of one long poll
_HEARTBEAT: Final = 15.0  #: until the service has said what it wants
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0


class Runner:
    """The tasks of one node; `run` returns only by being cancelled."""

    def __init__(self, agent: NodeAgent, server: Server, *, state_dir: Path) -> None:
        self._agent = agent
        self._server = server
        self._status_file = state_dir / f"{agent.name}.status.json"
        self._changed = asyncio.Event()  #: there is a reason to look
        self._news = asyncio.Event()  #: there is something to tell
        self._report: v1.Attestation | None = None
        self._told: v1.Attestation | None = None
        self._heartbeat = _HEARTBEAT
        self._service_trouble = ""

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
        while True:
            try:
                desired = await self._server.desired(
                    self._agent.name, generation=generation, wait=WAIT_SECONDS
                )
                self._trouble("")
                pause = _FIRST_PAUSE
                if desired is not None:
                    self._take(desired)
                    generation = desired.generation
            except RotatorError as error:
                self._trouble(str(error))
                await asyncio.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
                pause = min(pause * 2, _LONGEST_PAUSE)
                generation = generation if isinstance(error, ServiceAway) else None

    def _take(self, desired: v1.Desired) -> None:
        if desired.generation < self._agent.memory.generation:
            raise AgentRefused(
                f"the service speaks of generation {desired.generation}, and"
                f" {self._agent.memory.generation} was seen before: it was set back, and is not"
                " obeyed (rotator recover)"
            )
        self._agent.obey(orders_of(desired, self._agent.name))
        self._changed.set()

    def _trouble(self, what: str) -> None:
        if what != self._service_trouble:
            if what:
                log.warning("%s: %s", self._agent.name, what)
            else:
                log.info("%s: the service answers again", self._agent.name)
            self._service_trouble = what

    # --- looking --------------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            self._changed.clear()
            outcome = await self._agent.look()
            self._note(outcome)
            pause = min(outcome.next_look, self._heartbeat)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    def _note(self, outcome: Outcome) -> None:
        if outcome.report is not None:
            self._report = outcome.report
            self._news.set()
        trouble = (
            (*outcome.trouble, self._service_trouble) if self._service_trouble else outcome.trouble
        )
        status.write(self._status_file, outcome, trouble=trouble)

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
                now = datetime.now(UTC).isoformat()  # noqa: TID251 - the agent's outermost place
                answer = await self._server.attest(self._agent.name, replace(report, at=now))
            except RotatorError as error:
                self._trouble(str(error))
                self._told = None
                due = loop.time() + pause
                pause = min(pause * 2, self._heartbeat)
                await asyncio.sleep(min(pause, _FIRST_PAUSE))
                continue
            self._told, pause = report, _FIRST_PAUSE
            self._agent.heal_drift(wanted=answer.on_drift != "hold")
            self._heartbeat = max(answer.heartbeat_seconds, 0.1)
            due = loop.time() + self._heartbeat

    def _says_the_same(self, report: v1.Attestation) -> bool:
        return self._told is not None and replace(report, at=self._told.at) == self._told


async def leave(agent: NodeAgent, server: Server) -> None:
    """The node goes for good; a service that is away does not keep it."""
    try:
        await server.leave(agent.name, "the agent was stopped, and told to leave")
        log.info("%s: left", agent.name)
    except (ServiceAway, AgentRefused, InputError) as error:
        log.warning("%s: could not leave: %s", agent.name, error)
