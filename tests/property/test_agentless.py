"""Orchestrators that die and fail, over nodes without agents: what words alone can promise.

A node is up or down, and uses what it started with. The service hears words, and no evidence; the
orchestrators follow the contract of claims, act while their claim is alive, and do not lie.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rotator.domain import rollout
from rotator.domain.claim import Claim, ClaimState, Step
from rotator.domain.ids import NodeName
from rotator.domain.policy import Strategy
from rotator.domain.rotation import Phase
from rotator.errors import Conflict
from rotator.testing.factories import a_cluster, a_rotation
from tests.support.rollouts import SECOND, Course, by_restart

EXAMPLES = 2000 if os.environ.get("ROTATOR_TESTS") == "full" else 200
NAMES = tuple(NodeName(f"{letter}@h") for letter in "abcd")
CLAIM_TTL, SOAK = 15 * SECOND, 10 * SECOND
OUT = a_rotation(Phase.ROLLING_OUT)
BACK = a_rotation(Phase.ROLLING_BACK, is_rollback=True)


@dataclass
class Body:
    """A node as it is."""

    uses: int = 11
    is_up: bool = True


class Fleet(Course):
    """Four nodes that nobody attests for, and a crew of orchestrators."""

    def __init__(self, random: Random, strategy: Strategy, *, most: int) -> None:
        policy = by_restart(
            strategy=strategy,
            max_unavailable=most,
            soak=SOAK,
            claim_ttl=CLAIM_TTL,
            max_attempts=100,
        )
        super().__init__(a_cluster(OUT), replace(policy, without_agent=frozenset(NAMES)))
        self.random = random
        self.bodies = {name: Body() for name in NAMES}
        self.held: list[Claim] = []

    def claims(self) -> None:
        """Somebody takes what there is."""
        self.held += self.take(self.random.randint(1, 4))

    def acts(self, chance: float = 0.6) -> None:
        """Somebody acts on a claim; it comes off, fails halfway, or its holder dies of it."""
        if not self.held:
            return
        claim = self.held.pop(self.random.randrange(len(self.held)))
        try:
            self.say(claim, ClaimState.RESTARTING)
        except Conflict:
            return
        body = self.bodies[claim.node]
        comes_off = self.random.random() < chance
        if claim.step is not Step.START:
            body.is_up = body.is_up and not comes_off and self.random.random() < 0.5
        if claim.step is not Step.STOP and (comes_off or self.random.random() < 0.5):
            body.is_up = True
            body.uses = claim.version if not self.cluster.rotation else self.cluster.rotation.target
        self.examine()
        if comes_off:
            self.say(claim, ClaimState.DONE)
        elif self.random.random() < 0.5:
            self.say(claim, ClaimState.FAILED)

    def turns_back(self) -> None:
        """An operator rolls back, once."""
        if self.cluster.rotation == OUT:
            self.cluster = replace(self.cluster, rotation=BACK, versions=a_cluster(BACK).versions)

    def step(self) -> None:
        """Something happens."""
        self.random.choice(
            (
                self.claims,
                self.acts,
                self.acts,
                lambda: self.passes(self.random.randint(1, 20) * SECOND),
                self.settle,
                lambda: self.turns_back() if self.random.random() < 0.1 else None,
            )
        )()
        self.examine()

    def examine(self) -> None:
        """What holds at every instant."""
        used = {body.uses for body in self.bodies.values() if body.is_up}
        down = [name for name, body in self.bodies.items() if not body.is_up]
        if self.policy.rollout.strategy is Strategy.STOP_THE_WORLD:
            assert len(used) <= 1, f"up on {used} at once"
        else:
            most = self.policy.rollout.max_unavailable
            assert len(down) <= most, f"down at once: {down}"

    def finish(self) -> None:
        """With one orchestrator that does as it should, it comes to its end."""
        for _ in range(200):
            self.claims()
            while self.held:
                self.acts(chance=1.0)
            self.passes(5 * SECOND)
            self.settle()
            self.examine()
            assert self.cluster.rotation is not None
            if not any(rollout.laggards(self.crowd, self.cluster.rotation)):
                return
        raise AssertionError(f"it does not end: {self.waits()}")


@given(seed=st.integers(0, 2**32), strategy=st.sampled_from(Strategy), most=st.integers(1, 2))
@settings(max_examples=EXAMPLES, deadline=None)
def test_words_that_are_true_keep_what_the_strategy_promises(
    seed: int, strategy: Strategy, most: int
) -> None:
    """Rolling: no more down than may be. stop_the_world: never two versions up. Both: an end."""
    course = Fleet(Random(seed), strategy, most=most)
    for _ in range(50):
        course.step()
    course.finish()
    assert course.cluster.rotation is not None
    wanted = Body(uses=course.cluster.rotation.target)
    assert list(course.bodies.values()) == [wanted] * len(NAMES)


def test_the_examination_notices_what_must_not_be() -> None:
    """A check that cannot fail proves nothing."""
    course = Fleet(Random(1), Strategy.STOP_THE_WORLD, most=1)
    course.bodies[NAMES[0]].uses = 12
    with pytest.raises(AssertionError, match="at once"):
        course.examine()
    course = Fleet(Random(1), Strategy.ROLLING, most=1)
    for name in NAMES[:2]:
        course.bodies[name].is_up = False
    with pytest.raises(AssertionError, match="down at once"):
        course.examine()
