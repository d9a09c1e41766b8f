"""Nodes that leave while they are restarted: their places are kept until they are made up for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotator.domain import availability, rollout
from rotator.domain.claim import ClaimState
from rotator.domain.cluster import ReadFrom
from rotator.domain.ids import NodeName
from tests.support.rollouts import (
    MINUTE,
    SECOND,
    SOAK,
    A,
    B,
    C,
    Course,
    by_restart,
    node,
    silent,
    three,
)

RESTARTING, DONE = ClaimState.RESTARTING, ClaimState.DONE
NEW = NodeName("new@h")


def _leaves(course: Course, name: str = A) -> None:
    course.put(replace(course.cluster.members[NodeName(name)], has_left=True))
    course.settle()


def _restarts(**changes: object) -> Course:
    """A is claimed, and its restart has begun."""
    course = Course(three(), by_restart(restart_timeout=10 * MINUTE, **changes))
    [claim] = course.take()
    course.say(claim, RESTARTING)
    return course


@pytest.mark.parametrize("expect", [None, 3, frozenset({A, B, C})])
def test_who_leaves_to_be_restarted_keeps_its_place_until_it_is_back(expect: object) -> None:
    """`leave_on_stop`: it is not up, and the next one is not handed out."""
    course = _restarts(expect=expect)
    [claim] = course.cluster.claims.values()
    _leaves(course)
    assert course.state(claim) is RESTARTING
    assert availability.unavailable(course.crowd) == {A: "under claim"}
    assert course.take() == []
    course.report(A)
    course.settle()
    course.passes(SOAK)
    course.settle()
    assert course.state(claim) is DONE
    assert [taken.node for taken in course.take()] == [B]


def test_one_that_comes_under_another_name_makes_up_for_it() -> None:
    """As many are up as when it was claimed, and stay so for the soak time."""
    course = _restarts()
    [claim] = course.cluster.claims.values()
    assert claim.up == 3
    _leaves(course)
    course.put(replace(node(NEW, 12), last_seen=course.now))
    course.settle()
    assert course.cluster.claims[claim.id].back_at == course.now
    course.put(silent(NEW, ReadFrom.NONE))
    course.settle()
    assert course.cluster.claims[claim.id].back_at is None
    course.report(NEW)
    course.settle()
    course.passes(SOAK - SECOND)
    course.settle()
    assert course.state(claim) is RESTARTING
    course.passes(SECOND)
    course.settle()
    assert course.state(claim) is DONE
    assert "as many are up" in course.cluster.claims[claim.id].detail
    assert "RestartedNodeBack" not in course.facts
    assert [taken.node for taken in course.take()] == [B]


@pytest.mark.parametrize("expect", [None, 3])
def test_pods_that_die_without_a_word_are_not_forgotten(expect: int | None) -> None:
    """Ephemeral, and its replacement never comes: no other node goes, and it is named."""
    course = _restarts(expect=expect)
    course.policy = replace(course.policy, ephemeral=True)
    [claim] = course.cluster.claims.values()
    for _ in range(12):
        course.passes(MINUTE, heard=False)
        for name in (B, C):
            course.report(name, 11)
        if course.cluster.claims[claim.id].is_open:
            course.say(claim, DONE)
        course.settle()
        assert course.take() == []
    assert course.state(claim) is RESTARTING
    assert course.waits()[A] == "not_back"
    assert (course.crowd.missing() == ("1 more",)) is (expect == 3)


def test_nor_when_its_orchestrator_dies_as_well() -> None:
    """The claim runs out; it is owed until as many are up, or an operator excuses it."""
    course = _restarts()
    [claim] = course.cluster.claims.values()
    _leaves(course)
    course.passes(2 * MINUTE)
    course.settle()
    assert course.state(claim) is ClaimState.EXPIRED
    assert course.waits()[A] == "not_back"
    assert course.next() == ()
    mended = Course(course.cluster, course.policy)
    mended.now = course.now
    mended.report(NEW)
    assert mended.next() == (B,)
    course.put(replace(course.cluster.members[A], is_excused=True))
    assert course.next() == (B,)


def test_who_is_excused_keeps_no_place() -> None:
    """Whether it has left or not: nobody waits for it any more."""
    course = _restarts(expect=frozenset({A, B, C}))
    [claim] = course.cluster.claims.values()
    _leaves(course)
    course.put(replace(course.cluster.members[A], is_excused=True))
    course.settle()
    assert course.state(claim) is ClaimState.EXPIRED
    assert course.next() == (B,)


def test_who_has_left_and_is_expected_by_name_is_unavailable() -> None:
    """It may be down for a moment; excuse it, or expect it no more."""
    gone = replace(node(A), has_left=True)
    course = Course(three(gone), by_restart(expect=frozenset({A, B, C})))
    assert availability.unavailable(course.crowd) == {A: "has left, and is expected by name"}
    assert course.next() == ()
    course.policy = by_restart(expect=frozenset({B, C}))
    assert course.next() == (B,)


def test_who_leaves_after_its_restart_failed_still_stops_the_rollout() -> None:
    """Until as many are up as there were; a release lets it rest."""
    course = _restarts(max_attempts=1)
    [claim] = course.cluster.claims.values()
    course.say(claim, ClaimState.FAILED)
    _leaves(course)
    codes = {b.code for b in rollout.outlook(course.crowd).waiting if b.subject == A}
    assert codes == {"restart_failed"}
    course.report(NEW)
    assert course.next() == (B,)
