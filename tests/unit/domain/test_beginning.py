"""A restart that was handed out is looked at again when it begins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotator.domain import availability, claims
from rotator.domain.claim import ClaimState
from rotator.domain.claims import Word
from rotator.domain.cluster import Blocker, ReadFrom, Standing
from rotator.domain.ids import NodeName
from rotator.domain.policy import Adoption
from rotator.errors import ClaimLost, RolloutPaused
from rotator.testing.factories import NOW, a_crowd
from tests.support.rollouts import (
    MINUTE,
    ROLLING_OUT,
    SECOND,
    A,
    B,
    C,
    Course,
    by_restart,
    node,
    silent,
    three,
)

CLAIMED, RESTARTING = ClaimState.CLAIMED, ClaimState.RESTARTING
NOBODY = NodeName("nobody@h")


@pytest.fixture
def course() -> Course:
    """Three nodes, one of which may be down."""
    return Course(three())


def _waits(course: Course, claim: object, why: str) -> None:
    """It may not begin, says why, and can be renewed all the same."""
    with pytest.raises(RolloutPaused, match=why):
        course.say(claim, RESTARTING)  # type: ignore[arg-type]
    assert course.say(claim, CLAIMED).state is CLAIMED  # type: ignore[arg-type]
    assert course.cluster.claims[claim.id].restarting_at is None  # type: ignore[attr-defined]


def test_a_node_that_is_back_already_is_not_restarted_again(course: Course) -> None:
    """Somebody else restarted it while its claim waited."""
    [claim] = course.take()
    course.report(A)
    with pytest.raises(ClaimLost, match="already"):
        course.say(claim, RESTARTING)
    assert course.state(claim) is CLAIMED
    assert "RestartBegun" not in course.facts


def test_nor_one_that_was_restarted_while_the_rotation_was_held(course: Course) -> None:
    """Its release lets nothing begin that nobody needs any more."""
    [claim] = course.take()
    course.cluster = replace(course.cluster, rotation=replace(ROLLING_OUT, is_held=True))
    _waits(course, claim, "held")
    course.report(A)
    course.settle()
    course.cluster = replace(course.cluster, rotation=ROLLING_OUT)
    with pytest.raises(ClaimLost, match="already"):
        course.say(claim, RESTARTING)


def test_a_restart_that_begins_may_be_said_twice(course: Course) -> None:
    """The answer was lost, and the node is back meanwhile: the claim is renewed."""
    [claim] = course.take()
    course.say(claim, RESTARTING)
    course.report(A)
    assert course.say(claim, RESTARTING).state is RESTARTING


def test_after_a_change_to_hot_nobody_is_restarted(course: Course) -> None:
    """The configuration was loaded anew: agents do it now."""
    [claim] = course.take()
    course.policy = replace(course.policy, adoption=Adoption.HOT)
    with pytest.raises(ClaimLost, match="not restarted for its version"):
        course.say(claim, RESTARTING)


@pytest.mark.parametrize("gone", [{"has_left": True}, {"is_excused": True}])
def test_nobody_restarts_who_has_gone(course: Course, gone: dict[str, bool]) -> None:
    """Before the service has ended the claim."""
    [claim] = course.take()
    course.put(replace(course.cluster.members[A], **gone))
    with pytest.raises(ClaimLost, match="nobody waits"):
        course.say(claim, RESTARTING)


def test_while_another_node_is_down_it_waits(course: Course) -> None:
    """One may be down: B died after A was claimed, and A goes when B is up again."""
    [claim] = course.take()
    course.put(silent(B, ReadFrom.NONE))
    _waits(course, claim, "max_unavailable .*b@h .its node does not answer")
    course.report(B, 11)
    assert course.say(claim, RESTARTING).state is RESTARTING


def test_a_node_that_is_not_known_to_be_up_waits(course: Course) -> None:
    """It may be starting just now, for whatever reason."""
    [claim] = course.take()
    course.put(silent(A, ReadFrom.BOOT))
    _waits(course, claim, "not known to be up: about to boot")


def test_while_the_cluster_is_frozen_it_waits(course: Course) -> None:
    """What is handed out does not begin either."""
    [claim] = course.take()
    frozen = Blocker(code="stores_disagree", subject="frozen", detail="look")
    course.cluster = replace(course.cluster, blockers=(Standing(blocker=frozen, since=NOW),))
    _waits(course, claim, "stores_disagree")


def test_while_another_node_is_not_back_it_waits() -> None:
    """A node that fails to come back stops those that are claimed, too."""
    course = Course(three(), by_restart(max_unavailable=2, restart_timeout=MINUTE))
    one, other = course.take(2)
    course.say(one, RESTARTING)
    course.put(silent(A, ReadFrom.NONE))
    course.passes(MINUTE)
    _waits(course, other, "a@h: not_back")


def test_its_place_in_the_restarts_of_the_hour_it_has_already() -> None:
    """The last one of the budget begins."""
    course = Course(three(), by_restart(max_restarts_per_hour=1))
    [claim] = course.take()
    assert course.say(claim, RESTARTING).state is RESTARTING


def test_of_two_that_wait_the_first_goes_first() -> None:
    """Fewer may be down than when both were claimed: neither waits for the other for ever."""
    course = Course(three(), by_restart(max_unavailable=2))
    one, other = course.take(2)
    course.put(silent(C, ReadFrom.NONE))
    _waits(course, other, "max_unavailable")
    assert course.say(one, RESTARTING).state is RESTARTING
    course.report(C, 11)
    assert course.say(other, RESTARTING).state is RESTARTING


def test_who_waits_after_it_and_is_down_counts_all_the_same() -> None:
    """It was claimed later, and died."""
    course = Course(three(), by_restart(max_unavailable=2))
    one, _ = course.take(2)
    course.put(silent(B, ReadFrom.NONE))
    course.policy = by_restart(max_unavailable=1)
    _waits(course, one, "b@h .under claim")


def test_a_node_without_an_agent_waits_for_those_that_are_down() -> None:
    """And of two of them the first goes first; one that may be down already waits for nobody."""
    d, e = NodeName("d@h"), NodeName("e@h")
    policy = replace(by_restart(max_unavailable=2), without_agent=frozenset({d, e}))
    course = Course(three(*(node(name, 12) for name in (A, B, C))), policy)
    one, other = course.take(2)
    assert (one.node, other.node) == (d, e)
    course.put(silent(C, ReadFrom.NONE))
    _waits(course, other, "max_unavailable")
    assert course.say(one, RESTARTING).state is RESTARTING
    course.say(one, ClaimState.FAILED)
    course.say(other, ClaimState.RELEASED)
    [again] = course.take()
    assert again.node == d
    assert course.say(again, RESTARTING).state is RESTARTING


def test_a_claim_on_an_unknown_node_is_left_to_its_end(course: Course) -> None:
    """Removed meanwhile: the claim ends at once, so nobody is told to go on."""
    [claim] = course.take()
    course.cluster = replace(
        course.cluster, members={n: m for n, m in course.cluster.members.items() if n != A}
    )
    change = claims.change(course.crowd, claim.id, Word(state=RESTARTING, token=1), by="token:1")
    assert change.cluster.claims[claim.id].state is ClaimState.EXPIRED


def test_after_a_change_of_leader_it_waits_until_nodes_are_heard(course: Course) -> None:
    """Who did not report since then may be down."""
    [claim] = course.take()
    course.now += SECOND
    crowd = a_crowd(course.cluster, course.policy, now=course.now, serving_since=course.now)
    with pytest.raises(RolloutPaused, match="not heard of"):
        claims.change(crowd, claim.id, Word(state=RESTARTING, token=claim.token), by="token:1")
    assert availability.up(crowd) == 0
