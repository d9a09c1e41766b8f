"""Anything may happen at any moment; what must always hold is asserted inside the world."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rotator.domain.actions import Wait
from rotator.domain.ids import Fingerprint, NodeName, VersionNumber
from rotator.domain.policy import Expectation, RotationPolicy
from rotator.domain.rotation import Kind, Phase
from rotator.errors import Conflict, NotFound, StaleGeneration, WrongFingerprint
from tests.property.world import SECOND, Crash, Node, World

NAMES = ("rabbit@a", "rabbit@b", "rabbit@c")
WRONG = Fingerprint("f1:" + "0" * 32)

_EXPECTATIONS: list[Expectation] = [frozenset(map(NodeName, NAMES)), 2, None]

settings.register_profile(
    "default",
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    # CI judges a change by the same examples as the change before; elsewhere they are new ones.
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    "soak",
    max_examples=4000,
    stateful_step_count=120,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

names = st.sampled_from(NAMES)
crashes = st.sampled_from([None, *Crash])


class Rotations(RuleBasedStateMachine):
    """Operators, nodes, the clock and crashes against one cluster."""

    world: World

    @initialize(
        expect=st.sampled_from(_EXPECTATIONS),
        grace=st.sampled_from([0, 60]),
        excuse_after=st.sampled_from([None, 300]),
        ephemeral=st.booleans(),
        nodes=st.integers(0, 3),
    )
    def begin(
        self, expect: Expectation, grace: int, excuse_after: int | None, ephemeral: bool, nodes: int
    ) -> None:
        """A cluster with version 1, whose first nodes run."""
        policy = RotationPolicy(
            expect=expect,
            grace_window=grace * SECOND,
            max_rotations_per_hour=99,
            excuse_lost_after=None if excuse_after is None else excuse_after * SECOND,
            ephemeral=ephemeral,
        )
        self.world = World(policy, NAMES if expect is not None or nodes else ())
        self.world.initialise()
        self.world.run()
        for name in NAMES[:nodes]:
            self.world.heartbeat(self.world.nodes[NodeName(name)])

    def node(self, name: str) -> Node | None:
        """The node of that name, if this world has any that is not shut out."""
        found = self.world.nodes.get(NodeName(name))
        return None if found is None or self.world.is_shut_out(found) else found

    def ask(self, command: Callable[..., None], *arguments: object, **options: object) -> None:
        """An operator asks; a refusal says why, and changes nothing."""
        before = self.world.cluster
        try:
            command(*arguments, **options)
        except (Conflict, NotFound):
            assert self.world.cluster == before

    # --- the service --------------------------------------------------------------------------

    @rule(crash=crashes)
    def steps(self, crash: Crash | None) -> None:
        """One decision, one write, perhaps a crash."""
        action = self.world.step(crash)
        if isinstance(action, Wait):
            assert action.blockers
            assert action.until is None or action.until > self.world.now

    @rule()
    def comes_to_rest(self) -> None:
        """As many decisions as there are just now."""
        self.world.run()

    @rule(rounds=st.integers(1, 6), crash=crashes)
    def goes_well(self, rounds: int, crash: Crash | None) -> None:
        """For a while everybody does what he should, but for one crash."""
        for _ in range(rounds):
            self.everybody_is_honest()
            self.world.step(crash)
            self.world.run()
            self.world.now += 15 * SECOND

    @rule()
    def changes_leader(self) -> None:
        """Another process takes the lease."""
        self.world.new_leader()

    # --- operators ----------------------------------------------------------------------------

    @rule()
    def starts(self) -> None:
        """A manual rotation."""
        self.ask(self.world.start)

    @rule(likely=st.integers(0, 4), force=st.booleans(), excludes=st.lists(names, max_size=1))
    def declares_an_emergency(self, likely: int, force: bool, excludes: list[str]) -> None:
        """An emergency, perhaps over another one; seldom, since it ends whatever else goes on."""
        if likely == 0:
            self.ask(self.world.start, Kind.EMERGENCY, force=force, excludes=tuple(excludes))

    @precondition(lambda self: self.world.cluster.rotation)
    @rule(what=st.sampled_from(["hold", "release", "abort", "roll_back"]))
    def intervenes(self, what: str) -> None:
        """A command about the rotation under way."""
        self.ask(getattr(self.world, what))

    @precondition(lambda self: self.world.cluster.rotation)
    @rule(seconds=st.sampled_from([0, 600]))
    def moves_the_end_of_grace(self, seconds: int) -> None:
        """Extend or end the grace window."""
        self.ask(self.world.end_grace_at, self.world.now + seconds * SECOND)

    @rule(name=names, force=st.booleans(), what=st.sampled_from(["excuse", "remove"]))
    def gives_up_a_member(self, name: str, force: bool, what: str) -> None:
        """Excuse or remove; a live one only by force, and then it is no loss of ours."""
        node = self.node(name)
        self.ask(getattr(self.world, what), name, force=force)
        if node is not None and what == "remove" and self.world.is_shut_out(node):
            node.is_running = False

    @rule(name=names)
    def knocks_in_vain(self, name: str) -> None:
        """Who is shut out reports, or boots, with whatever token: nothing changes."""
        node = self.world.nodes.get(NodeName(name))
        if node is not None and self.world.is_shut_out(node):
            before = self.world.cluster
            self.world.heartbeat(node)
            assert self.world.cluster == before

    @rule(name=names)
    def lets_in_again(self, name: str) -> None:
        """An operator readmits one that was shut out."""
        self.ask(self.world.readmit, name)

    # --- nodes and the clock ------------------------------------------------------------------

    @rule(name=names)
    def is_honest(self, name: str) -> None:
        """A node sees, does and reports what it should."""
        if node := self.node(name):
            self.world.heartbeat(node)

    @rule()
    def everybody_is_honest(self) -> None:
        """All of them."""
        for node in self.world.nodes.values():
            self.world.heartbeat(node)

    @rule(name=names)
    def acts_and_is_not_heard(self, name: str) -> None:
        """A node does what it should, and its report is lost."""
        node = self.node(name)
        if node is not None and node.is_running:
            self.world.act(node)

    @rule(name=names)
    def lags(self, name: str) -> None:
        """A node reports what it is, and does nothing."""
        node = self.node(name)
        if node is not None and node.is_running:
            self.world.report(node)

    @rule(name=names)
    def finds_no_vm(self, name: str) -> None:
        """The agent of a node that does not run, perhaps while that asks to boot."""
        node = self.node(name)
        if node is not None and not node.is_running:
            self.world.finds_no_vm(node)

    @rule(name=names)
    def sends(self, name: str) -> None:
        """A report sets out."""
        node = self.node(name)
        if node is not None and node.is_running:
            self.world.sends(node)

    @rule(name=names)
    def arrives(self, name: str) -> None:
        """A report arrives late: it is refused if the node has reported a newer generation."""
        if node := self.node(name):
            with suppress(StaleGeneration, WrongFingerprint):
                self.world.arrives(node)

    @rule(name=names, number=st.integers(1, 4))
    def lies(self, name: str, number: int) -> None:
        """A node claims a version that it does not hold: that is noticed, and changes nothing."""
        node = self.node(name)
        if node is None or not node.is_running:
            return
        before = self.world.cluster
        try:
            self.world.report(node, holds={VersionNumber(number): WRONG})
        except WrongFingerprint:
            assert self.world.cluster == before
            return
        raise AssertionError("a wrong fingerprint was taken")

    @rule(name=names)
    def claims_to_be_done(self, name: str) -> None:
        """A node says that it uses current and refuses the rest, and has done nothing."""
        node, current = self.node(name), self.world.cluster.current
        if node is None or not node.is_running or current is None:
            return
        node.seen = self.world.cluster.generation
        own = current.fingerprint
        refuses = dict.fromkeys(self.world.cluster.versions, "handshake")
        self.world.report(
            node, own=own, file=own, pins={}, boot_pins={}, refuses=refuses, uses=None
        )

    @rule(name=names)
    def repeats_an_older_report(self, name: str) -> None:
        """An older generation is refused, and changes nothing."""
        node = self.node(name)
        member = self.world.cluster.members.get(NodeName(name))
        if node is None or not node.is_running or member is None or member.attestation is None:
            return
        before = self.world.cluster
        if member.attestation.generation > 0:
            try:
                self.world.report(node, generation=member.attestation.generation - 1)
            except StaleGeneration:
                assert self.world.cluster == before
                return
            raise AssertionError("an older report was taken")

    @rule(name=names, what=st.sampled_from(["unknown", "over", "previous"]))
    def is_set_by_hand(self, name: str, what: str) -> None:
        """Somebody sets a cookie on a node: unknown, over, or previous while it is accepted."""
        node = self.node(name)
        if node is None or not node.is_running:
            return
        older = {"over": max(self.world.over, default=None), "previous": self.world.previous()}
        number = older.get(what)
        node.own = WRONG if number is None else self.world.numbers[number]
        node.is_truthful = False

    @rule(name=names)
    def finds_an_intruder(self, name: str) -> None:
        """A foreign link is there."""
        if node := self.node(name):
            node.foreign_links = ("intruder@x",)

    @rule(name=names)
    def loses_the_intruder(self, name: str) -> None:
        """The foreign link is gone."""
        if node := self.node(name):
            node.foreign_links = ()

    @rule(name=names)
    def dies(self, name: str) -> None:
        """A VM ends without a word."""
        if node := self.node(name):
            node.is_running = False

    @rule(name=names, other=names)
    def dies_in_the_middle_of_a_move(self, name: str, other: str) -> None:
        """A VM ends when a pair was moved in both, and its boot file was not written yet."""
        node, peer = self.node(name), self.node(other)
        previous = self.world.read_cookie(self.world.previous())
        if node is None or peer is None or node is peer or previous is None:
            return
        if node.is_running and peer.is_running and node.pins.get(peer.name) != previous:
            node.boot_pins[peer.name] = previous
            node.is_running = False

    @rule(names=st.permutations(NAMES), honest=st.booleans())
    def restarts_while_a_report_is_on_its_way(self, names: list[str], honest: bool) -> None:
        """A peer has looked, the pair is moved, the node dies before its files say so, and asks; then the report arrives."""
        node, peer = self.node(names[0]), self.node(names[1])
        if node is None or peer is None or not (node.is_running and peer.is_running):
            return
        self.world.sends(peer)
        for one in (peer, node):
            self.world.act(one)
        self.dies_in_the_middle_of_a_move(node.name, peer.name)
        if not node.is_running:
            self.world.boot(node)
            if honest:
                self.lags(names[2])
            self.arrives(peer.name)
            self.world.boot(node)

    @rule(names=st.permutations(NAMES), size=st.integers(0, 2))
    def is_caught_halfway(self, names: list[str], size: int) -> None:
        """A rotation gets to `rolling_out`, and only some nodes have adopted."""
        self.ask(self.world.start)
        for _ in range(8):
            rotation = self.world.cluster.rotation
            if rotation is None or rotation.phase is Phase.ROLLING_OUT:
                break
            self.everybody_is_honest()
            self.world.step()
        for name in names[:size]:
            self.is_honest(name)

    @rule(names=st.permutations(NAMES), size=st.integers(1, 2))
    def some_restart(self, names: list[str], size: int) -> None:
        """VMs end and want to come up again at once, and their peers report in between."""
        chosen = [node for name in names[:size] if (node := self.node(name)) is not None]
        for node in chosen:
            node.is_running = False
            self.world.boot(node)
        self.world.now += 5 * SECOND
        for other in self.world.nodes.values():
            if other.is_running:
                self.world.report(other)
        for node in chosen:
            if not node.is_running:
                self.world.boot(node)

    @rule()
    def all_die(self) -> None:
        """Every VM ends at once."""
        for node in self.world.nodes.values():
            node.is_running = False

    @rule(name=names, is_slow=st.booleans())
    def leaves(self, name: str, is_slow: bool) -> None:
        """A node leaves in good order, perhaps before it ends; what its agent says changes nothing."""
        node = self.node(name)
        if node is not None and NodeName(name) in self.world.cluster.members:
            was_heard = self.world.cluster.members[NodeName(name)].attestation is not None
            node.is_running = node.is_running and is_slow
            self.world.leave(name)
            if node.is_running and was_heard:
                self.world.heartbeat(node)
                rotation = self.world.cluster.rotation
                is_locking = rotation is not None and rotation.is_locking_out
                assert self.world.cluster.members[NodeName(name)].has_left is not is_locking

    @rule(seconds=st.sampled_from([5, 31, 95, 130, 601]))
    def time_passes(self, seconds: int) -> None:
        """Enough for a heartbeat, for locking, for silence, for installing, for the cool-down."""
        self.world.now += seconds * SECOND

    @rule(minutes=st.sampled_from([6, 60]))
    def clock_jumps(self, minutes: int) -> None:
        """The running window begins anew."""
        self.world.jump(timedelta(minutes=minutes))

    # --- always -------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        """Whatever was done, the present state is sound."""
        if hasattr(self, "world"):
            self.world.examine()

    def teardown(self) -> None:
        """From wherever it stands the world comes to its end once everybody is honest."""
        if hasattr(self, "world"):
            self.world.settle()


TestRotations = Rotations.TestCase
