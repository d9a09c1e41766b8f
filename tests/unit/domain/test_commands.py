from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.domain import commands
from rotator.domain.cluster import Blocker, Cluster, Standing
from rotator.domain.commands import Request, Start
from rotator.domain.document import MAX_NUMBER
from rotator.domain.facts import FactKind
from rotator.domain.rotation import Kind, Phase, Rotation
from rotator.domain.version import Origin, Stage
from rotator.errors import (
    AlreadyInitialised,
    ClusterFrozen,
    CoolingDown,
    NotInitialised,
    RotationUnderway,
    TooManyRotations,
)
from rotator.testing.factories import (
    NAME,
    NOW,
    UID,
    a_cluster,
    a_crowd,
    a_member,
    a_policy,
    a_rotation,
    an_emergency,
)

ASKED = Request(by="operator", reason="because", at=NOW)


def _start(cluster, kind=Kind.MANUAL, policy=None, *, now=NOW, last_used=0, **wanted):
    crowd = a_crowd(cluster, policy, now=now)
    begin = Start(id="r2", kind=kind, epoch=2, **wanted)
    return commands.start(crowd, ASKED, begin, last_used=last_used)


def _emergency(cluster, **wanted):
    return _start(cluster, Kind.EMERGENCY, **wanted)


@pytest.mark.parametrize(("origin", "epoch"), [(Origin.DERIVED, 1), (Origin.IMPORTED, None)])
def test_a_beginning_gives_uid_epoch_and_version_1(origin: Origin, epoch: int | None) -> None:
    """An imported version comes from no epoch, but the fingerprint key needs one all the same."""
    crowd = a_crowd(Cluster(name=NAME))
    change = commands.initialise(crowd, ASKED, uid=UID, epoch=1, origin=origin)
    (first,) = change.cluster.versions.values()
    assert (first.number, first.stage, first.epoch) == (1, Stage.PENDING, epoch)
    assert (change.cluster.uid, change.cluster.first_epoch) == (UID, 1)
    assert not change.cluster.is_initialised
    assert change.cluster.generation == 0


def test_a_cluster_begins_once() -> None:
    """A second `init` is refused, and so is one that is not declared."""
    with pytest.raises(AlreadyInitialised):
        commands.initialise(a_crowd(a_cluster()), ASKED, uid=UID, epoch=1, origin=Origin.DERIVED)
    crowd = a_crowd(Cluster(name=NAME, is_declared=False))
    with pytest.raises(ClusterFrozen, match="not in the configuration"):
        commands.initialise(crowd, ASKED, uid=UID, epoch=1, origin=Origin.DERIVED)


def test_a_manual_rotation_takes_the_next_number_and_grows_no_generation() -> None:
    """S1 burns a number and changes nothing for nodes."""
    change = _start(a_cluster(stages={10: Stage.RETIRED, 11: Stage.CURRENT, 12: Stage.DISCARDED}))
    rotation = change.cluster.rotation
    assert (rotation.from_version, rotation.to_version) == (11, 13)
    assert rotation.phase is Phase.STAGED
    assert change.cluster.generation == 42
    assert change.cluster.recent_starts == (NOW,)


def test_the_next_number_is_above_what_the_document_has_used() -> None:
    """A state store that was restored from a copy does not give a number out again."""
    assert _start(a_cluster(), last_used=20).cluster.rotation.to_version == 21


def test_an_emergency_begins_even_where_the_document_leaves_no_number() -> None:
    """Whoever raises `last_version` to the limit cannot have it refused; it waits by name later."""
    assert _emergency(a_cluster(), last_used=MAX_NUMBER - 1).cluster.rotation.to_version == 2**53
    assert _emergency(a_cluster(), last_used=MAX_NUMBER).cluster.rotation.to_version == 12


def test_an_emergency_revokes_all_that_was_readable_and_supersedes() -> None:
    """The unfinished rotation ends, its pending version is revoked at once."""
    change = _emergency(a_cluster(a_rotation(Phase.INSTALLING)))
    rotation = change.cluster.rotation
    assert rotation.phase is Phase.LOCKING
    assert rotation.lock_round == 1
    assert rotation.revokes == (11, 12)
    assert rotation.supersedes == "r1"
    assert rotation.ends_at == NOW + timedelta(seconds=30)
    assert change.cluster.at(12) is Stage.REVOKED
    assert change.cluster.generation == rotation.entered_generation == 43
    assert [row.phase for row in change.rotations] == [Phase.SUPERSEDED, Phase.LOCKING]
    assert change.cluster.last_emergency_at == NOW
    assert change.cluster.recent_starts == ()


def test_what_nodes_refuse_is_not_accepted_again_in_an_emergency() -> None:
    """A version that was being retired is revoked at once, and not served as previous."""
    change = _emergency(a_cluster(a_rotation(Phase.RETIRING)))
    assert change.cluster.at(11) is Stage.REVOKED
    assert change.cluster.rotation.revokes == (11, 12)
    assert change.cluster.accepted() == {12}


def test_previous_stays_readable_in_an_emergency_that_ends_a_grace_window() -> None:
    """What was served before is served until the one write."""
    change = _emergency(a_cluster(a_rotation(Phase.GRACE)))
    assert change.cluster.at(11) is Stage.PREVIOUS


def test_an_emergency_over_an_emergency_revokes_what_that_one_would_have() -> None:
    """Nothing that the first one was to revoke is forgotten."""
    cluster = a_cluster(an_emergency(Phase.LOCKING, revokes=(9, 11)))
    assert _emergency(cluster, force=True).cluster.rotation.revokes == (9, 11, 12)


def test_excluded_members_are_not_awaited_any_more() -> None:
    """Their tokens are gone, so that they cannot attest, and their links are to be cut."""
    members = [a_member("a"), a_member("b"), a_member("c", is_excused=True)]
    change = _emergency(a_cluster(members=members), excludes=("a", "c", "x"))
    assert [m.name for m in a_crowd(change.cluster).awaited()] == ["b"]
    assert [f.kind for f in change.facts] == [
        FactKind.MEMBER_EXCUSED,
        FactKind.MEMBER_EXCUSED,
        FactKind.EMERGENCY_STARTED,
    ]
    assert [change.cluster.members[name].is_shut_out for name in "abc"] == [True, False, True]
    again = _emergency(change.cluster, excludes=("a",), force=True)
    assert FactKind.MEMBER_EXCUSED not in {fact.kind for fact in again.facts}


def test_nothing_rotates_before_init() -> None:
    """Neither uninitialised, nor without a current version."""
    with pytest.raises(NotInitialised):
        _start(Cluster(name=NAME))
    with pytest.raises(NotInitialised):
        _start(a_cluster(stages={}))


@pytest.mark.parametrize("kind", Kind)
def test_an_undeclared_cluster_is_frozen(kind: Kind) -> None:
    """What is not in the configuration does not rotate, not even in an emergency."""
    with pytest.raises(ClusterFrozen, match="not in the configuration"):
        _start(a_cluster(is_declared=False), kind)


@pytest.mark.parametrize("kind", Kind)
def test_a_cluster_whose_state_was_lost_says_so_and_not_that_it_has_no_cookie(kind: Kind) -> None:
    """It is frozen by name, for an emergency too: there is no version here to go over."""
    lost = Blocker(code="state_store_lost", subject="frozen", detail="run rotator recover")
    waits = Blocker(code="store_busy", subject="secrets manager")
    standing = tuple(Standing(blocker=one, since=NOW) for one in (waits, lost))
    cluster = Cluster(name=NAME, blockers=standing)
    with pytest.raises(ClusterFrozen, match="rotator recover"):
        commands.why_not_start(a_crowd(cluster), kind, force=True)


def test_a_frozen_cluster_takes_an_emergency_and_nothing_else() -> None:
    """The reason is repeated to the operator."""
    frozen = Blocker(code="edited_document", subject="frozen", detail="version 11 is not it")
    cluster = a_cluster(blockers=(Standing(blocker=frozen, since=NOW),))
    with pytest.raises(ClusterFrozen, match="version 11 is not it"):
        _start(cluster)
    assert _emergency(cluster).cluster.rotation


def test_one_rotation_at_a_time() -> None:
    """The refusal names the one under way."""
    with pytest.raises(RotationUnderway, match="r1"):
        _start(a_cluster(a_rotation(Phase.GRACE)))


def test_the_cap_counts_the_last_hour() -> None:
    """At the cap a rotation is refused, an hour later it is not, and an emergency never."""
    cluster = a_cluster(recent_starts=(NOW,))
    policy = a_policy(max_rotations_per_hour=1)
    with pytest.raises(TooManyRotations, match="the cap is 1"):
        _start(cluster, policy=policy)
    later = NOW + timedelta(hours=1)
    change = commands.start(
        a_crowd(cluster, policy, now=later),
        Request(by="x", reason="", at=later),
        Start(id="r2", kind=Kind.SCHEDULED, epoch=1),
    )
    assert change.cluster.recent_starts == (later,)
    assert _start(cluster, Kind.EMERGENCY, policy).cluster.rotation


def test_a_second_emergency_waits_for_the_cool_down_or_takes_force() -> None:
    """Within the cool-down it is refused, unless it is forced."""
    cluster = a_cluster(last_emergency_at=NOW)
    with pytest.raises(CoolingDown):
        _emergency(cluster)
    assert _emergency(cluster, force=True).cluster.rotation
    assert _emergency(cluster, now=NOW + timedelta(minutes=10)).cluster.rotation


@pytest.mark.parametrize(
    ("rotation", "ends"),
    [
        (a_rotation(Phase.STAGED), "wait for it, or end it with `abort`"),
        (a_rotation(Phase.INSTALLING), "wait for it, or end it with `abort`"),
        (a_rotation(Phase.INSTALLING, abort_requested=True), "wait for it"),
        (a_rotation(Phase.PROMOTING), "wait for it"),
        (a_rotation(Phase.ROLLING_OUT), "wait for it, or end it with `rollback`"),
        (a_rotation(Phase.GRACE), "wait for it, or end it with `end-grace` or `rollback`"),
        (a_rotation(Phase.RETIRING), "wait for it"),
        (an_emergency(Phase.ROLLING_OUT), "wait for it"),
    ],
)
def test_a_rotation_that_is_refused_says_what_would_end_the_other_one(
    rotation: Rotation, ends: str
) -> None:
    """Nothing is advised that is refused in this phase."""
    with pytest.raises(RotationUnderway) as refused:
        commands.why_not_start(a_crowd(a_cluster(rotation)), Kind.MANUAL, force=False)
    assert str(refused.value) == f"rotation r1 is under way; {ends}"
