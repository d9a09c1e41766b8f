"""Claims by a clock that jumps."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.domain import claim_times, claims
from rotator.domain.claim import ClaimState
from rotator.domain.facts import FactKind
from rotator.domain.rotation import Phase
from rotator.testing.factories import a_crowd, a_rotation
from tests.support.rollouts import MINUTE, SECOND, A, B, C, Course, by_restart, three

HOUR = timedelta(hours=1)
RESTARTING = ClaimState.RESTARTING


def _back(course: Course, by: timedelta = HOUR) -> None:
    """The clock goes back, and everybody is heard by the new time."""
    course.now -= by
    for member in course.cluster.members.values():
        course.put(replace(member, last_seen=course.now))


def _crowd(course: Course):
    return a_crowd(course.cluster, course.policy, now=course.now, serving_since=course.now)


def test_a_claim_whose_holder_died_ends_although_the_clock_went_back() -> None:
    """After `claim_ttl` by the new time, even if this leader never saw the jump."""
    course = Course(three())
    [claim] = course.take()
    course.say(claim, RESTARTING)
    _back(course)
    change = claims.settle(_crowd(course))
    assert change.facts == ()
    course.cluster = change.cluster
    seen = course.cluster.claims[claim.id]
    assert (seen.claimed_at, seen.restarting_at) == (course.now, course.now)
    assert seen.expires_at == course.now + 2 * MINUTE
    assert claims.settle(_crowd(course)) is None
    course.now += 2 * MINUTE
    assert claims.settle(_crowd(course)).cluster.claims[claim.id].state is ClaimState.EXPIRED


def test_a_node_that_failed_is_tried_again_although_the_clock_went_back() -> None:
    """It has been heard since, by the new time."""
    course = Course(three())
    [claim] = course.take()
    course.say(claim, RESTARTING)
    course.say(claim, ClaimState.FAILED)
    _back(course)
    course.cluster = claims.settle(_crowd(course)).cluster
    course.passes(SECOND)
    crowd = _crowd(course)
    [again] = claims.take(crowd, by="x", holder="x", ids=["c2", "c3"]).facts
    assert again.details["node"] == A


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_jump_takes_no_claim_from_a_holder_that_lives(jump: timedelta) -> None:
    """All of `claim_ttl` anew, and of the restart's time what is left."""
    course = Course(three(), by_restart(max_unavailable=2, restart_timeout=10 * MINUTE))
    one, other = course.take(2)
    course.say(one, RESTARTING)
    begun = course.now
    course.passes(MINUTE)
    course.now += jump
    change = claim_times.after_jump(_crowd(course), jump=jump)
    assert change.facts == ()
    seen = change.cluster.claims
    assert {claim.expires_at for claim in seen.values()} == {course.now + 2 * MINUTE}
    assert seen[one.id].restarting_at == begun + jump
    assert seen[other.id].restarting_at is None
    course.cluster = change.cluster
    for name in (A, B, C):
        course.report(name, 11)
    assert claims.settle(_crowd(course)) is None


def test_soak_time_counts_on_over_a_jump() -> None:
    """It is no reason to hand out the next one at once."""
    course = Course(three())
    [claim] = course.take()
    course.say(claim, RESTARTING)
    course.report(A)
    course.settle()
    course.passes(10 * SECOND)
    course.now += HOUR
    seen = claim_times.after_jump(_crowd(course), jump=HOUR).cluster.claims[claim.id]
    assert seen.back_at == course.now - 10 * SECOND


def test_a_window_that_runs_begins_anew_beside_them() -> None:
    """One change, and its fact."""
    course = Course(three(rotation=a_rotation(Phase.GRACE)))
    [claim] = course.take()
    course.now += HOUR
    change = claim_times.after_jump(_crowd(course), jump=HOUR)
    assert [fact.kind for fact in change.facts] == [FactKind.CLOCK_JUMPED]
    assert change.cluster.rotation.entered_at == course.now
    assert change.cluster.claims[claim.id].expires_at == course.now + 2 * MINUTE


def test_without_claims_and_windows_a_jump_changes_nothing() -> None:
    """Nothing is written."""
    assert claim_times.after_jump(Course(three()).crowd, jump=HOUR) is None
