from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from rotator.domain.actions import (
    Discard,
    Enter,
    Excuse,
    Initialise,
    Line,
    Lock,
    OpenEpoch,
    Promote,
    Retire,
    Revoke,
    RollBack,
    SettleClaims,
    Stage,
    Wait,
)
from rotator.domain.calendar import Calendar
from rotator.domain.cluster import Blocker, Cluster, Standing
from rotator.domain.resolver import Snapshot, resolve, view
from rotator.domain.rotation import Kind, Phase
from rotator.domain.schedule import Begin, Progress, Schedule, TakeUp
from rotator.domain.version import Origin
from rotator.domain.version import Stage as VersionStage
from rotator.testing.factories import (
    NAME,
    NOW,
    UID,
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
from tests.support.rollouts import SOAK, Course, node, three

MINUTE = timedelta(minutes=1)
DUE = Schedule(calendar=Calendar("* * * * *", UTC), jitter=timedelta(), spacing=timedelta())
TAKEN = Progress(rules=DUE.rules, since=NOW - MINUTE, settled_until=NOW - MINUTE)
BACK = a_rotation(Phase.ROLLING_BACK, is_rollback=True)
NOT_YET_BACK = {11: VersionStage.PREVIOUS, 12: VersionStage.CURRENT}


def _resolve(cluster, document=None, policy=None, *, epoch=True, fence=1, now=NOW):
    seen = None if document is None else view(document, cluster)
    crowd = a_crowd(cluster, policy, now=now)
    return resolve(Snapshot(crowd=crowd, document=seen, epoch_is_open=epoch, fence=fence))


def _blockers(action):
    assert isinstance(action, Wait)
    return [blocker.code for blocker in action.blockers]


def _beginning(origin=Origin.DERIVED):
    epoch = 1 if origin is Origin.DERIVED else None
    first = replace(
        a_version(1, VersionStage.PENDING, is_written=False), origin=origin, epoch=epoch
    )
    return Cluster(name=NAME, uid=UID, first_epoch=1, versions={1: first})


def test_a_beginning_opens_its_epoch_writes_and_notes() -> None:
    """I1 is followed by KI1, KI2 and I2, whatever was interrupted."""
    cluster = _beginning()
    assert _resolve(cluster, epoch=False) == OpenEpoch(epoch=1, line=Line.KI1)
    assert _resolve(cluster) == Initialise()
    assert _resolve(cluster, a_document(1)) == Enter(line=Line.I2)


def test_an_interrupted_import_waits_for_its_cookie() -> None:
    """The cookie was in the request and nowhere else."""
    assert _blockers(_resolve(_beginning(Origin.IMPORTED))) == ["import_interrupted"]
    assert _resolve(_beginning(Origin.IMPORTED), a_document(1)) == Enter(line=Line.I2)


def test_a_beginning_does_not_take_over_another_cluster() -> None:
    """A document with another uid freezes."""
    other = replace(a_document(1), cluster_uid="aa" * 16)
    assert _blockers(_resolve(_beginning(), other)) == ["foreign_document"]


def test_nothing_to_do_is_nothing() -> None:
    """Before `init`, and between rotations."""
    assert _resolve(Cluster(name=NAME)) is None
    assert _resolve(a_cluster(), a_document(11, rotation=None)) is None


FROZEN = [
    ({"is_declared": False}, a_document(11), "undeclared"),
    ({}, None, "document_missing"),
    ({}, replace(a_document(11), cluster_uid="aa" * 16), "foreign_document"),
    ({}, a_document(11, fence=2), "state_store_behind"),
    ({}, a_document(10), "edited_document"),
    ({}, a_document(11, rotation="somebody"), "foreign_writer"),
]


@pytest.mark.parametrize(("changes", "document", "code"), FROZEN)
def test_what_contradicts_freezes_by_name(changes, document, code: str) -> None:
    """Nothing is written until a person has looked."""
    action = _resolve(a_cluster(**{"last_writer": "r1"} | changes), document)
    assert _blockers(action) == [code]
    assert action.blockers[0].subject == "frozen"


def test_a_cookie_that_was_edited_is_named_by_its_version() -> None:
    """Its fingerprint is not the one on record."""
    cluster = a_cluster().with_version(a_version(11, VersionStage.CURRENT, epoch=9))
    action = _resolve(cluster, a_document(11, rotation=None))
    assert action.blockers[0].detail == "version 11 is not what was written"


#: what may be (current, previous, pending); all others of `_DOCUMENTS` freeze
_DOCUMENTS = [(11,), (11, None, 12), (12, 11), (11, 12), (12,)]
POSSIBLE = [
    (None, None, [(11,)]),
    (a_rotation(Phase.STAGED), None, [(11,), (11, None, 12)]),
    (a_rotation(Phase.INSTALLING), None, [(11, None, 12)]),
    (a_rotation(Phase.INSTALLING, abort_requested=True), None, [(11,), (11, None, 12)]),
    (a_rotation(Phase.PROMOTING), None, [(11, None, 12), (12, 11)]),
    (a_rotation(Phase.ROLLING_OUT), None, [(12, 11)]),
    (a_rotation(Phase.GRACE), None, [(12, 11)]),
    (a_rotation(Phase.RETIRING), None, [(12, 11), (12,)]),
    (BACK, NOT_YET_BACK, [(12, 11), (11, 12)]),
    (BACK, None, [(11, 12)]),
    (a_rotation(Phase.RETIRING, is_rollback=True), None, [(11, 12), (11,)]),
    (an_emergency(Phase.LOCKING), None, _DOCUMENTS),
    (an_emergency(Phase.PROMOTING), None, _DOCUMENTS),
    (an_emergency(Phase.ROLLING_OUT), None, [(12,)]),
    (an_emergency(Phase.RETIRING), None, [(12,)]),
]


@pytest.mark.parametrize("slots", _DOCUMENTS)
@pytest.mark.parametrize(("rotation", "stages", "possible"), POSSIBLE)
def test_a_document_from_another_time_freezes(rotation, stages, possible, slots) -> None:
    """A restored snapshot is our own document, and still not the one that was written last."""
    cluster = a_cluster(rotation, stages=stages, last_writer="r1")
    if rotation is None:
        cluster = cluster.with_version(a_version(12, VersionStage.RETIRED))
    document = replace(a_document(*slots), last_version=13)
    action = _resolve(cluster, document)
    is_frozen = isinstance(action, Wait) and _blockers(action) == ["reverted_document"]
    assert is_frozen == (slots not in possible)


@pytest.mark.parametrize("document", [a_document(10), a_document(11, rotation="somebody")])
def test_an_edited_document_does_not_stop_an_emergency(document) -> None:
    """KE2 writes over what it holds."""
    assert _resolve(a_cluster(an_emergency(Phase.PROMOTING)), document) == Revoke()


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (None, "document_missing"),
        (replace(a_document(11), cluster_uid="aa" * 16), "foreign_document"),
        (a_document(11, fence=2**53), "state_store_behind"),
        (a_document(11, last=2**53), "state_store_behind"),
    ],
)
def test_an_emergency_that_may_not_write_waits_by_name(document, code: str) -> None:
    """A person is told which; an old copy of the document in its place lets it go on."""
    cluster = a_cluster(an_emergency(Phase.PROMOTING))
    assert _blockers(_resolve(cluster, document)) == [code]
    assert _resolve(cluster, a_document(10, 9, last=10)) == Revoke()


ORDER = [
    (a_rotation(Phase.STAGED), None, a_document(11), Stage()),
    (a_rotation(Phase.STAGED), None, a_document(11, None, 12), Enter(line=Line.S2)),
    (a_rotation(Phase.INSTALLING), None, a_document(11, None, 12), Enter(line=Line.S3)),
    (a_rotation(Phase.PROMOTING), None, a_document(11, None, 12), Promote()),
    (a_rotation(Phase.PROMOTING), None, a_document(12, 11), Enter(line=Line.S4)),
    (a_rotation(Phase.ROLLING_OUT), None, a_document(12, 11), Enter(line=Line.S5)),
    (a_rotation(Phase.GRACE), None, a_document(12, 11), Enter(line=Line.S6)),
    (a_rotation(Phase.RETIRING), None, a_document(12, 11), Retire(line=Line.K3)),
    (a_rotation(Phase.RETIRING), None, a_document(12), Enter(line=Line.S7)),
    (BACK, NOT_YET_BACK, a_document(12, 11), RollBack()),
    (BACK, NOT_YET_BACK, a_document(11, 12), Enter(line=Line.R2)),
    (BACK, None, a_document(11, 12), Enter(line=Line.R3)),
    (replace(BACK, phase=Phase.RETIRING), None, a_document(11, 12), Retire(line=Line.KR2)),
    (replace(BACK, phase=Phase.RETIRING), None, a_document(11, last=12), Enter(line=Line.R4)),
    (an_emergency(Phase.LOCKING), None, a_document(11), Enter(line=Line.E2)),
    (an_emergency(Phase.PROMOTING), None, a_document(11), Revoke()),
    (an_emergency(Phase.PROMOTING), None, a_document(12), Enter(line=Line.E3)),
    (an_emergency(Phase.ROLLING_OUT), None, a_document(12), Enter(line=Line.E4)),
    (an_emergency(Phase.RETIRING), None, a_document(12), Enter(line=Line.E5)),
]


@pytest.mark.parametrize(("rotation", "stages", "document", "action"), ORDER)
def test_the_next_write_follows_from_the_present_state(rotation, stages, document, action) -> None:
    """The order of writes, for a cluster that expects nobody."""
    assert _resolve(a_cluster(rotation, stages=stages), document) == action


@pytest.mark.parametrize("rotation", [a_rotation(Phase.STAGED), an_emergency(Phase.PROMOTING)])
def test_an_epoch_is_opened_before_anything_is_derived_from_it(rotation) -> None:
    """KE1 comes before K1 and KE2."""
    action = _resolve(a_cluster(rotation), a_document(11), epoch=False)
    assert action == OpenEpoch(epoch=1, line=Line.KE1)


@pytest.mark.parametrize("rotation", [a_rotation(Phase.STAGED), an_emergency(Phase.PROMOTING)])
def test_a_number_that_the_document_has_used_is_not_used_again(rotation) -> None:
    """The state store was set back, and a person has to look."""
    action = _resolve(a_cluster(rotation), a_document(11, last=12))
    assert _blockers(action) == ["state_store_behind"]


@pytest.mark.parametrize("phase", [Phase.STAGED, Phase.INSTALLING])
def test_an_abort_burns_the_number_and_ends(phase: Phase) -> None:
    """Pending is discarded, or the number alone, before the end is written."""
    cluster = a_cluster(a_rotation(phase, abort_requested=True))
    assert _resolve(cluster, a_document(11, None, 12)) == Discard()
    assert _resolve(cluster, a_document(11)) == Discard()
    assert _resolve(cluster, a_document(11, last=12)) == Enter(line=Line.A2)


@pytest.mark.parametrize(
    ("rotation", "document"),
    [
        (a_rotation(Phase.STAGED, is_held=True), a_document(11)),
        (a_rotation(Phase.INSTALLING, is_held=True), a_document(11, None, 12)),
        (a_rotation(Phase.ROLLING_OUT, is_held=True), a_document(12, 11)),
        (a_rotation(Phase.GRACE, is_held=True), a_document(12, 11)),
        (a_rotation(Phase.RETIRING, is_held=True), a_document(12, 11)),
        (replace(BACK, is_held=True), a_document(11, 12)),
        (an_emergency(Phase.RETIRING, is_held=True), a_document(12)),
    ],
)
def test_a_held_rotation_passes_no_gate(rotation, document) -> None:
    """It says that an operator holds it."""
    assert _blockers(_resolve(a_cluster(rotation), document)) == ["held"]


@pytest.mark.parametrize("phase", [Phase.PROMOTING, Phase.RETIRING])
def test_a_hold_does_not_leave_the_stores_apart(phase: Phase) -> None:
    """What was written to the one is noted in the other."""
    document = a_document(12, 11) if phase is Phase.PROMOTING else a_document(12)
    action = _resolve(a_cluster(a_rotation(phase, is_held=True)), document)
    assert action == Enter(line=Line.S4 if phase is Phase.PROMOTING else Line.S7)


def test_installing_waits_for_everybody_and_then_for_one() -> None:
    """The wait ends at the timeout at the latest, and after it names no time that has passed."""
    members = [a_member("a", an_attestation()), a_member("b", an_attestation())]
    cluster, document = (
        a_cluster(a_rotation(Phase.INSTALLING), members=members),
        a_document(11, None, 12),
    )
    policy = a_policy(expect=2, node_ttl=10 * MINUTE)
    action = _resolve(cluster, document, policy)
    assert _blockers(action) == ["not_holding", "not_holding"]
    assert action.until == NOW + 2 * MINUTE
    action = _resolve(cluster, document, policy, now=NOW + 2 * MINUTE)
    assert _blockers(action) == ["no_attestation"]
    assert action.until == NOW + 10 * MINUTE
    assert _resolve(cluster, document, now=NOW + 80 * timedelta(seconds=1)).until == NOW + (
        1.5 * MINUTE
    )


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (an_attestation(None, own="f1:x"), "unknown_cookie"),
        (an_attestation(10), "retired_cookie"),
    ],
)
def test_drift_is_named_while_nothing_is_under_way_and_blocks_the_next_promotion(
    said, code: str
) -> None:
    """It is shown until it is healed, and then there is nothing to do again."""
    stages = {10: VersionStage.RETIRED, 11: VersionStage.CURRENT}
    cluster = a_cluster(members=[a_member("a", said)], stages=stages)
    assert _blockers(_resolve(cluster, a_document(11, rotation=None))) == [code]
    healed = a_cluster(members=[a_member("a", an_attestation(11))], stages=stages)
    assert _resolve(healed, a_document(11, rotation=None)) is None
    pending = {**stages, 12: VersionStage.PENDING}
    over = replace(said, holds={12: a_fingerprint(12)})
    installing = a_cluster(
        a_rotation(Phase.INSTALLING), members=[a_member("a", over)], stages=pending
    )
    assert _blockers(_resolve(installing, a_document(11, None, 12))) == [code]


def test_an_unknown_cookie_blocks_promotion_whatever_the_timeout() -> None:
    """By name, while its node is live."""
    strange = a_member("a", an_attestation(None, own="f1:x"), last_seen=NOW + 2 * MINUTE)
    cluster = a_cluster(a_rotation(Phase.INSTALLING), members=[strange])
    action = _resolve(cluster, a_document(11, None, 12), now=NOW + 2 * MINUTE)
    assert [(b.code, b.subject) for b in action.blockers] == [("unknown_cookie", "a")]


def _locked(number=1, **said):
    emergency = an_emergency(Phase.LOCKING, ends_at=NOW + MINUTE, lock_round=number)
    return a_cluster(emergency, members=[a_member("a", an_attestation(None, own="f1:x", **said))])


def test_locking_goes_round_until_it_is_clean_or_over() -> None:
    """A foreign link begins the next round; the timeout ends them all."""
    document = a_document(11)
    waiting = _resolve(_locked(), document)
    assert _blockers(waiting) == ["not_locked"]
    assert waiting.until == NOW + MINUTE
    foreign = _locked(locked_round=1, foreign_links=("x@y",))
    assert _resolve(foreign, document) == Lock()
    assert _resolve(_locked(locked_round=1), document) == Enter(line=Line.E2)
    for cluster in (_locked(), foreign):
        assert _resolve(cluster, document, now=NOW + MINUTE) == Enter(line=Line.E2)


@pytest.mark.parametrize(("number", "seconds"), [(5, 0), (6, 1), (7, 2), (15, 10), (70, 60)])
def test_rounds_that_come_to_nothing_follow_ever_more_slowly(number: int, seconds: int) -> None:
    """Where no round ends a link, agents and audit log are not kept busy; the timeout stands."""
    document, pause = a_document(11), timedelta(seconds=seconds)
    foreign = _locked(number, locked_round=number, foreign_links=("x@y",))
    last = Lock() if pause < MINUTE else Enter(line=Line.E2)
    assert _resolve(foreign, document, now=NOW + pause) == last
    if seconds:
        early = _resolve(foreign, document, now=NOW + pause - timedelta(seconds=1))
        assert _blockers(early) == ["foreign_link"]
        assert early.until == NOW + pause


def test_grace_names_the_clock_and_the_lost() -> None:
    """Its end alone is not enough while somebody could come back."""
    cluster = a_cluster(
        a_rotation(Phase.GRACE, ends_at=NOW + 5 * MINUTE),
        members=[a_member("a", an_attestation(12))],
    )
    document = a_document(12, 11)
    action = _resolve(cluster, document, now=NOW + 2 * MINUTE)
    assert _blockers(action) == ["lost_member", "grace_window"]
    assert action.until == NOW + 5 * MINUTE
    action = _resolve(cluster, document, now=NOW + 5 * MINUTE)
    assert _blockers(action) == ["lost_member"]
    assert action.until is None


@pytest.mark.parametrize(
    ("rotation", "document"),
    [(a_rotation(Phase.RETIRING), a_document(12, 11)), (BACK, a_document(11, 12))],
)
def test_a_lost_member_holds_up_retirement_of_either_version(rotation, document) -> None:
    """It could come back and still use the one that is given up."""
    cluster = a_cluster(rotation, members=[a_member("a")])
    assert _blockers(_resolve(cluster, document, now=NOW + 2 * MINUTE)) == ["lost_member"]


def test_an_emergency_does_not_wait_for_the_lost() -> None:
    """What they still use is revoked all the same."""
    cluster = a_cluster(an_emergency(Phase.RETIRING), members=[a_member("a")])
    assert _resolve(cluster, a_document(12), now=NOW + 2 * MINUTE) == Enter(line=Line.E5)


def test_a_member_lost_for_long_is_excused_if_the_policy_says_so() -> None:
    """With or without a rotation."""
    policy = a_policy(excuse_lost_after=timedelta(hours=1))
    cluster = a_cluster(members=[a_member("a")])
    document = a_document(11, rotation=None)
    assert _resolve(cluster, document, policy, now=NOW + 60 * MINUTE) == Excuse(node="a")
    assert _resolve(cluster, document, policy, now=NOW + 59 * MINUTE) is None


def _with_a_schedule(progress=TAKEN, policy=DUE, **changes):
    cluster = a_cluster(schedule=progress, last_writer="r1", **changes)
    current = replace(cluster.versions[11], created_at=NOW - timedelta(days=1))
    cluster = cluster.with_version(current)
    return _resolve(cluster, a_document(11), a_policy(schedule=policy))


def test_what_is_due_begins_when_nothing_is_under_way() -> None:
    """A schedule is taken up first; nothing due is waited for until it is."""
    assert _with_a_schedule(None) == TakeUp()
    assert _with_a_schedule() == Begin(slot=NOW)
    settled = replace(TAKEN, settled_until=NOW)
    assert _with_a_schedule(settled) == Wait(until=NOW + MINUTE)


def test_a_cluster_that_has_thawed_says_so_before_anything_begins() -> None:
    """Or the rotation would be refused for a freeze that is over."""
    standing = Standing(blocker=Blocker(code="undeclared", subject="frozen"), since=NOW)
    assert _with_a_schedule(blockers=(standing,)) == Wait()


def test_no_rotation_begins_by_the_clock_while_a_cookie_is_unknown() -> None:
    """It would only wait; the drifting node is named, and the schedule is taken up all the same."""
    unknown = an_attestation(None, own="f1:" + "9" * 32, file="f1:" + "9" * 32)
    members = [a_member("rabbit@a", unknown)]
    assert _blockers(_with_a_schedule(members=members)) == ["unknown_cookie"]
    assert _with_a_schedule(None, members=members) == TakeUp()


@pytest.mark.parametrize("phase", [Phase.INSTALLING, Phase.GRACE])
def test_outside_of_its_window_a_scheduled_rotation_passes_no_gate(phase: Phase) -> None:
    """Neither is it promoted nor is its former version retired; one by hand is."""
    policy = a_policy(
        schedule=replace(DUE, calendar=Calendar("0 3 * * *", UTC), window=MINUTE),
        install_timeout=MINUTE,
    )
    rotation = a_rotation(phase, kind=Kind.SCHEDULED)
    slots = (11, None, 12) if phase is Phase.INSTALLING else (12, 11)
    waits = _resolve(a_cluster(rotation), a_document(*slots), policy)
    assert _blockers(waits) == ["outside_window"]
    by_hand = replace(rotation, kind=Kind.MANUAL)
    assert isinstance(_resolve(a_cluster(by_hand), a_document(*slots), policy), Enter)


def test_what_has_become_of_claims_is_written_before_anything_else() -> None:
    """A claim whose time is over, or whose node is back, is settled before the next decision."""
    course = Course(three())
    document = a_document(12, 11)
    assert isinstance(_resolve(course.cluster, document, course.policy), Wait)
    course.take()
    waiting = _resolve(course.cluster, document, course.policy)
    assert {b.code for b in waiting.blockers} >= {"restarting", "awaiting_restart"}
    late = NOW + 3 * MINUTE
    assert _resolve(course.cluster, document, course.policy, now=late) == SettleClaims()


def test_the_gate_of_a_rollout_by_restarts_waits_for_every_restart() -> None:
    """Also for the last to have soaked; then it goes on as any other."""
    course = Course(three(node("a@h", 12), node("b@h", 12)))
    document = a_document(12, 11)
    [claim] = course.take()
    course.report("c@h")
    course.settle()
    waiting = _resolve(course.cluster, document, course.policy)
    assert [(b.code, b.subject) for b in waiting.blockers] == [("soaking", "c@h")]
    course.passes(SOAK)
    course.settle()
    assert _resolve(course.cluster, document, course.policy, now=course.now) == Enter(line=Line.S5)
    assert claim.node == "c@h"
