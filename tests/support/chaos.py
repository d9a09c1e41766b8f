"""Kill agents, nodes and the service at random moments of rotations; what is killed comes back.

New nodes join in the middle, too, and one agent or the service stays away for as long as is asked for.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import httpx

from tests.support.fleet import LONG, Fleet, sha256
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
    joined: Counter[str] = field(default_factory=Counter)  #: by the phase in which they asked
    _absent: set[str] = field(default_factory=set)  #: nodes whose agents are to stay away
    _booting: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def rotation(
        self,
        *,
        strikes: int,
        roll_back: bool = False,
        joins: int = 0,
        agent_away: float = 0.0,
        service_away: float = 0.0,
    ) -> None:
        """One rotation with this many strikes in it; what must be true after it.

        *joins*: so many new nodes ask to boot in it. *agent_away*: the agent of a node is killed
        before it, and comes back after so many seconds. *service_away*: the same of the service,
        once a node has adopted.
        """
        made = self.fleet
        before = made.current()
        with self._agent_away(agent_away) if agent_away else nullcontext():
            rotation = made.rotate()
            events = [self._strike] * strikes + [self._join] * joins
            self.random.shuffle(events)
            if service_away:
                self._service_away(service_away, before)
            for event in events:
                time.sleep(self.random.uniform(0.0, 0.5))
                event()
                self._start_who_may()
            if roll_back:
                self._roll_back(rotation)
        self._await_joiners()
        end = made.until(rotation, *_ENDS)
        made.settle()
        if end["phase"] == "completed":
            self.retired.append(before)
        made.assert_uses(made.current(), retired=self.retired[-3:])
        made.assert_undisturbed()

    def _strike(self) -> None:
        kinds = [self._agent, self._agent, self._node, self._node, self._service]
        self.random.choice(kinds)()

    def _any(self, *, but: Iterable[str] = ()) -> str:
        return self.random.choice(sorted({*self.fleet.names} - {*but, *self._booting}))

    def _pause(self) -> None:
        time.sleep(self.random.uniform(0.0, 1.0))

    def _agent(self) -> None:
        self.strikes["agent"] += 1
        agent = self.fleet.agents[self._any(but=self._absent)]
        agent.kill()
        self._pause()
        agent.start()

    def _node(self) -> None:
        self.strikes["node"] += 1
        name, made = self._any(), self.fleet
        self.watch.disturbed(name)
        made.kill_node(name)
        # OTP's protection against overlapping partitions takes a death that is noticed when the
        # node is back for a partition, and cuts links of others, with equal cookies, too.
        wait_for(
            f"everyone has noticed that {name} is gone",
            lambda: not any(name in node.links() for node in made.up),
            seconds=LONG,
        )
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

    # --- who stays away -------------------------------------------------------------------

    @contextmanager
    def _agent_away(self, seconds: float) -> Iterator[None]:
        """Killed before the rotation begins; it is named, and nothing is retired without it."""
        self.strikes["agent away"] += 1
        made, name = self.fleet, self._any()
        back_at = time.monotonic() + seconds
        made.agents[name].kill()
        self._absent.add(name)
        yield
        while time.monotonic() < back_at:
            assert made.cluster()["state"] != "stable", "it went on without an agent"
            time.sleep(0.5)
        wait_for(f"{name} is named", lambda: name in {who for _, who in made.blockers()})
        self._absent.remove(name)
        made.agents[name].start()

    def _service_away(self, seconds: float, before: str) -> None:
        """Who has its orders goes on; nodes and agents are killed and come back without it."""
        self.strikes["service away"] += 1
        made, former = self.fleet, sha256(before)

        def has_begun() -> bool:
            return any(table.own != former for table in made.tables().values())

        wait_for("somebody has adopted", has_begun, seconds=LONG)
        made.service.kill()
        back_at = time.monotonic() + seconds
        while time.monotonic() < back_at:
            self.random.choice([self._agent, self._node, self._pause])()
        made.service.start()

    # --- who comes ------------------------------------------------------------------------

    def _join(self) -> None:
        """A node that never ran asks to boot, whatever the rotation is doing just now."""
        made = self.fleet
        rotation = made.cluster()["rotation"]
        self.joined[rotation["phase"] if rotation else "none"] += 1
        name = f"late{len(made.names)}@127.0.0.1"
        self._booting[name] = made.recruit(name).begin_boot()

    def _start_who_may(self) -> None:
        """As an init system does: the node right after `agent boot`, and its agent beside it."""
        for name, boot in list(self._booting.items()):
            if boot.poll() is None:
                continue
            agent = self.fleet.agents[name]
            assert boot.returncode == 0, agent.output()[-2000:]
            self.fleet.start_node(name, boot=False)
            agent.start()
            self.fleet.readmit(name)
            del self._booting[name]

    def _await_joiners(self) -> None:
        def have_started() -> bool:
            self._start_who_may()
            return not self._booting

        wait_for("the new nodes have started", have_started, seconds=2 * LONG)

    def _roll_back(self, rotation: str) -> None:
        """If it has not gone too far already."""
        path = f"clusters/orders/rotations/{rotation}/rollback"
        answer = self.fleet.service.request("POST", path, json={"reason": "chaos"})
        self.strikes[
            "rollback" if answer.status_code < httpx.codes.BAD_REQUEST else "too late"
        ] += 1
