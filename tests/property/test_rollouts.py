"""Orchestrators that die, stall and race, over nodes that take their time: what must always hold.

Nodes fall, leave as they stop and are restarted by others at any moment, claimed or not; operators hold
and release.

The world is physical: a node is up or down, and uses what it booted with. What the service knows are
reports, which may be late. Two orchestrators follow the contract of claims, and nothing else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rotator.domain import rollout
from rotator.domain.claim import Claim, ClaimState
from rotator.domain.cluster import ReadFrom
from rotator.domain.ids import NodeName
from rotator.domain.rotation import Phase
from rotator.errors import Conflict, NotFound, RolloutPaused
from rotator.testing.factories import a_cluster, a_rotation
from tests.support.rollouts import SECOND, Course, by_restart, node

#: Random interleavings; `make soak` takes more.
EXAMPLES = 2000 if os.environ.get("ROTATOR_TESTS") == "full" else 200
NAMES = tuple(NodeName(f"{letter}@h") for letter in "abcde")
CLAIM_TTL, SOAK = 15 * SECOND, 10 * SECOND


@dataclass
class Body:
    """A node as it is, whatever is known of it."""

    uses: int = 11
    is_up: bool = True
    starts: int = 0  #: restarts by orchestrators …
    crashes: int = 0  #: … and without any
    has_fallen: bool = False  #: it is down, and no orchestrator stopped it


@dataclass
class Operator:
    """An orchestrator: what it holds, and whether it lives."""

    name: str
    held: list[Claim] = field(default_factory=list)
    down: set[NodeName] = field(default_factory=set)  #: nodes that it has stopped, to start them
    acted: set[str] = field(default_factory=set)  #: claims that it has restarted a node for


class Fleet(Course):
    """Five nodes and two orchestrators."""

    def __init__(self, random: Random, *, most: int) -> None:
        rotation = a_rotation(Phase.ROLLING_OUT)
        members = [node(name, links={}) for name in NAMES]
        policy = by_restart(max_unavailable=most, soak=SOAK, claim_ttl=CLAIM_TTL)
        super().__init__(a_cluster(rotation, members=members), policy)
        self.random = random
        self.most = most
        self.bodies = {name: Body() for name in NAMES}
        self.operators = [Operator("one"), Operator("two")]
        for name in NAMES:
            self.tell(name)

    # --- the nodes --------------------------------------------------------------------------

    def tell(self, name: NodeName) -> None:
        """An agent's report arrives: what is so now."""
        body = self.bodies[name]
        links = {n: False for n, other in self.bodies.items() if n != name and other.is_up}
        if body.is_up:
            self.report(name, body.uses, links=links)
            return
        before = self.cluster.members[name]
        said = node(name, None, read_from=ReadFrom.NONE, links={}).attestation
        self.put(replace(before, attestation=said))

    def away(self) -> list[NodeName]:
        """Nodes that are down, for whatever reason."""
        return [name for name, body in self.bodies.items() if not body.is_up]

    # --- the orchestrators ------------------------------------------------------------------

    def claims(self, operator: Operator) -> None:
        """It asks for whatever may restart."""
        operator.held += self.take(self.random.randint(1, 3), holder=operator.name)

    def stops(self, operator: Operator) -> None:
        """It says `restarting`, and if that is taken, stops the node before anything else happens."""
        for claim in operator.held:
            if claim.id in operator.acted:
                continue
            try:
                self.say(claim, ClaimState.RESTARTING)
            except RolloutPaused:
                continue  # Not now: it keeps the claim.
            except (Conflict, NotFound):
                operator.held.remove(claim)
                return
            body = self.bodies[claim.node]
            assert body.is_up, "a node that is down was claimed"
            assert body.uses != 12, "a node that is back already was restarted again"
            assert not self.cluster.rotation.is_held, "a restart began while it was held"
            body.is_up = False
            assert len(self.away()) <= self.most, f"down after a restart began: {self.away()}"
            body.starts += 1
            if (
                self.random.random() < 0.3
            ):  # `leave_on_stop`: its agent says so, and is gone as well
                self.put(replace(self.cluster.members[claim.node], has_left=True))
            operator.down.add(claim.node)
            operator.acted.add(claim.id)
            self.examine()
            return

    def starts(self, operator: Operator) -> None:
        """A node that it stopped comes up, with current: `boot` runs before it."""
        if operator.down:
            name = self.random.choice(sorted(operator.down))
            operator.down.discard(name)
            body = self.bodies[name]
            body.is_up, body.uses = True, 12

    def speaks(self, operator: Operator) -> None:
        """It renews, or says `done`, too early or too late as it may be."""
        for claim in list(operator.held):
            word = self.random.choice((ClaimState.DONE, ClaimState.RESTARTING, ClaimState.CLAIMED))
            if claim.id not in operator.acted:
                word = ClaimState.CLAIMED
            try:
                said = self.say(claim, word)
            except (Conflict, NotFound):
                said = None
            if said is None or not said.is_open:
                operator.held.remove(claim)

    def dies(self, operator: Operator) -> None:
        """It forgets what it holds; a node that it had stopped comes up by itself (its supervisor)."""
        while operator.down:
            self.starts(operator)
        operator.held.clear()

    # --- the world --------------------------------------------------------------------------

    def crashes(self) -> None:
        """A node is restarted by somebody else, and is back on current, whoever has claimed it."""
        name = self.random.choice(NAMES)
        body = self.bodies[name]
        if body.is_up:
            body.uses, body.crashes = 12, body.crashes + 1
            self.tell(name)

    def falls(self) -> None:
        """A node goes down by itself for a while, claimed or not, and its agent says so."""
        name = self.random.choice(NAMES)
        body = self.bodies[name]
        if body.is_up and not any(other.has_fallen for other in self.bodies.values()):
            body.is_up, body.has_fallen, body.crashes = False, True, body.crashes + 1
            self.tell(name)

    def rises(self) -> None:
        """It comes up again, on current."""
        for name, body in self.bodies.items():
            if body.has_fallen:
                body.is_up, body.has_fallen, body.uses = True, False, 12
                self.tell(name)

    def holds(self, *, is_held: bool) -> None:
        """An operator holds the rotation, or releases it."""
        rotation = replace(self.cluster.rotation, is_held=is_held)
        self.cluster = replace(self.cluster, rotation=rotation)

    def time(self) -> None:
        """It passes; agents whose nodes run are heard."""
        self.passes(self.random.choice((1, 5, 20, 70)) * SECOND, heard=False)
        for name in NAMES:
            if self.random.random() < 0.9:
                self.tell(name)

    def step(self) -> None:
        """Anything that can happen."""
        operator = self.random.choice(self.operators)
        self.random.choice(
            (
                lambda: self.claims(operator),
                lambda: self.stops(operator),
                lambda: self.starts(operator),
                lambda: self.speaks(operator),
                lambda: self.dies(operator) if self.random.random() < 0.2 else None,
                self.crashes if self.random.random() < 0.2 else self.settle,
                lambda: self.tell(self.random.choice(NAMES)),
                self.time,
                self.settle,
                self.falls if self.random.random() < 0.3 else self.rises,
                lambda: self.holds(is_held=self.random.random() < 0.3),
            )
        )()
        self.examine()

    def examine(self) -> None:
        """What holds at every instant."""
        stopped = [name for name in self.away() if not self.bodies[name].has_fallen]
        assert len(stopped) <= self.most, f"down at once: {stopped}"
        for name, body in self.bodies.items():
            assert body.starts <= 1, f"{name} was restarted twice for one rotation"

    def finish(self) -> None:
        """With one orchestrator that does as it should, it comes to its end."""
        honest, other = self.operators
        self.dies(other)
        self.rises()
        self.holds(is_held=False)
        for _ in range(400):
            self.claims(honest)
            self.stops(honest)
            self.starts(honest)
            for name in NAMES:
                self.tell(name)
            self.speaks(honest)
            self.passes(5 * SECOND)
            self.settle()
            self.examine()
            if not any(rollout.laggards(self.crowd, self.cluster.rotation)):
                return
        raise AssertionError(f"it does not end: {self.waits()}")


@given(seed=st.integers(0, 2**32), most=st.integers(1, 2))
@settings(max_examples=EXAMPLES, deadline=None)
def test_two_orchestrators_restart_no_node_twice_and_no_more_than_may_be_down(
    seed: int, most: int
) -> None:
    """Whatever dies, stalls or comes late, in any order; and in the end every node is on current."""
    course = Fleet(Random(seed), most=most)
    for _ in range(60):
        course.step()
    course.finish()
    assert {body.uses for body in course.bodies.values()} == {12}


def test_the_examination_notices_a_node_that_is_restarted_twice() -> None:
    """A check that cannot fail proves nothing."""
    course = Fleet(Random(1), most=1)
    course.bodies[NAMES[0]].starts = 2
    with pytest.raises(AssertionError, match="twice"):
        course.examine()
    course.bodies[NAMES[0]].starts = 0
    for name in NAMES[:2]:
        course.bodies[name].is_up = False
    with pytest.raises(AssertionError, match="down at once"):
        course.examine()
