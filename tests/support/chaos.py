"""Kill agents, nodes and the service at random moments of rotations; what is killed comes back."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from tests.support.fleet import LONG, Fleet
from tests.support.service import wait_for
from tests.support.watch import Watch

_ENDS = ("completed", "rolled_back")


@dataclass(kw_only=True)
class Chaos:
    """Seeded: the order of what it does is the same for one seed, its moments are not."""

    fleet: Fleet
    watch: Watch
    seed: int
    strikes: Counter[str] = field(default_factory=Counter)
    returns: list[float] = field(default_factory=list)  #: seconds from up to linked to everyone
    retired: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def rotation(self, *, strikes: int, roll_back: bool = False) -> None:
        """One rotation with this many strikes in it; what must be true after it."""
        made = self.fleet
        before = made.current()
        rotation = made.rotate()
        for _ in range(strikes):
            time.sleep(self.random.uniform(0.0, 0.5))
            self._strike()
        if roll_back:
            self._roll_back(rotation)
        end = made.until(rotation, *_ENDS)
        made.settle()
        if end["phase"] == "completed":
            self.retired.append(before)
        made.assert_uses(made.current(), retired=self.retired)
        made.assert_undisturbed()

    def _strike(self) -> None:
        kinds = [self._agent, self._agent, self._node, self._node, self._service]
        self.random.choice(kinds)()

    def _any(self) -> str:
        return self.random.choice(self.fleet.names)

    def _pause(self) -> None:
        time.sleep(self.random.uniform(0.0, 1.0))

    def _agent(self) -> None:
        self.strikes["agent"] += 1
        agent = self.fleet.agents[self._any()]
        agent.kill()
        self._pause()
        agent.start()

    def _node(self) -> None:
        self.strikes["node"] += 1
        name, made = self._any(), self.fleet
        self.watch.disturbed(name)
        made.kill_node(name)
        self._pause()
        made.start_node(name)
        up_at = time.monotonic()
        wait_for(f"{name} is linked to all", lambda: made.is_linked(name), seconds=LONG)
        self.returns.append(time.monotonic() - up_at)
        made.readmit(name)
        made.wait_in_step()
        self.watch.calm(name)

    def _service(self) -> None:
        self.strikes["service"] += 1
        self.fleet.service.kill()
        self._pause()
        self.fleet.service.start()

    def _roll_back(self, rotation: str) -> None:
        """If it has not gone too far already."""
        path = f"clusters/orders/rotations/{rotation}/rollback"
        answer = self.fleet.service.request("POST", path, json={"reason": "chaos"})
        self.strikes[
            "rollback" if answer.status_code < httpx.codes.BAD_REQUEST else "too late"
        ] += 1
