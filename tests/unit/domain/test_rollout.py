"""Who may restart next, who may not, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from rotator.domain import availability, rollout
from rotator.domain.calendar import Calendar
from rotator.domain.claim import ClaimState
from rotator.domain.cluster import Blocker, ReadFrom, Standing
from rotator.domain.rotation import Kind, Phase
from rotator.domain.schedule import Schedule
from rotator.testing.factories import (
    NOW,
    a_member,
    a_policy,
    a_rotation,
    an_emergency,
)
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
    node,
    silent,
    three,
)

RESTARTING, DONE = ClaimState.RESTARTING, ClaimState.DONE


def test_all_that_use_another_version_are_next_as_many_as_may_be_down() -> None:
    """By name, or as the policy says; no more at once than `max_unavailable`."""
    assert Course(three()).next() == (A,)
    assert Course(three(), by_restart(max_unavailable=2)).next() == (A, B)
    assert Course(three(), by_restart(order=(C, B), max_unavailable=5)).next() == (C, B, A)


def test_a_node_that_uses_current_already_needs_no_restart() -> None:
    """Whoever booted meanwhile, for whatever reason, is left alone."""
    course = Course(three(node(A, 12)))
    assert course.next() == (B,)
    assert rollout.outlook(course.crowd).restarted == 1
    assert Course(three(node(A, 12), node(B, 12), node(C, 12))).next() == ()


@pytest.mark.parametrize(
    "rotation",
    [
        None,
        a_rotation(Phase.INSTALLING),
        a_rotation(Phase.PROMOTING),
        a_rotation(Phase.RETIRING),
        an_emergency(Phase.ROLLING_OUT),
    ],
)
def test_nobody_is_restarted_outside_of_a_rollout(rotation: object) -> None:
    """Not because a service or an orchestrator has begun to serve, and not in an emergency."""
    course = Course(three(rotation=rotation))
    assert course.next() == ()
    assert course.waits() == {}
    assert course.take() == []


def test_a_cluster_that_adopts_while_it_runs_restarts_nobody() -> None:
    """With `adoption: hot` the rollout is empty, and laggards are those of every rotation."""
    course = Course(three(), a_policy())
    assert course.next() == ()
    codes = {b.code for b in rollout.laggards(course.crowd, ROLLING_OUT)}
    assert codes == {"laggard"}


def test_the_way_back_takes_restarts_too() -> None:
    """While a rotation is rolled back, those are next that use the rejected version."""
    back = a_rotation(Phase.ROLLING_BACK, is_rollback=True)
    assert Course(three(node(B, 12), rotation=back)).next() == (B,)
    # R2 is not written yet: the rejected version is still current.
    early = three(node(B, 12), rotation=back, stages={11: "previous", 12: "current"})
    assert Course(early).next() == ()


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (silent(C, ReadFrom.BOOT), "about to boot"),
        (silent(C, ReadFrom.NONE), "its node does not answer"),
        (a_member(C), "never attested"),
        (node(C, None, own="f1:" + "0" * 32), "uses a cookie that is not accepted"),
        (replace(node(C), last_seen=NOW - timedelta(hours=1)), "not heard of for a while"),
        (node(C, generation=41), "has not reported since this phase began"),
    ],
)
def test_who_is_not_known_to_be_up_takes_the_place_of_one_that_restarts(
    member: object, why: str
) -> None:
    """With one allowed to be down, nobody else goes; with two, one does; its name is told."""
    course = Course(three(member))
    assert course.next() == ()
    assert course.waits()["rollout"] == "max_unavailable"
    assert rollout.outlook(course.crowd).unavailable == {C: why}
    assert Course(three(member), by_restart(max_unavailable=2)).next() == (A,)


def test_nobody_goes_out_of_turn_because_another_has_not_reported_yet() -> None:
    """When a phase begins reports come in any order, and restarts still go by name."""
    course = Course(three(node(A, generation=41)))
    assert course.next() == ()
    course.report(A, 11)
    assert course.next() == (A,)


def test_who_is_silent_takes_the_place_before_it_is_lost_and_after() -> None:
    """A host that ends without a word is noticed at half its time to live."""
    course = Course(three())
    course.passes(50 * SECOND, heard=False)
    for name in (A, B):
        course.report(name, 11)
    assert availability.unavailable(course.crowd) == {C: "not heard of for a while"}
    course.passes(40 * SECOND, heard=False)
    for name in (A, B):
        course.report(name, 11)
    assert availability.unavailable(course.crowd) == {C: "lost"}
    assert course.next() == ()


@pytest.mark.parametrize("gone", [{"has_left": True}, {"is_excused": True}])
def test_who_has_left_or_is_excused_is_not_counted(gone: dict[str, bool]) -> None:
    """Nobody waits for them, and nobody restarts them."""
    assert Course(three(replace(silent(A, ReadFrom.NONE), **gone))).next() == (B,)
    assert Course(three(replace(node(A), **gone))).next() == (B,)


def test_expected_members_that_never_came_count() -> None:
    """By name they take a place; of a number too small, nobody goes at all."""
    named = by_restart(expect=frozenset({A, B, C, "d@h"}))
    assert Course(three(), named).next() == ()
    assert availability.unavailable(Course(three(), named).crowd) == {"d@h": "never attested"}
    assert Course(three(), by_restart(expect=3)).next() == (A,)
    assert Course(three(), by_restart(expect=4, max_unavailable=2)).next() == ()
    waits = Course(three(), by_restart(expect=4)).waits()
    assert waits["1 more"] == "expected_member_missing"


def test_a_held_or_frozen_rollout_hands_out_nothing() -> None:
    """Hold is the pause: what is under way may come to its end, nothing begins."""
    held = Course(three(rotation=replace(ROLLING_OUT, is_held=True)))
    assert held.next() == ()
    assert held.waits()["operator"] == "held"
    blocker = Blocker(code="edited_document", subject="frozen")
    frozen = Course(three(blockers=(Standing(blocker=blocker, since=NOW),)))
    assert frozen.next() == ()
    assert frozen.waits()["frozen"] == "edited_document"


def test_a_scheduled_rollout_rests_outside_of_its_window() -> None:
    """Restarts belong into the window as promotion does."""
    calendar = Calendar("0 3 * * *", UTC)
    schedule = Schedule(calendar=calendar, window=timedelta(hours=1))
    scheduled = replace(ROLLING_OUT, kind=Kind.SCHEDULED)
    course = Course(three(rotation=scheduled), by_restart(schedule=schedule))
    assert course.waits()["clock"] == "outside_window"
    assert course.next() == ()


def test_a_claimed_node_holds_its_place_until_it_is_back_and_soaked() -> None:
    """One after the other: nobody goes while the last one is down, unhealthy or soaking."""
    course = Course(three())
    [claim] = course.take()
    assert claim.node == A
    assert course.take() == []
    assert course.waits()[A] == "restarting"
    assert course.waits()[B] == course.waits()[C] == "awaiting_restart"
    course.say(claim, RESTARTING)
    course.report(A, None, read_from=ReadFrom.BOOT)
    assert course.next() == ()
    course.report(A, links={B: False})
    course.settle()
    assert course.waits()[A] == "not_healthy"
    course.report(A)
    course.settle()
    assert course.waits()[A] == "soaking"
    assert course.next() == ()
    course.passes(SOAK)
    course.settle()
    assert course.state(claim) is DONE
    assert course.next() == (B,)


def test_a_back_node_that_is_not_fresh_is_not_healthy() -> None:
    """What it said before this phase, or of its file, is no proof."""
    course = Course(three())
    [claim] = course.take()
    for changes in ({"generation": 41}, {"file": None}):
        course.report(A, **changes)
        member = course.cluster.members[A]
        assert not availability.is_healthy(course.crowd, claim, member)
    course.report(A)
    assert availability.is_healthy(course.crowd, claim, course.cluster.members[A])
    idle = Course(replace(course.cluster, rotation=None))
    assert not availability.is_healthy(idle.crowd, claim, course.cluster.members[A])


@pytest.mark.parametrize(
    ("peer", "counts"),
    [
        (node(C), True),
        (silent(C, ReadFrom.NONE), False),
        (replace(node(C), has_left=True), False),
    ],
)
def test_a_link_counts_where_its_other_end_is_up(peer: object, counts: bool) -> None:
    """A restarted node need not be linked to whoever is down, or to whom it never was."""
    course = Course(three())
    [claim] = course.take()
    course.put(peer)  # type: ignore[arg-type]
    course.report(A, links={B: False})
    missing = availability.not_linked(course.crowd, claim, course.cluster.members[A])
    assert missing == ((C,) if counts else ())
    stranger = replace(claim, links=(*claim.links, "gone@h"))
    assert "gone@h" not in availability.not_linked(
        course.crowd, stranger, course.cluster.members[A]
    )


def test_two_that_restart_together_do_not_wait_for_each_others_link() -> None:
    """The first that is back is healthy without the other; the other needs it."""
    course = Course(three(), by_restart(max_unavailable=2))
    one, other = course.take(2)
    for claim in (one, other):
        course.say(claim, RESTARTING)
    course.report(A, links={C: False})
    course.settle()
    assert course.cluster.claims[one.id].back_at == course.now
    course.report(B, links={C: False})
    assert availability.not_linked(course.crowd, other, course.cluster.members[B]) == (A,)


def test_a_budget_ends_claims_for_the_hour() -> None:
    """At most so many restarts an hour, those of former rotations included; then again."""
    course = Course(three(), by_restart(max_restarts_per_hour=1))
    [claim] = course.take(3)
    course.report(A)
    course.settle()
    course.passes(SOAK)
    course.settle()
    assert course.state(claim) is DONE
    assert course.next() == ()
    assert course.waits()["rollout"] == "restart_budget"
    course.passes(timedelta(hours=1))
    assert course.next() == (B,)


def test_a_node_that_does_not_come_back_stops_everything_and_is_named() -> None:
    """Also where a second one may be down; once it is excused, the rollout goes on."""
    course = Course(three(), by_restart(max_unavailable=2))
    [claim] = course.take()
    course.say(claim, RESTARTING)
    assert course.next() == (B,)
    course.report(A, None, read_from=ReadFrom.NONE)
    course.passes(10 * MINUTE)
    assert course.waits()[A] == "not_back"
    assert course.next() == ()
    course.settle()
    assert course.state(claim) is ClaimState.EXPIRED
    assert course.waits()[A] == "not_back"
    assert course.take() == []
    course.put(replace(course.cluster.members[A], is_excused=True))
    assert course.next() == (B, C)


def test_a_node_that_comes_back_after_all_lets_the_rollout_go_on() -> None:
    """It is on current then, whatever has become of the claim."""
    course = Course(three())
    [claim] = course.take()
    course.say(claim, RESTARTING)
    course.report(A, None, read_from=ReadFrom.NONE)
    course.passes(10 * MINUTE)
    course.settle()
    course.report(A)
    assert course.next() == (B,)


def test_a_node_that_fails_again_and_again_stops_the_rollout() -> None:
    """It is tried as often as the policy says, then it is named; nobody else is restarted."""
    course = Course(three(), by_restart(max_attempts=2, max_unavailable=3))
    for _ in range(2):
        [claim] = course.take()
        assert claim.node == A
        course.say(claim, ClaimState.FAILED)
    assert course.next() == ()
    assert course.waits()[A] == "restart_failed"
    # Of another version it is nobody's failure.
    assert rollout.attempts(course.cluster, A, 11) == ()
    assert rollout.attempts(replace(course.cluster, rotation=None), A, 12) == ()


def test_what_the_gate_waits_for_is_told_once() -> None:
    """Per node its restart, then who lags behind otherwise, and what keeps everybody."""
    course = Course(three(node(C, 12, pins={B: node(B).attestation.own})))
    told = {C: "laggard", B: "awaiting_restart"}
    [_] = course.take()
    found = {b.subject: b.code for b in rollout.laggards(course.crowd, ROLLING_OUT)}
    assert found == told | {A: "restarting"}
    lost = Course(three(silent(A, ReadFrom.NONE), node(C, 12, pins={B: node(B).attestation.own})))
    found = {b.subject: b.code for b in rollout.laggards(lost.crowd, ROLLING_OUT)}
    assert found == told | {A: "laggard", "rollout": "max_unavailable"}


def test_when_all_are_restarted_only_pairs_are_waited_for() -> None:
    """Nothing is said of places and budgets that nobody needs any more."""
    everybody = three(node(A, 12), node(B, 12), silent(C, ReadFrom.NONE))
    found = {b.subject: b.code for b in rollout.laggards(Course(everybody).crowd, ROLLING_OUT)}
    assert found == {C: "laggard"}
