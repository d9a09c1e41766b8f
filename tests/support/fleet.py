"""A whole cluster as a user has it: a mesh of real nodes, an agent beside each, and the service.

Links are counted with `nodes(connected)` and by each node's own monitor; calls between random
pairs run all the time; OTP's settings of the mesh stay as they are.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from rotator.beam.node import Address, connect
from rotator.cli.demo.epmd import Erlang, erlang
from rotator.cli.demo.mesh import Mesh, mesh
from rotator.cli.demo.nodes import BeamNode, Event, Sha256
from rotator.cli.demo.processes import DemoFailed
from rotator.errors import WrongCookie
from tests.support.fleet_agents import Agent
from tests.support.service import Service, wait_for
from tests.support.watch import Watch

CLUSTER = "orders"
LONG = 90.0  #: seconds that a loaded machine may need for what takes one or two
#: Seconds after its restart in which a node's own links may go once more, with equal cookies, too:
#: OTP's protection against overlapping partitions acts on what others say late of its death.
FLAPS = 15.0
CALL_SECONDS = 5.5  #: after so long a call has failed; nodes that just started load code from disk
_HANDSHAKE = timedelta(seconds=30)


def sha256(cookie: str) -> str:
    """As a node tells about a cookie."""
    return hashlib.sha256(cookie.encode()).hexdigest()


@dataclass
class Fleet:
    """Made by `fleet`, which also ends it."""

    erlang: Erlang
    mesh: Mesh
    service: Service
    agents: dict[str, Agent] = field(default_factory=dict)
    _began_at: float = 0.0  # Unix time in seconds; what was before does not count
    _down: list[tuple[str, float, float]] = field(default_factory=list)  # a node, from, until
    _came: dict[str, float] = field(default_factory=dict)  # a node that is new, until when it was
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)  # of _down

    # --- who there is -----------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes' names, in order."""
        return self.mesh.names

    @property
    def up(self) -> tuple[BeamNode, ...]:
        """Nodes that are alive."""
        return tuple(node for node in self.mesh.nodes.values() if node.is_alive)

    def engage(self, node: BeamNode) -> Agent:
        """An agent for *node*, with a token for it alone; not started."""
        body = {"role": "node", "clusters": [CLUSTER], "nodes": node.name}
        made = self.service.request("POST", "tokens", role="admin", json=body)
        assert made.is_success, made.text
        self.agents[node.name] = Agent(
            node=node,
            service=f"http://127.0.0.1:{self.service.port}",
            cluster=CLUSTER,
            token=made.json()["token"],
            epmd_port=self.erlang.epmd_port,
        )
        return self.agents[node.name]

    def recruit(self, name: str) -> Agent:
        """A node that never ran, and its agent; both are to be started.

        Until `readmit` it may be called in vain, but a link to it that is lost counts.
        """
        self._came[name] = math.inf
        self.mesh.nodes[name] = BeamNode(self.erlang, name, cookie="NEVERUSEDBYANYBODY")
        return self.engage(self.mesh[name])

    def begin(self) -> None:
        """Bring back what is down, and count from now on: an earlier test may have failed."""
        for name, agent in self.agents.items():
            if not self.mesh[name].is_alive:
                self.start_node(name)
            agent.resume()
            if not agent.is_alive:
                agent.start()
        for name in self.names:
            self.readmit(name)
        self.settle()
        self.begin_to_count()

    def begin_to_count(self) -> None:
        """What was before does not count."""
        self._began_at = time.time()

    # --- life of nodes ----------------------------------------------------------------------

    def down(self, name: str) -> None:
        """Its links are about to go, and nobody shall call it."""
        with self._lock:
            self._down.append((name, time.time(), math.inf))
        for node in self.up:
            node.expect_down(name)

    def kill_node(self, name: str) -> None:
        """SIGKILL a node; only its own links may go."""
        self.down(name)
        self.mesh.kill(name)

    def start_node(self, name: str, *, boot: bool = True) -> None:
        """Start it on its files, after `rotator agent boot` where *boot*; nobody links it."""
        if boot:
            assert self.agents[name].boot() == 0, self.agents[name].output()[-2000:]
        self.mesh.restart(name, connect=False)

    def readmit(self, name: str) -> None:
        """Wait until it is linked to everyone, without help; its links count from then on."""
        wait_for(f"{name} is linked to everyone", lambda: self.is_linked(name), seconds=LONG)
        self.mesh.readmit(name)
        if self._came.get(name) == math.inf:
            self._came[name] = time.time()
        with self._lock:
            self._down = [
                (one, begin, time.time() + FLAPS if one == name and end == math.inf else end)
                for one, begin, end in self._down
            ]
        self.mesh.call()

    def wait_in_step(self) -> None:
        """Until no pair of nodes that are up has ends that differ, at one look at all of them."""
        watch = Watch(self.mesh.nodes)

        def is_in_step() -> bool:
            before = watch.out_of_step
            watch.look()
            return watch.out_of_step == before

        wait_for("every pair is in step", is_in_step, seconds=LONG)

    def wait_for_all_but(self, name: str) -> None:
        """Until every other node has adopted, and what is waited for names this one."""

        def is_alone() -> bool:
            target = sha256(self.current())
            return ("laggard", name) in self.blockers() and all(
                (table.own == target) == (one != name) for one, table in self.tables().items()
            )

        wait_for(f"all but {name} have adopted", is_alone, seconds=LONG)
        self.wait_in_step()

    def is_linked(self, name: str) -> bool:
        """Whether it is linked to every other node that is alive, seen from both ends."""
        others = {node.name for node in self.up} - {name}
        return self.mesh[name].links() >= others and all(
            name in node.links() for node in self.up if node.name != name
        )

    def join(self, name: str) -> None:
        """A new node boots when it may, is linked to everyone, and has an agent."""
        agent = self.recruit(name)
        self.start_node(name)
        agent.start()
        self.readmit(name)

    # --- the service ------------------------------------------------------------------------

    def cluster(self) -> dict[str, Any]:
        """`GET /v1/clusters/orders`."""
        return self.service.get(f"clusters/{CLUSTER}")

    def blockers(self) -> set[tuple[str, str]]:
        """What is waited for: code and subject."""
        return {(blocker["code"], blocker["subject"]) for blocker in self.cluster()["blockers"]}

    def rotate(self, kind: str = "manual", **more: Any) -> str:
        """Begin a rotation; its id."""
        body = {"kind": kind, "reason": "test", **more}
        begun = self.service.command(f"clusters/{CLUSTER}/rotations", body)
        assert begun is not None
        return str(begun["id"])

    def command(self, rotation: str, what: str) -> None:
        """Hold, release, abort, roll back."""
        path = f"clusters/{CLUSTER}/rotations/{rotation}/{what}"
        answer = self.service.request("POST", path, json={"reason": "test"})
        assert answer.is_success, answer.text

    def until(self, rotation: str, *phases: str) -> dict[str, Any]:
        """The rotation once it is in one of these phases; else what it waits for is the error."""

        def ask() -> dict[str, Any] | None:
            try:
                found = self.service.rotation(CLUSTER, rotation)
            except httpx.HTTPError:
                return None
            return found if found["phase"] in phases else None

        try:
            return dict(wait_for(f"{phases}", ask, seconds=LONG))
        except AssertionError:
            found = self.cluster()
            phase = found["rotation"] and found["rotation"]["phase"]
            raise AssertionError(
                f"not {phases}: {phase}, {found['blockers']}, {self.mesh.losses()}"
            ) from None

    def facts(self, *kinds: str) -> list[dict[str, Any]]:
        """The facts of these kinds, oldest first."""
        found: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = self.service.get(f"facts?cluster={CLUSTER}&limit=500&after={after}")
            found += page["facts"]
            after = page["next"]
        return [fact for fact in found if fact["kind"] in kinds]

    def desired(self, name: str) -> str:
        """What *name* gets, as text."""
        path = f"clusters/{CLUSTER}/cookie?node={name}"
        return str(self.service.request("GET", path, token=self.agents[name].token).text)

    def members(self) -> dict[str, dict[str, Any]]:
        """`GET …/nodes`, by name."""
        found = self.service.get(f"clusters/{CLUSTER}/nodes")["nodes"]
        return {str(member["name"]): member for member in found}

    def settle(self) -> None:
        """Until nothing is under way, every node is proven on current, and the mesh is whole."""

        def is_settled() -> bool:
            found = self.cluster()
            return (
                found["state"] == "stable"
                and not found["blockers"]
                and found["adoption"]["on_current"] >= len(self.up)
                and self.mesh.links() == self.mesh.full
            )

        try:
            wait_for("the fleet has settled", is_settled, seconds=LONG)
        except AssertionError:
            found = self.cluster()
            raise AssertionError(
                f"not settled: {found['state']} {found['blockers']} {found['adoption']}"
                f" {self.mesh.links()} of {self.mesh.full} links"
            ) from None

    # --- what has to hold -------------------------------------------------------------------

    def current(self) -> str:
        """The current cookie, as any node's token shows it."""
        return str(json.loads(self.desired(self.names[0]))["current"]["cookie"])

    def assert_undisturbed(self) -> None:
        """The mesh is whole, no link was lost that nobody expected, and no call failed."""
        calls = self.mesh.calls()
        wait_for("calls go on", lambda: self.mesh.calls() > calls + 20, seconds=LONG)
        wait_for("it is whole", lambda: self.mesh.links() == self.mesh.full, seconds=LONG)
        found = self.disturbances()
        assert not found, "\n".join([*found, f"down: {self._down}"])

    def disturbances(self) -> list[str]:
        """Links lost and calls failed that nobody expected, since `begin`."""
        found = []
        for name, counts in self.mesh.counts().items():
            for what, events in (("link", counts.losses), ("call", counts.failures)):
                found += [
                    f"{what} of {name} to {event.node}: {event.why}"
                    for event in events
                    if not self._is_excused(name, event)
                    and not (what == "call" and self._is_new(event))
                ]
        return found

    def _is_new(self, event: Event) -> bool:
        """A call to a node that was not up yet, or one that began before we counted."""
        at = event.at / 1000
        return at <= max(self._came.get(event.node, 0.0), self._began_at + CALL_SECONDS)

    def _is_excused(self, name: str, event: Event) -> bool:
        at = event.at / 1000
        return at < self._began_at or any(
            node in {name, event.node} and begin <= at <= end for node, begin, end in self._down
        )

    def assert_uses(self, cookie: str, *, retired: Iterable[str] = ()) -> None:
        """Every VM, every row, every file is at *cookie*; a fresh handshake shows it everywhere."""
        wanted = sha256(cookie)
        for name, table in self.tables().items():
            assert table.own == wanted, f"{name}: its own cookie is another version"
            wrong = {peer for peer, row in table.rows.items() if row != wanted}
            assert not wrong, f"{name}: its rows for {wrong} are another version"
            assert self.mesh[name].cookie_file.read_text() == cookie
        accepted = self.handshakes(cookie)
        assert set(accepted.values()) == {True}, accepted
        for former in retired:
            refused = self.handshakes(former)
            assert set(refused.values()) == {False}, refused

    def tables(self) -> Mapping[str, Sha256]:
        """Of every node that answers: its own cookie and its rows."""
        found = {}
        for node in self.up:
            try:
                found[node.name] = node.cookies()
            except DemoFailed:
                if node.is_alive:
                    raise
        return found

    def handshakes(self, cookie: str) -> dict[str, bool]:
        """For each node, whether a fresh handshake with *cookie* succeeds."""
        return asyncio.run(self._handshakes(cookie))

    async def _handshakes(self, cookie: str) -> dict[str, bool]:
        names = [node.name for node in self.up]
        accepted = await asyncio.gather(*(self._is_accepted(name, cookie) for name in names))
        return dict(zip(names, accepted, strict=True))

    async def _is_accepted(self, name: str, cookie: str) -> bool:
        address = Address(name=name, host="127.0.0.1", epmd_port=self.erlang.epmd_port)
        try:
            async with await connect(address, cookie, timeout=_HANDSHAKE):
                return True
        except WrongCookie:
            return False

    def stop(self) -> None:
        """Agents first, so that nothing is mended any more."""
        for agent in self.agents.values():
            agent.kill()


@contextmanager
def fleet(
    directory: Path,
    count: int,
    *,
    secret_store: dict[str, Any] | None = None,
    members: Mapping[str, Any] | None = None,
    **policy: Any,
) -> Iterator[Fleet]:
    """*count* nodes that ran with a cookie of their own, taken in by `import`, all settled."""
    ground = directory / "nodes"
    ground.mkdir()
    store = secret_store or {"kind": "local", "directory": str(directory / "secrets")}
    crew = {"expect": count, "heartbeat": "2s", "node_ttl": "60s", **(members or {})}
    windows = {"grace_window": "0", "emergency_cooldown": "0", "max_rotations_per_hour": 1000}
    with ExitStack() as stack:
        epmd = stack.enter_context(erlang(ground))
        nodes = stack.enter_context(mesh(epmd, count))
        service = Service(directory, store, {CLUSTER: {**windows, **policy, "members": crew}})
        stack.callback(service.kill)
        service.start()
        made = Fleet(epmd, nodes, service)
        stack.callback(made.stop)
        body = {"cookie": next(iter(nodes.nodes.values())).cookie_file.read_text(), "reason": "t"}
        service.command(f"clusters/{CLUSTER}/import", body, role="admin")
        service.until_stable(CLUSTER)
        for node in nodes.nodes.values():
            made.engage(node).start()
        nodes.call()
        made.settle()
        made.begin_to_count()
        yield made
