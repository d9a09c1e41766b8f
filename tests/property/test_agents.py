"""Agents of a whole mesh, each with its own view, in any order: pairs stay in step."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rotator.agent import memory as memories
from rotator.agent import pairs
from rotator.agent.boot import files_for
from rotator.agent.decide import (
    Boot,
    Cut,
    Memory,
    Own,
    Pin,
    Seen,
    Step,
    WriteBoot,
    WriteCookie,
    decide,
    to_lock,
)
from rotator.agent.evidence import locked_in
from rotator.agent.orders import LockRound, Orders
from rotator.domain.cookie import Cookie
from rotator.domain.ids import ClusterUid, Generation, NodeName, VersionNumber

NAMES = [NodeName(f"{letter}@h") for letter in "abcd"]
STRANGER = NodeName("tool@h")
_fresh = itertools.count()


def version(number: int) -> Cookie:
    """The cookie of a version."""
    return Cookie(f"v{number}")


@dataclass
class Node:
    """A VM with its files, and the agent beside it."""

    name: NodeName
    own: Cookie
    file: Cookie
    boot: Boot | None = None
    pins: dict[NodeName, Cookie] = field(default_factory=dict)
    is_up: bool = True
    memory: Memory = field(default_factory=Memory)
    orders: Orders | None = None
    unfiled: set[NodeName] = field(
        default_factory=set
    )  #: rows that a move set, not in the boot file yet
    latch: LockRound | None = None  #: the round that its VM waits for, with what was laid into it
    is_bare: bool = False  #: its rows were lost, and are not back yet
    steps: list[Step | tuple[NodeName, Cookie, str]] = field(default_factory=list)

    def uses(self, peer: NodeName) -> Cookie:
        """As `erlang:get_cookie/1`."""
        return self.pins.get(peer, self.own)

    def restart(self) -> None:
        """Boot from the files."""
        self.own, self.latch = self.file, None
        self.pins = dict(self.boot.pins) if self.boot else {}


class Mesh(RuleBasedStateMachine):
    """A service that moves on as it should, and everything else at any moment."""

    restarts = False  #: whether nodes take the target at their start alone

    def __init__(self) -> None:
        super().__init__()
        first = version(1)
        self.nodes = {name: Node(name, first, first) for name in NAMES}
        self.links = {frozenset(pair) for pair in itertools.combinations(NAMES, 2)}
        self.generation = 1
        self.number = 1
        self.target, self.accepted = first, frozenset({first})
        self.known = {VersionNumber(1): first}
        self.refuse: dict[VersionNumber, Cookie | None] = {}
        self.lock: LockRound | None = None
        self.phase: str | None = None
        self.torn: set[frozenset[NodeName]] = set()  #: pairs that a death left half-moved
        self.resetting = False
        self.tell_all()

    # --- the service ----------------------------------------------------------------------

    def orders(self, name: NodeName) -> Orders:
        """What the service says to a node now."""
        return Orders(
            cluster_uid=ClusterUid("00" * 16),
            fingerprint_key=b"k",
            generation=Generation(self.generation),
            phase=self.phase,
            target=self.target,
            cookies=self.known,
            accepted=self.accepted,
            refuse=self.refuse,
            lock=self.lock,
            heals_drift=True,
            restarts=self.restarts,
            members={peer: "live" for peer in NAMES if peer != name},
            pairs={peer: node.uses(name) for peer, node in self.nodes.items() if peer != name},
        )

    def tell_all(self) -> None:
        """Every agent looks at once; used where the service waits for all of them."""
        for name, node in self.nodes.items():
            node.orders = self.orders(name)

    def is_settled(self) -> bool:
        """What the gate of rolling_out waits for, by what is true, not by what is said."""
        return all(
            node.is_up
            and not node.steps
            and node.own == node.file == self.target
            and set(node.pins.values()) <= {self.target}
            and set(node.boot.pins.values() if node.boot else ()) <= {self.target}
            for node in self.nodes.values()
        )

    def next(self, phase: str | None) -> None:
        """A new generation."""
        self.generation += 1
        self.phase = phase

    @precondition(lambda self: self.phase is None and self.is_settled())
    @rule()
    def rotate(self) -> None:
        """Promoted: a new current, and previous."""
        self.number += 1
        self.next("rolling_out")
        self.accepted = frozenset({self.target, version(self.number)})
        self.target = version(self.number)
        self.known = {VersionNumber(self.number): self.target}
        self.refuse = {}

    @precondition(lambda self: self.phase == "rolling_out" and not self.resetting)
    @rule()
    def roll_back(self) -> None:
        """The former version is current again; the other stays accepted."""
        self.next("rolling_back")
        (self.target,) = self.accepted - {self.target}

    @precondition(lambda self: self.phase in {"rolling_out", "rolling_back"} and self.is_settled())
    @rule()
    def retire(self) -> None:
        """Everybody has proven it: the other version is refused, the rotation over."""
        self.next(None)
        self.accepted = frozenset({self.target})
        self.refuse, self.resetting = {}, False

    @precondition(lambda self: self.lock is None and not self.resetting)
    @rule(really=st.integers(0, 9))
    def emergency(self, really: int) -> None:
        """Everything is compromised: round one. Seldom, since little is asserted until it is over."""
        if really:
            return
        self.next("locking")
        self.lock = LockRound(f"e{self.generation}", 1)
        self.resetting = True

    @precondition(lambda self: self.lock is not None)
    @rule(another=st.booleans())
    def after_a_round(self, another: bool) -> None:
        """Another round, or (also with members that are not locked) the new version alone."""
        assert self.lock is not None
        if another and self.lock.number < 3:
            self.lock = replace(self.lock, number=self.lock.number + 1)
            self.next("locking")
            return
        self.lock = None
        revoked = range(1, self.number + 1)
        self.number += 1
        self.target = version(self.number)
        self.accepted = frozenset({self.target})
        self.known = {VersionNumber(self.number): self.target}
        self.refuse = {VersionNumber(number): None for number in revoked}
        self.next("rolling_out")

    # --- the agents -----------------------------------------------------------------------

    def linked(self, name: NodeName) -> set[NodeName]:
        """To whom a node is linked."""
        return {peer for pair in self.links if name in pair for peer in pair if peer != name}

    def seen(self, node: Node) -> Seen:
        """What the agent sees."""
        if not node.is_up:
            return Seen(own=None, file=node.file, boot=node.boot)
        links = dict.fromkeys(self.linked(node.name), False)
        return Seen(own=node.own, pins=dict(node.pins), links=links, file=node.file, boot=node.boot)

    @rule(name=st.sampled_from(NAMES), hears=st.booleans(), is_late=st.booleans())
    def look(self, name: NodeName, hears: bool, is_late: bool) -> None:
        """An agent asks, sees and decides; its steps are done later, one by one."""
        node = self.nodes[name]
        if hears:
            node.orders = self.orders(name)
        orders, seen = node.orders, self.seen(node)
        if node.steps or orders is None:
            return
        if orders.lock is None and node.is_up:
            node.latch = None
        elif orders.lock is not None and node.latch and node.memory.next_lock == orders.lock:
            self.say(orders.lock)
            seen = self.seen(node)
        node.memory = memories.entered(node.memory, seen.own)
        lock = to_lock(orders, seen, node.memory)
        if lock is not None:
            node.memory = memories.for_round(
                node.memory,
                lock,
                throwaway=Cookie(f"throwaway{next(_fresh)}"),
                answers_to=(seen.own, seen.file),
            )
        node.steps = list(decide(orders, seen, node.memory, is_sealed=True))
        if node.steps or not node.is_up:
            return
        self.lay(node, orders, seen)
        self.mend_pairs(node, orders, seen, is_late=is_late)

    def lay(self, node: Node, orders: Orders, seen: Seen) -> None:
        """A locked node is made ready for the next round, which its agent remembers first."""
        lock = node.memory.lock
        if orders.lock is None or lock is None:
            return
        if locked_in(orders.lock, seen, node.memory) is not None:
            following = replace(lock, number=lock.number + 1)
            if node.memory.next_lock != following:
                cookie = Cookie(f"throwaway{next(_fresh)}")
                node.memory = memories.with_next(node.memory, following, throwaway=cookie)
            node.latch = following

    def say(self, lock: LockRound) -> None:
        """The word of a round: every VM that waits for it takes what was laid into it."""
        for node in self.nodes.values():
            if node.is_up and node.latch == lock and node.memory.next_throwaway is not None:
                node.latch, cookie = None, node.memory.next_throwaway
                node.own = cookie
                node.pins = dict.fromkeys(
                    [*node.pins, *(n for n in NAMES if n != node.name)], cookie
                )

    def mend_pairs(self, node: Node, orders: Orders, seen: Seen, *, is_late: bool) -> None:
        """Move what is to be moved, and link what is missing, as the loop does."""
        views = {
            peer: pairs.View(own=self.nodes[peer].own, uses_for_me=self.nodes[peer].uses(node.name))
            for peer in seen.links
            if peer in self.nodes
        }
        for peer, cookie in pairs.to_move(orders, seen, views, me=node.name).items():
            if node.name < peer or is_late:
                node.steps += [(peer, cookie, "theirs"), (peer, cookie, "mine")]
        if node.steps or orders.lock is not None or seen.own not in orders.accepted:
            return
        for peer in pairs.missing_links(orders, seen):
            self.link(node, self.nodes[peer], orders)

    def link(self, node: Node, peer: Node, orders: Orders) -> None:
        """A handshake with what the pair uses, else once with the other accepted version."""
        if not peer.is_up:
            return
        other = pairs.other_accepted(orders, node.uses(peer.name))
        for cookie in (node.uses(peer.name), other):
            if cookie == peer.uses(node.name):
                if node.uses(peer.name) != cookie:
                    node.pins[peer.name] = cookie
                    node.unfiled.add(peer.name)
                self.links.add(frozenset({node.name, peer.name}))
                return

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 4))
    def steps(self, name: NodeName, count: int) -> None:
        """An agent does some of its steps."""
        for _ in range(count):
            self.step(name)
            self.pairs_are_in_step()

    @rule(name=st.sampled_from(NAMES))
    def work(self, name: NodeName) -> None:
        """An agent that nothing disturbs looks, and does all that it decides."""
        self.look(name, hears=True, is_late=False)
        while self.nodes[name].steps:
            self.step(name)
            self.pairs_are_in_step()

    @rule()
    def all_work(self) -> None:
        """Every agent does."""
        for name in NAMES:
            self.work(name)

    def step(self, name: NodeName) -> None:
        """The next step of an agent, if it has one."""
        node = self.nodes[name]
        if not node.steps:
            return
        taken = node.steps.pop(0)
        if isinstance(taken, tuple):
            self.half_a_move(node, *taken)
            return
        if not node.is_up and not isinstance(taken, WriteBoot | WriteCookie):
            node.steps.clear()
            return
        self.do(node, taken)

    def do(self, node: Node, taken: Step) -> None:
        """One step of the agent itself."""
        name = node.name
        match taken:
            case WriteBoot(boot):
                node.boot = boot
                node.unfiled -= {peer for peer, pin in boot.pins.items() if pin == node.uses(peer)}
            case WriteCookie(cookie):
                node.file = cookie
            case Pin(pins):
                node.pins |= pins
                # Rows come back one node after the other, maybe without a move that was not filed.
                torn = {peer for peer in pins if node.is_bare or peer in node.unfiled}
                self.torn |= {frozenset({name, peer}) for peer in torn}
                node.is_bare = False
            case Own(cookie):
                node.own = cookie
            case Cut(names):
                self.links -= {frozenset({name, other}) for other in names}

    def half_a_move(self, node: Node, peer: NodeName, cookie: Cookie, side: str) -> None:
        """One side of a move, through the mesh: without the link nothing happens."""
        pair = frozenset({node.name, peer})
        if pair not in self.links or not node.is_up:
            node.steps.clear()
            return
        if side == "theirs":
            self.nodes[peer].pins[node.name] = cookie
            self.nodes[peer].unfiled.add(node.name)
        else:
            node.pins[peer] = cookie
            node.unfiled.add(peer)

    # --- what goes wrong ------------------------------------------------------------------

    def drop_steps(self, node: Node) -> None:
        """An agent dies, or loses its VM: what it was about to do is not done."""
        for one in node.steps:
            if isinstance(one, tuple):
                self.torn.add(frozenset({node.name, one[0]}))
        node.steps.clear()

    @rule(name=st.sampled_from(NAMES))
    def agent_dies(self, name: NodeName) -> None:
        """And comes back with nothing but its memory: the service may be away just then."""
        self.drop_steps(self.nodes[name])
        self.nodes[name].orders = None

    @rule(name=st.sampled_from(NAMES))
    def node_restarts(self, name: NodeName) -> None:
        """A VM is killed between any two steps, and boots from its files."""
        node = self.nodes[name]
        self.drop_steps(node)
        before = {peer: node.uses(peer) for peer in NAMES}
        node.restart()
        self.links -= {pair for pair in self.links if name in pair}
        for peer in NAMES:
            if peer != name and node.uses(peer) != before[peer]:
                # Files before the VM: only what others did to it through the mesh may be missing.
                excused = self.resetting or node.is_bare or peer in node.unfiled
                assert excused, f"{name} forgot its pair with {peer}"
                self.torn.add(frozenset({name, peer}))
        node.is_bare = False
        for peer in NAMES:
            if peer != name and node.uses(peer) == self.nodes[peer].uses(name):
                self.links.add(frozenset({name, peer}))

    @rule(name=st.sampled_from(NAMES))
    def distribution_restarts(self, name: NodeName) -> None:
        """`net_kernel:stop/start`: every pin is lost, the own cookie is that of the file."""
        node = self.nodes[name]
        self.drop_steps(node)
        node.own, node.pins = node.file, {}
        node.is_bare = True
        self.links -= {pair for pair in self.links if name in pair}
        self.torn |= {frozenset({name, peer}) for peer in NAMES if peer != name}

    # --- what must hold -------------------------------------------------------------------

    @invariant()
    def pairs_are_in_step(self) -> None:
        """But for a move, and for what a death has torn until it is mended."""
        if self.resetting:
            return
        moving = {
            frozenset({node.name, one[0]})
            for node in self.nodes.values()
            for one in node.steps
            if isinstance(one, tuple)
        }
        for left, right in itertools.combinations(self.nodes.values(), 2):
            pair = frozenset({left.name, right.name})
            is_in_step = left.uses(right.name) == right.uses(left.name)
            if is_in_step and not left.steps and not right.steps:
                self.torn.discard(pair)
            if pair not in moving | self.torn:
                assert is_in_step, f"{sorted(pair)} is out of step"

    @invariant()
    def nobody_keeps_what_is_over(self) -> None:
        """No VM uses a version that is neither accepted, nor about to be reset."""
        if self.resetting:
            return
        for node in self.nodes.values():
            assert node.own in self.accepted

    @invariant()
    def every_agent_gets_into_its_node(self) -> None:
        """Whatever a VM answers to is in its files, in its agent's memory, or served."""
        for node in self.nodes.values():
            memory = node.memory
            known = {node.file, memory.throwaway, memory.next_throwaway, *memory.former}
            assert node.own in known | set(self.known.values()) | self.accepted

    def at_the_end(self, name: NodeName) -> None:
        """What somebody else does to a node, so that it comes to the target."""

    def teardown(self) -> None:
        """Left alone, with the service there, every node comes to the target, and is linked."""
        if self.lock is not None:
            self.after_a_round(another=False)
        for _ in range(60):
            for name in NAMES:
                self.look(name, hears=True, is_late=True)
                while self.nodes[name].steps:
                    self.step(name)
                self.at_the_end(name)
        for node in self.nodes.values():
            assert node.own == node.file == self.target
            assert node.latch is None
            assert set(node.pins.values()) <= {self.target}
            assert node.boot is not None
            assert set(node.boot.pins.values()) == {self.target}
            assert self.linked(node.name) == set(NAMES) - {node.name}


class RestartedMesh(Mesh):
    """The same where running nodes are left alone: `boot` runs before somebody starts them anew."""

    restarts = True

    @rule(name=st.sampled_from(NAMES))
    def start_anew(self, name: NodeName) -> None:
        """It ends, `boot` writes its files by what each peer uses now, and it comes up in step.

        Its agent has heard of the phase, as an orchestrator waits for before it claims the node.
        """
        node, orders = self.nodes[name], self.orders(name)
        has_heard = node.orders is not None and node.orders.generation == self.generation
        if self.resetting or not has_heard:
            return
        self.drop_steps(node)
        self.links -= {pair for pair in self.links if name in pair}
        # A peer that is in the middle of a move with it does the rest to the new VM: a torn pair.
        self.torn |= {
            frozenset({name, peer.name})
            for peer in self.nodes.values()
            if any(isinstance(one, tuple) and one[0] == name for one in peer.steps)
        }
        found = Seen(own=None, file=node.file, boot=node.boot)
        node.boot, _ = files_for(orders, found)
        node.file = orders.target
        node.restart()
        node.unfiled.clear()
        node.is_bare = False
        for peer in NAMES:
            if peer != name:
                assert node.uses(peer) == self.nodes[peer].uses(name), f"{peer}: out of step"
                self.links.add(frozenset({name, peer}))
        assert node.own == self.target

    @invariant()
    def nobody_changes_while_it_runs(self) -> None:
        """No agent sets the own cookie of a node that uses an accepted version."""
        if self.resetting or self.phase is None:
            return
        for node in self.nodes.values():
            assert not any(isinstance(step, Own) for step in node.steps)

    def at_the_end(self, name: NodeName) -> None:
        """An orchestrator restarts whoever is not on the target."""
        if self.nodes[name].own != self.target:
            self.start_anew(name)


RestartedMesh.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestRestartedMesh = RestartedMesh.TestCase
Mesh.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestMesh = Mesh.TestCase
TestMesh.pytestmark = pytest.mark.timeout(900)  # a minute alone, more on a loaded machine
