from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.domain import adoption, steps
from rotator.domain.actions import Line
from rotator.domain.cluster import Blocker, Proof, Standing
from rotator.domain.facts import FactKind
from rotator.domain.rotation import Phase
from rotator.domain.version import Stage
from rotator.errors import InvariantViolated
from rotator.testing.factories import (
    NOW,
    a_cluster,
    a_crowd,
    a_document,
    a_fingerprint,
    a_member,
    a_policy,
    a_rotation,
    a_version,
    an_attestation,
    an_emergency,
)

_COMMANDS = {Line.T1, Line.T2, Line.S1, Line.A1, Line.R1, Line.E1, Line.I1, Line.L1}


def _enter(cluster, line, **crowd):
    return steps.enter(a_crowd(cluster, **crowd), line)


@pytest.mark.parametrize("line", [line for line in Line if line[0] != "K"])
def test_every_line_of_the_reconciler_has_a_step(line: Line) -> None:
    """Each write to the state store that no command makes is one function, and needs a rotation."""
    if line in _COMMANDS:
        with pytest.raises(KeyError):
            _enter(a_cluster(), line)
    elif line is not Line.I2:
        with pytest.raises(InvariantViolated, match="no rotation"):
            _enter(a_cluster(), line)


def test_fingerprints_are_noted_for_what_is_on_record_and_new() -> None:
    """A version that is known has its fingerprint already, an unknown one is none of ours."""
    cluster = a_cluster(stages={11: Stage.CURRENT})
    cluster = cluster.with_version(a_version(12, Stage.PENDING, is_written=False))
    noted = steps.record_fingerprints(cluster, a_document(11, 10, 12))
    assert noted.versions[12].fingerprint == a_fingerprint(12)
    assert noted.versions.keys() == {11, 12}


def test_what_stood_in_the_way_of_version_1_is_over_with_it() -> None:
    """The answer to an import shows no blocker of before it; a thaw is left to its fact."""
    interrupted = Standing(blocker=Blocker(code="import_interrupted"), since=NOW)
    frozen = Standing(blocker=Blocker(code="foreign_document", subject="frozen"), since=NOW)
    cluster = a_cluster(stages={1: Stage.PENDING}, is_initialised=False)
    after = _enter(replace(cluster, blockers=(interrupted, frozen)), Line.I2).cluster
    assert (after.is_initialised, after.blockers) == (True, (frozen,))


def test_evidence_has_to_be_as_new_as_the_phase() -> None:
    """A phase is entered with the generation that it makes."""
    rotation = _enter(a_cluster(a_rotation(Phase.STAGED)), Line.S2).cluster.rotation
    assert (rotation.phase, rotation.entered_generation) == (Phase.INSTALLING, 43)


def test_grace_ends_when_its_window_has_passed() -> None:
    """Its end is written with its beginning, by the policy of that moment."""
    policy = a_policy(grace_window=timedelta(minutes=3))
    change = _enter(a_cluster(a_rotation(Phase.ROLLING_OUT)), Line.S5, policy=policy)
    assert change.cluster.rotation.ends_at == NOW + timedelta(minutes=3)


def test_the_end_is_written_with_its_proof() -> None:
    """Who refused which version, and how that is known; who has proven nothing shows nothing."""
    proven = a_member("a", an_attestation(12, refuses={11: Proof.READ_BACK}))
    members = [proven, a_member("b", an_attestation(12)), a_member("c")]
    change = _enter(a_cluster(a_rotation(Phase.RETIRING), members=members), Line.S7)
    assert change.cluster.rotation is None
    assert change.cluster.at(11) is Stage.RETIRED
    (fact,) = change.facts
    assert fact.details["proof"] == {"a": {"11": "read_back"}, "b": {}}


def test_an_emergency_names_whose_cookie_may_have_been_read() -> None:
    """Once each: who has not locked, or has found a foreign link."""
    foreign = an_attestation(None, locked_round=1, foreign_links=("x@y",))
    members = [a_member("a"), a_member("b", foreign)]
    change = _enter(a_cluster(an_emergency(Phase.LOCKING), members=members), Line.E2)
    assert change.cluster.rotation.may_have_been_read == ("a", "b")
    started, read = change.facts
    assert started.kind is FactKind.PROMOTION_STARTED
    assert read.details == {"nodes": ["a", "b"]}


def test_an_emergency_names_the_lost_as_well_and_does_not_wait_for_them() -> None:
    """Who is silent may run and was not locked: whoever is linked to it may read."""
    clean = a_member("a", an_attestation(None, locked_round=1))
    lost = a_member("b", an_attestation(11), last_seen=NOW - timedelta(hours=1))
    left = a_member("c", an_attestation(11), has_left=True)
    excused = a_member("d", an_attestation(11), is_excused=True)
    cluster = a_cluster(an_emergency(Phase.LOCKING), members=[clean, lost, left, excused])
    crowd = a_crowd(cluster, serving_since=NOW - timedelta(hours=1))
    assert list(adoption.unlocked(crowd, cluster.rotation)) == []
    change = steps.enter(crowd, Line.E2)
    assert change.cluster.rotation.may_have_been_read == ("b",)
    assert change.facts[-1].kind is FactKind.COOKIE_MAY_HAVE_BEEN_READ


def test_a_clean_lock_names_nobody() -> None:
    """No fact says that a cookie may have been read."""
    members = [a_member("a", an_attestation(None, locked_round=1))]
    change = _enter(a_cluster(an_emergency(Phase.LOCKING), members=members), Line.E2)
    assert change.cluster.rotation.may_have_been_read == ()
    assert [fact.kind for fact in change.facts] == [FactKind.PROMOTION_STARTED]


def test_what_was_revoked_before_stays_revoked() -> None:
    """An emergency over an emergency finds some of its versions revoked already."""
    rotation = an_emergency(Phase.PROMOTING, revokes=(10, 11))
    stages = {10: Stage.REVOKED, 11: Stage.CURRENT, 12: Stage.PENDING}
    after = _enter(a_cluster(rotation, stages=stages), Line.E3).cluster
    assert {number: after.at(number) for number in (10, 11, 12)} == {
        10: Stage.REVOKED,
        11: Stage.REVOKED,
        12: Stage.CURRENT,
    }


def test_the_next_round_keeps_the_deadline_and_wants_new_evidence() -> None:
    """Rounds do not make the lock last longer."""
    ends_at = NOW + timedelta(seconds=30)
    cluster = a_cluster(an_emergency(Phase.LOCKING, ends_at=ends_at))
    rotation = steps.lock_again(a_crowd(cluster)).cluster.rotation
    assert (rotation.lock_round, rotation.ends_at, rotation.entered_generation) == (2, ends_at, 43)


def test_the_next_round_names_whom_the_members_found_in_this_one() -> None:
    """The fact says who was found on which node; what was found before this round is not told."""

    def found(**said):
        members = [
            a_member(name, an_attestation(None, **{"locked_round": 1} | more))
            for name, more in said.items()
        ]
        cluster = a_cluster(an_emergency(Phase.LOCKING), members=[*members, a_member("z")])
        (fact,) = steps.lock_again(a_crowd(cluster)).facts
        assert fact.details["round"] == 2
        return fact.details["found"]

    evil = {"foreign_links": ("x@y", "evil@h")}
    assert found(a=evil, b={}, c=evil) == {"a": ["evil@h", "x@y"], "c": ["evil@h", "x@y"]}
    assert found(a=evil | {"locked_round": None}, b=evil | {"generation": 41}) == {}
    many = {"foreign_links": tuple(f"n{n:02}" for n in range(15))}
    bounded = found(a=many, b=many, c=many)
    assert {node: len(names) for node, names in bounded.items()} == {"a": 15, "b": 5}


def test_a_member_that_was_lost_for_long_is_excused() -> None:
    """The service says that it did it, and why."""
    change = steps.excuse_lost(a_crowd(a_cluster(members=[a_member("a")])), "a")
    assert change.cluster.members["a"].is_excused
    assert change.cluster.generation == 43
    assert (change.facts[0].by, change.facts[0].details) == ("rotator", {"node": "a"})


@pytest.mark.parametrize(
    ("rotation", "window"),
    [
        (a_rotation(Phase.INSTALLING), None),
        (a_rotation(Phase.GRACE, ends_at=NOW), timedelta(minutes=15)),
        (an_emergency(Phase.LOCKING, ends_at=NOW), timedelta(seconds=30)),
    ],
)
def test_a_jump_of_the_clock_starts_the_running_window_anew(rotation, window) -> None:
    """It counts in full from the new time, and the generation stays."""
    later = NOW + timedelta(hours=1)
    crowd = a_crowd(a_cluster(rotation), now=later)
    change = steps.restart_window(crowd, jump=timedelta(hours=1))
    moved = change.cluster.rotation
    assert moved.entered_at == later
    assert moved.ends_at == (None if window is None else later + window)
    assert change.cluster.generation == 42
    assert change.facts[0].details == {"jump_seconds": 3600}


@pytest.mark.parametrize("rotation", [None, a_rotation(Phase.ROLLING_OUT)])
def test_without_a_window_a_jump_changes_nothing(rotation) -> None:
    """There is no time to give back."""
    assert steps.restart_window(a_crowd(a_cluster(rotation)), jump=timedelta(hours=1)) is None
