"""What becomes of claims: taken, renewed, given up, lost, and settled by evidence."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.domain import claims, settlements
from rotator.domain.claim import ClaimState
from rotator.domain.cluster import ReadFrom
from rotator.domain.rotation import Phase
from rotator.errors import ClaimLost, NotFound, RolloutPaused
from rotator.testing.factories import a_crowd, a_rotation, an_emergency
from tests.support.rollouts import (
    MINUTE,
    ROLLING_OUT,
    SECOND,
    SOAK,
    A,
    B,
    C,
    Course,
    by_restart,
    three,
)

CLAIMED, RESTARTING, DONE = ClaimState.CLAIMED, ClaimState.RESTARTING, ClaimState.DONE
FAILED, EXPIRED = ClaimState.FAILED, ClaimState.EXPIRED
BACK = a_rotation(Phase.ROLLING_BACK, is_rollback=True)


@pytest.fixture
def course() -> Course:
    """Three nodes, one of which may be down."""
    return Course(three())


def test_a_claim_says_all_that_its_holder_needs(course: Course) -> None:
    """Node, version, fencing token, and until when; whom it was linked to is kept."""
    [claim] = course.take(holder="ci")
    assert (claim.node, claim.version, claim.rotation) == (A, 12, "r1")
    assert (claim.state, claim.token, claim.holder) == (CLAIMED, 1, "ci")
    assert claim.expires_at == course.now + 2 * MINUTE
    assert claim.links == (B, C)
    assert course.facts == ["RestartClaimed"]


def test_tokens_only_grow(course: Course) -> None:
    """Every claim has one above all before it, over rotations and hours."""
    course.policy = by_restart(max_unavailable=2)
    first, second = course.take(2)
    course.say(first, FAILED)
    [third] = course.take()
    assert [first.token, second.token, third.token] == [1, 2, 3]
    course.passes(timedelta(hours=2))
    course.settle()
    course.cluster = replace(course.cluster, rotation=replace(ROLLING_OUT, id="r2"))
    [fourth] = course.take()
    assert fourth.token == 4
    assert set(course.cluster.claims) == {fourth.id}


def test_who_wants_certain_nodes_gets_no_others(course: Course) -> None:
    """An orchestrator that cannot restart who is next gets nothing, and skips nobody."""
    assert course.take(among=frozenset({C})) == []
    assert [claim.node for claim in course.take(3, among=frozenset({A, C}))] == [A]


def test_a_claim_is_renewed_by_whoever_speaks_for_it(course: Course) -> None:
    """Every word but `failed` moves its end; a state once said is not taken back."""
    [claim] = course.take()
    course.passes(MINUTE)
    assert course.say(claim, CLAIMED).expires_at == course.now + 2 * MINUTE
    course.passes(MINUTE)
    begun = course.say(claim, RESTARTING)
    assert (begun.state, begun.restarting_at) == (RESTARTING, course.now)
    course.passes(MINUTE)
    for word in (CLAIMED, RESTARTING, DONE):
        again = course.say(claim, word)
        assert (again.state, again.restarting_at) == (RESTARTING, begun.restarting_at)
        assert again.expires_at == course.now + 2 * MINUTE
    assert course.facts == ["RestartClaimed", "RestartBegun"]


def test_done_is_believed_when_the_node_attests_it(course: Course) -> None:
    """A holder that says so too early is told how it stands; soaked and healthy, it is done."""
    [claim] = course.take()
    assert course.say(claim, DONE).state is RESTARTING
    course.report(A)
    assert course.say(claim, DONE).back_at == course.now
    course.passes(SOAK - SECOND)
    assert course.say(claim, DONE).state is RESTARTING
    course.passes(SECOND)
    assert course.say(claim, DONE).state is DONE
    assert course.say(claim, DONE).state is DONE
    assert course.facts == ["RestartClaimed", "RestartBegun", "RestartedNodeBack", "RestartDone"]


def test_without_soak_a_node_that_is_back_is_done(course: Course) -> None:
    """One look is enough where the policy wants no more."""
    course.policy = by_restart(soak=timedelta())
    [claim] = course.take()
    course.report(A)
    course.settle()
    assert course.state(claim) is DONE


def test_a_node_that_goes_down_again_soaks_anew(course: Course) -> None:
    """Also one that has only lost its links; the time that it was well before does not count."""
    [claim] = course.take()
    course.say(claim, RESTARTING)
    for changes in ({"read_from": ReadFrom.BOOT}, {"links": {}}):
        course.report(A)
        course.settle()
        assert course.cluster.claims[claim.id].back_at == course.now
        course.report(A, **changes)
        course.settle()
        assert course.cluster.claims[claim.id].back_at is None
    course.passes(SOAK)
    course.report(A)
    course.settle()
    assert course.state(claim) is RESTARTING


def test_a_claim_whose_node_is_back_needs_no_renewal(course: Course) -> None:
    """An orchestrator that died after the restart leaves nothing to do but to wait."""
    [claim] = course.take()
    course.say(claim, RESTARTING)
    course.report(A, links={})
    course.passes(timedelta(minutes=5))
    course.settle()
    assert course.state(claim) is RESTARTING
    assert course.say(claim, DONE).state is RESTARTING
    course.report(A)
    course.settle()
    course.passes(SOAK)
    course.settle()
    assert course.state(claim) is DONE


def test_a_leader_that_has_not_heard_yet_judges_nothing(course: Course) -> None:
    """A service that has just begun to serve lets a soaking node soak on."""
    [claim] = course.take()
    course.report(A)
    course.settle()
    course.now += SOAK
    late = a_crowd(course.cluster, course.policy, now=course.now, serving_since=course.now)
    assert claims.settle(late) is None
    assert course.cluster.claims[claim.id].back_at is not None


@pytest.mark.parametrize("begun", [False, True])
def test_who_is_silent_loses_the_claim(course: Course, begun: bool) -> None:
    """The node may be claimed again, and the one who comes back late is refused."""
    [claim] = course.take()
    if begun:
        course.say(claim, RESTARTING)
    course.passes(2 * MINUTE)
    with pytest.raises(ClaimLost):
        course.say(claim, RESTARTING)
    course.settle()
    assert course.state(claim) is EXPIRED
    assert course.facts[-1] == "RestartClaimExpired"
    if begun:  # It may have been restarted meanwhile: what was heard before tells nothing.
        assert course.take() == []
        assert course.waits()[A] == "not_back"
    course.passes(SECOND)
    [other] = course.take(holder="two")
    assert (other.node, other.token) == (A, claim.token + 1)
    for word in (CLAIMED, RESTARTING, DONE, FAILED):
        with pytest.raises(ClaimLost):
            course.say(claim, word)
    assert course.cluster.claims[claim.id].came_to_nothing is begun


def test_a_wrong_token_and_a_wrong_id_are_refused(course: Course) -> None:
    """Only who was given the claim may speak for it."""
    [claim] = course.take()
    with pytest.raises(ClaimLost):
        course.say(claim, RESTARTING, token=7)
    with pytest.raises(NotFound):
        course.say(replace(claim, id="other"), RESTARTING)
    assert course.cluster.claims[claim.id] == claim


def test_a_claim_that_is_given_up_says_why(course: Course) -> None:
    """A node that is up on the former version may be tried again."""
    [claim] = course.take()
    failed = course.say(claim, FAILED)
    assert (failed.state, failed.detail, failed.ended_at) == (FAILED, "because", course.now)
    assert course.facts[-1] == "RestartFailed"
    assert course.say(claim, FAILED) == failed
    assert [again.node for again in course.take()] == [A]


def test_no_restart_begins_while_the_rotation_is_held(course: Course) -> None:
    """What has begun goes on; what has not is refused, and may be renewed."""
    course.policy = by_restart(max_unavailable=2)
    one, other = course.take(2)
    course.say(one, RESTARTING)
    course.cluster = replace(course.cluster, rotation=replace(ROLLING_OUT, is_held=True))
    with pytest.raises(RolloutPaused):
        course.say(other, RESTARTING)
    assert course.say(other, CLAIMED).state is CLAIMED
    assert course.say(one, RESTARTING).state is RESTARTING
    course.report(A)
    course.settle()
    course.passes(SOAK)
    course.settle()
    assert course.state(one) is DONE


@pytest.mark.parametrize("rotation", [None, an_emergency(Phase.LOCKING, id="r2")])
def test_claims_end_with_their_rotation(course: Course, rotation: object) -> None:
    """Superseded by an emergency, or over: nobody restarts anything for it any more."""
    [claim] = course.take()
    course.cluster = replace(course.cluster, rotation=rotation)
    with pytest.raises(ClaimLost):
        course.say(claim, RESTARTING)
    course.settle()
    assert course.state(claim) is EXPIRED


def test_a_rollback_ends_claims_that_were_not_begun(course: Course) -> None:
    """What restarts already comes back first, or runs out; its holder is told to stop."""
    course.policy = by_restart(max_unavailable=2)
    one, other = course.take(2)
    course.say(one, RESTARTING)
    course.cluster = replace(course.cluster, rotation=BACK)
    course.settle()
    assert (course.state(one), course.state(other)) == (RESTARTING, EXPIRED)
    with pytest.raises(ClaimLost):
        course.say(one, RESTARTING)
    course.report(A)
    course.settle()
    assert course.state(one) is RESTARTING
    course.passes(2 * MINUTE)
    course.settle()
    assert course.state(one) is EXPIRED


@pytest.mark.parametrize(
    ("changes", "ends"),
    [({"is_excused": True}, EXPIRED), ({"has_left": True}, DONE), (None, EXPIRED)],
)
def test_claims_end_with_their_node(
    course: Course, changes: dict[str, bool] | None, ends: ClaimState
) -> None:
    """Excused or removed it is over, and one that has left has been replaced under another name."""
    [claim] = course.take()
    members = dict(course.cluster.members)
    member = members.pop(A)
    if changes is not None:
        members[A] = replace(member, **changes)
    course.cluster = replace(course.cluster, members=members)
    assert not settlements.has_come_back(course.crowd, claim) or changes is not None
    course.settle()
    assert course.state(claim) is ends


def test_a_node_that_came_back_as_it_was_has_failed(course: Course) -> None:
    """After all its time it is up with the former version: nothing runs before it starts."""
    course.policy = by_restart(restart_timeout=MINUTE)
    [claim] = course.take()
    course.passes(MINUTE)
    course.settle()
    assert course.state(claim) is CLAIMED
    course.say(claim, RESTARTING)
    course.passes(MINUTE - SECOND)
    assert claims.settle(course.crowd) is None
    course.passes(SECOND)
    course.settle()
    assert course.state(claim) is FAILED
    assert "agent boot" in course.cluster.claims[claim.id].detail


def test_released_nodes_are_tried_again(course: Course) -> None:
    """What came to nothing is forgiven; what did not, and the budget, stay as they are."""
    course.policy = by_restart(max_attempts=1)
    [claim] = course.take()
    course.say(claim, FAILED)
    assert course.take() == []
    course.cluster = claims.forgive(course.cluster)
    assert course.cluster.claims[claim.id].state is FAILED
    assert [again.node for again in course.take()] == [A]
    assert claims.forgive(course.cluster) is course.cluster
