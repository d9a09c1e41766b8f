"""Nodes without an agent: claimed by word, rolling or all at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pytest

from rotator.domain import (
    adoption,
    agentless,
    claims,
    departures,
    invariants,
    meaning,
    rollout,
    settlements,
)
from rotator.domain.calendar import Calendar
from rotator.domain.claim import ClaimState, Step
from rotator.domain.cluster import Change
from rotator.domain.commands import Request
from rotator.domain.facts import FactKind
from rotator.domain.ids import NodeName
from rotator.domain.policy import Strategy
from rotator.domain.rotation import Kind, Phase
from rotator.domain.schedule import Schedule
from rotator.errors import ClaimLost, Conflict, InvariantViolated, NotFound
from rotator.testing.factories import a_cluster, a_rotation, an_emergency
from tests.support.rollouts import MINUTE, ROLLING_OUT, SOAK, A, B, C, Course, by_restart
from tests.support.rollouts import node as a_node

RESTARTING, DONE, FAILED = ClaimState.RESTARTING, ClaimState.DONE, ClaimState.FAILED
NAMES = frozenset({A, B, C})


def course(*, names: frozenset[Any] = NAMES, rotation: Any = ROLLING_OUT, **changes: Any) -> Course:
    """A cluster that nobody attests in, version 12 rolled out over 11; *changes* of its rollout."""
    policy = replace(by_restart(**changes), without_agent=names)
    return Course(a_cluster(rotation), policy)


def world(**changes: Any) -> Course:
    """The same with `stop_the_world`."""
    return course(strategy=Strategy.STOP_THE_WORLD, **changes)


def done(one: Course, most: int = 1) -> list[str]:
    """Take claims, carry them out, let them soak; what was done with which node."""
    taken = one.take(most)
    for claim in taken:
        one.say(claim, RESTARTING)
        one.say(claim, DONE)
    one.passes(SOAK)
    one.settle()
    assert {one.state(claim) for claim in taken} <= {DONE}
    return [f"{claim.step} {claim.node}" for claim in taken]


# --- rolling ------------------------------------------------------------------------------


def test_they_are_restarted_one_after_the_other_by_word() -> None:
    """Each is done when its holder says so and it has soaked, and the gate opens after the last."""
    one = course()
    for name in (A, B, C):
        assert one.next() == (name,)
        assert list(rollout.laggards(one.crowd, ROLLING_OUT))
        assert done(one) == [f"restart {name}"]
    assert one.next() == ()
    assert list(rollout.laggards(one.crowd, ROLLING_OUT)) == []
    outlook = rollout.outlook(one.crowd)
    assert (outlook.restarted, outlook.members, outlook.waiting) == (3, 3, ())


def test_the_word_is_recorded_as_a_word() -> None:
    """Claim and fact say by whose word it is done, and that nothing proves it."""
    one = course()
    [claim] = one.take(holder="ansible")
    one.say(claim, RESTARTING)
    said = one.say(claim, DONE)
    assert (said.state, said.back_at) == (RESTARTING, one.now)
    assert one.waits()[A] == "soaking"
    one.passes(SOAK)
    change = claims.settle(one.crowd)
    assert change is not None
    [fact] = change.facts
    assert fact.kind is FactKind.RESTART_DONE
    assert fact.details["detail"] == "by the word of ansible, not by evidence"
    one.keep(change)
    assert one.cluster.claims[claim.id].detail == fact.details["detail"]


def test_no_more_of_them_are_down_than_may_be() -> None:
    """Who is under claim, and who may not have come up, takes a place."""
    one = course(max_unavailable=2, order=(C,))
    assert one.next() == (C, A)
    one.take(2)
    assert one.next() == ()
    assert one.waits()["rollout"] == "max_unavailable"
    assert set(rollout.outlook(one.crowd).unavailable.values()) == {"under claim"}


@pytest.mark.parametrize("how", ["failed", "expired"])
def test_a_restart_that_is_not_known_to_have_come_off_is_tried_again_first(how: str) -> None:
    """No other node goes before that one was said to be up; after some attempts nobody does."""
    one = course(max_unavailable=2, max_attempts=2)
    for attempt in (1, 2):
        assert one.next()[0] == A
        [claim] = one.take()
        one.say(claim, RESTARTING)
        if how == "failed":
            one.say(claim, FAILED)
        else:
            one.passes(3 * MINUTE)
            one.settle()
        assert one.next() == ((A,) if attempt == 1 else ())
        assert one.waits()[A] == ("not_back" if attempt == 1 else "restart_failed")
        assert rollout.outlook(one.crowd).unavailable == {A: "not known to have come up"}
    one.cluster = claims.forgive(one.cluster)
    assert done(one) == [f"restart {A}"]
    assert one.next() == (B, C)


def test_a_restart_that_takes_too_long_is_named() -> None:
    """Its holder may renew it for ever; after `restart_timeout` its name stands there."""
    one = course(max_unavailable=2, restart_timeout=MINUTE)
    [claim] = one.take()
    one.say(claim, RESTARTING)
    assert one.waits() == {A: "restarting", C: "awaiting_restart"}
    one.passes(MINUTE)
    assert one.waits()[A] == "not_back"
    assert one.next() == ()


def test_what_was_not_begun_is_no_attempt() -> None:
    """A claim that expires or is released before a begin leaves its node as it was."""
    one = course(max_restarts_per_hour=2)
    [claim] = one.take()
    assert one.say(claim, ClaimState.RELEASED).state is ClaimState.RELEASED
    one.say(claim, ClaimState.RELEASED)
    with pytest.raises(ClaimLost, match="released"):
        one.say(claim, RESTARTING)
    assert one.facts[-1] == "RestartClaimReleased"
    [claim] = one.take()
    one.passes(3 * MINUTE)
    one.settle()
    assert one.state(claim) is ClaimState.EXPIRED
    assert rollout.outlook(one.crowd).unavailable == {}
    # The one that expired counts against the budget of restarts, the released one does not.
    assert done(one) == [f"restart {A}"]
    assert one.next() == ()
    assert one.waits()["rollout"] == "restart_budget"


def test_a_claim_that_was_begun_cannot_be_given_back() -> None:
    """Its holder has to say how it ended."""
    one = course()
    [claim] = one.take()
    one.say(claim, RESTARTING)
    with pytest.raises(Conflict, match="has begun"):
        one.say(claim, ClaimState.RELEASED)
    assert one.state(claim) is RESTARTING


def test_a_word_that_comes_too_late_is_none() -> None:
    """After the claim has run out its node is restarted again, whatever its holder says."""
    one = course()
    [claim] = one.take()
    one.say(claim, RESTARTING)
    one.passes(3 * MINUTE)
    with pytest.raises(ClaimLost):
        one.say(claim, DONE)
    one.settle()
    assert one.next() == (A,)


def test_a_word_that_came_in_time_needs_no_renewal() -> None:
    """However long it soaks, and whether its holder is still there."""
    one = course(soak=timedelta(hours=1))
    [claim] = one.take()
    one.say(claim, RESTARTING)
    one.say(claim, DONE)
    one.passes(5 * MINUTE)
    one.settle()
    assert one.state(claim) is RESTARTING
    one.say(claim, DONE)
    one.passes(timedelta(hours=1))
    one.say(claim, DONE)
    assert one.state(claim) is DONE


def test_the_way_back_restarts_whoever_may_have_been_restarted() -> None:
    """Those that are done, or begun and not known to be done; no others."""
    one = course(max_unavailable=3)
    first, second = one.take(2)
    for claim in (first, second):
        one.say(claim, RESTARTING)
    one.say(first, DONE)
    back = a_rotation(Phase.ROLLING_BACK, is_rollback=True)
    one.cluster = replace(one.cluster, rotation=back, versions=a_cluster(back).versions)
    one.settle()
    assert one.state(first) is DONE
    assert one.state(second) is RESTARTING
    assert one.next() == (A,)
    one.passes(3 * MINUTE)
    one.settle()
    # B is not known to be up, so it goes first.
    assert one.next() == (B,)
    assert done(one) == [f"restart {B}"]
    assert done(one) == [f"restart {A}"]
    assert one.next() == ()
    assert rollout.outlook(one.crowd).restarted == 3


def test_hold_keeps_them_too() -> None:
    """Nothing is handed out while the rotation is held, not even a second attempt."""
    one = course()
    [claim] = one.take()
    one.say(claim, RESTARTING)
    one.say(claim, FAILED)
    one.cluster = replace(one.cluster, rotation=replace(ROLLING_OUT, is_held=True))
    assert one.next() == ()


# --- stop_the_world -----------------------------------------------------------------------


def test_all_stop_before_the_first_starts() -> None:
    """All may be claimed at once; no start is handed out while one stop is not done."""
    one = world()
    assert rollout.outlook(one.crowd).next == dict.fromkeys((A, B, C), Step.STOP)
    a, b, c = one.take(3)
    for claim in (a, b):
        one.say(claim, RESTARTING)
        assert one.say(claim, DONE).state is DONE  # who is stopped has nothing to soak for
    one.say(c, RESTARTING)
    assert one.next() == ()
    assert one.waits() == {A: "awaiting_restart", B: "awaiting_restart", C: "restarting"}
    one.say(c, DONE)
    assert rollout.outlook(one.crowd).next == dict.fromkeys((A, B, C), Step.START)
    assert list(rollout.laggards(one.crowd, ROLLING_OUT))
    assert done(one, 3) == [f"start {A}", f"start {B}", f"start {C}"]
    assert list(rollout.laggards(one.crowd, ROLLING_OUT)) == []
    assert one.next() == ()


def test_one_after_the_other_does_it_as_well() -> None:
    """An orchestrator that takes one claim at a time stops all, then starts all."""
    one = world()
    steps = [step for _ in range(6) for step in done(one)]
    assert steps == [f"{step} {name}" for step in ("stop", "start") for name in (A, B, C)]
    assert done(one) == []


def test_a_stop_that_fails_keeps_all_from_starting_and_others_from_nothing() -> None:
    """The others are stopped meanwhile; it is tried again, then named, and nobody starts."""
    one = world(max_attempts=2)
    for _ in range(2):
        claim = one.take(1)[0]
        assert (claim.node, claim.step) == (A, Step.STOP)
        one.say(claim, RESTARTING)
        one.say(claim, FAILED)
        assert B in one.next()
    assert done(one, 2) == [f"stop {B}", f"stop {C}"]
    assert one.next() == ()
    assert one.waits()[A] == "restart_failed"
    assert {b.subject for b in rollout.laggards(one.crowd, ROLLING_OUT)} == {A, B, C}


def test_neither_window_nor_budget_leaves_a_cluster_stopped() -> None:
    """They keep the first from being stopped; after that all are stopped, and all started."""
    schedule = Schedule(calendar=Calendar("0 3 * * *", UTC), window=timedelta(hours=1))
    scheduled = a_rotation(Phase.ROLLING_OUT, kind=Kind.SCHEDULED)
    one = world(rotation=scheduled, schedule=schedule, max_restarts_per_hour=2)
    one.now = one.now.replace(hour=12)
    assert (one.next(), one.waits()["clock"]) == ((), "outside_window")
    one.now = one.now.replace(hour=3, minute=30)
    [a, b] = one.take(3)
    assert one.next() == ()
    one.say(a, RESTARTING)
    assert one.next() == (C,)
    one.now = one.now.replace(hour=12)
    assert one.next() == (C,)
    assert one.state(b) is ClaimState.CLAIMED
    assert "clock" not in one.waits()


def test_a_start_that_fails_does_not_keep_others_down() -> None:
    """The rest of the cluster comes up; the one is tried again, and is named."""
    one = world()
    done(one, 3)
    a, *_ = one.take(1)
    one.say(a, RESTARTING)
    one.say(a, FAILED)
    assert one.next() == (A, B, C)
    assert rollout.outlook(one.crowd).next[A] is Step.START
    assert one.waits()[A] == "not_back"


def test_the_way_back_stops_only_who_may_use_the_other_version() -> None:
    """Rolled back between stop and start, the stopped are started, and who runs on is let alone."""
    one = world()
    assert done(one, 2) == [f"stop {A}", f"stop {B}"]
    back = a_rotation(Phase.ROLLING_BACK, is_rollback=True)
    one.cluster = replace(one.cluster, rotation=back, versions=a_cluster(back).versions)
    assert rollout.outlook(one.crowd).next == dict.fromkeys((A, B), Step.START)
    assert done(one, 3) == [f"start {A}", f"start {B}"]
    assert one.next() == ()


def test_after_some_were_started_the_way_back_stops_them_first() -> None:
    """Who may use the rejected version is stopped before anybody starts with the former one."""
    one = world()
    done(one, 3)
    done(one)
    back = a_rotation(Phase.ROLLING_BACK, is_rollback=True)
    one.cluster = replace(one.cluster, rotation=back, versions=a_cluster(back).versions)
    assert rollout.outlook(one.crowd).next == {A: Step.STOP}
    done(one)
    assert rollout.outlook(one.crowd).next == dict.fromkeys((A, B, C), Step.START)


# --- around -------------------------------------------------------------------------------


def test_one_that_attests_has_an_agent() -> None:
    """Its evidence counts, and no word: it is restarted as members are."""
    one = course(names=frozenset({A, B}))
    one.put(a_node(A, links={}))
    assert agentless.names(one.crowd) == (B,)
    [claim] = one.take()
    assert claim.node == A
    one.say(claim, RESTARTING)
    one.say(claim, DONE)
    one.passes(SOAK)
    one.settle()
    assert one.state(claim) is RESTARTING
    one.report(A, 12, links={})
    one.settle()
    one.passes(SOAK)
    one.settle()
    assert one.state(claim) is DONE
    assert one.next() == (B,)


def test_a_node_that_is_taken_from_the_configuration_is_waited_for_no_longer() -> None:
    """That is how one that will never come back is let go."""
    one = course()
    [claim] = one.take()
    one.say(claim, RESTARTING)
    one.policy = replace(one.policy, without_agent=frozenset({B, C}))
    one.settle()
    assert one.state(claim) is ClaimState.EXPIRED
    assert one.next() == (B,)


def test_one_that_will_not_come_back_is_excused() -> None:
    """By its name alone, as nobody ever attested for it; nobody waits for it, and its claim ends."""
    one = course()
    [claim] = one.take()
    one.say(claim, RESTARTING)
    request = Request(by="operator", reason="its disk is gone", at=one.now)
    one.keep(departures.excuse(one.crowd, A, request, force=False))
    one.settle()
    assert one.state(claim) is ClaimState.EXPIRED
    assert [done(one), done(one)] == [[f"restart {B}"], [f"restart {C}"]]
    assert list(rollout.laggards(one.crowd, ROLLING_OUT)) == []
    with pytest.raises(NotFound):
        departures.excuse(one.crowd, NodeName("x@h"), request, force=False)


def test_previous_is_not_given_up_before_the_last_word() -> None:
    """Invariant 3: entering `retiring` is refused while one of them was not said to be restarted."""
    one = course()
    retiring = replace(ROLLING_OUT, phase=Phase.RETIRING)
    change = Change(cluster=replace(one.cluster, rotation=retiring), rotations=(retiring,))
    with pytest.raises(InvariantViolated, match="no agent"):
        invariants.check(one.crowd, change)
    for _ in range(3):
        done(one)
    change = Change(cluster=replace(one.cluster, rotation=retiring), rotations=(retiring,))
    invariants.check(one.crowd, change)
    assert list(adoption.unproven(one.crowd.with_cluster(change.cluster), retiring)) == []


def test_an_emergency_hands_nothing_out_and_says_so() -> None:
    """Nobody locks or resets them; that they are restarted by hand is said."""
    one = course(rotation=an_emergency(Phase.ROLLING_OUT))
    assert one.next() == ()
    [said] = meaning.untouched(one.crowd)
    assert said.startswith("3 nodes (a@h, b@h, c@h) have no agent")
    assert list(meaning.untouched(course(names=frozenset()).crowd)) == []


def test_nothing_is_guessed_without_a_rotation() -> None:
    """What such a node uses is known by the claims of a rotation alone."""
    one = course(rotation=None)
    assert agentless.guess(one.crowd, A) == frozenset()
    assert one.next() == ()
    assert rollout.step(one.crowd, A) is Step.RESTART
    assert rollout.outlook(one.crowd).members == 3


def test_the_split_and_the_standstill_are_said_beforehand() -> None:
    """What a rotation means for nodes without agents, before one begins."""
    split, word = meaning.notes(course(rotation=None).crowd)
    assert "refuse each other" in split
    assert "3 nodes (a@h, b@h, c@h)" in word
    still, _ = meaning.notes(world(rotation=None).crowd)
    assert "down in between" in still
    many = frozenset({A, B, C, "d@h"})
    assert ", …" in list(meaning.notes(course(names=many).crowd))[1]
    assert list(meaning.notes(Course(a_cluster(), by_restart()).crowd)) == [meaning.SPLIT]
    with_agents = Course(a_cluster(members=[a_node(A)]), by_restart(expect=1))
    assert list(meaning.notes(with_agents.crowd)) == []


def test_a_claim_of_another_rotation_is_over() -> None:
    """As of every node."""
    one = course()
    [claim] = one.take()
    one.cluster = replace(one.cluster, rotation=None)
    over = settlements.of(one.crowd, claim)
    assert over is not None
    assert over[0].state is ClaimState.EXPIRED
