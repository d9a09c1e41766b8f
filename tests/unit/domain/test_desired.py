from __future__ import annotations

import pytest

from rotator.domain.cluster import Cluster, ReadFrom
from rotator.domain.desired import desired_state, pairs_of
from rotator.domain.liveness import Liveness
from rotator.domain.rotation import Phase, Rotation
from rotator.domain.version import Stage
from rotator.testing.factories import (
    NAME,
    a_cluster,
    a_crowd,
    a_fingerprint,
    a_member,
    a_rotation,
    an_attestation,
    an_emergency,
)

STAGED, INSTALLING, PROMOTING = Phase.STAGED, Phase.INSTALLING, Phase.PROMOTING
ROLLING_OUT, GRACE, RETIRING = Phase.ROLLING_OUT, Phase.GRACE, Phase.RETIRING
BACK = {"is_rollback": True}

#: phase, adopt, current, previous, pending, refuse, lock round, join: the table of api.md
TABLE = [
    (None, 11, 11, None, None, (), None, True),
    (a_rotation(STAGED), 11, 11, None, None, (), None, True),
    (a_rotation(INSTALLING), 11, 11, None, 12, (), None, True),
    (a_rotation(INSTALLING, abort_requested=True), 11, 11, None, None, (), None, True),
    (a_rotation(PROMOTING), 11, 11, None, 12, (), None, False),
    (a_rotation(ROLLING_OUT), 12, 12, 11, None, (), None, False),
    (a_rotation(GRACE), 12, 12, 11, None, (), None, True),
    (a_rotation(Phase.ROLLING_BACK, **BACK), 11, 11, 12, None, (), None, False),
    (a_rotation(RETIRING), 12, 12, None, None, (11,), None, True),
    (a_rotation(RETIRING, **BACK), 11, 11, None, None, (12,), None, True),
    (an_emergency(Phase.LOCKING), None, 11, None, None, (), 1, False),
    (an_emergency(PROMOTING), None, 11, None, None, (), 1, False),
    (an_emergency(ROLLING_OUT), 12, 12, None, None, (11,), None, False),
    (an_emergency(RETIRING), 12, 12, None, None, (11,), None, True),
]


@pytest.mark.parametrize("row", TABLE)
def test_desired_state_is_the_table(row: tuple) -> None:
    """Each phase gives nodes exactly what the contract says, while a node lags behind."""
    rotation, adopt, current, previous, pending, refuse, lock_round, join = row
    cluster = a_cluster(rotation, members=[a_member("a", an_attestation(generation=0))])
    desired = desired_state(a_crowd(cluster))
    assert desired.phase == (rotation.phase if rotation else None)
    assert desired.generation == 42
    assert (desired.adopt, desired.current) == (adopt, current)
    assert (desired.previous, desired.pending) == (previous, pending)
    assert desired.refuse == refuse
    assert desired.lock_round == lock_round
    assert desired.join is join


def test_an_emergency_keeps_serving_previous_until_its_write() -> None:
    """In locking, previous stays as it was before."""
    stages = {10: Stage.PREVIOUS, 11: Stage.CURRENT, 12: Stage.PENDING}
    desired = desired_state(a_crowd(a_cluster(an_emergency(Phase.LOCKING), stages=stages)))
    assert desired.previous == 10


def test_an_uninitialised_cluster_gives_nothing() -> None:
    """Generation 0, and everything null."""
    desired = desired_state(a_crowd(Cluster(name=NAME)))
    assert desired.generation == 0
    assert desired.join is False
    assert {desired.adopt, desired.current, desired.previous, desired.pending} == {None}
    assert desired.phase is None
    assert desired.lock_round is None


def test_a_member_that_has_left_is_not_shown() -> None:
    """Nodes pin members, not those that are gone."""
    members = [a_member("a"), a_member("b", has_left=True), a_member("c", is_excused=True)]
    shown = desired_state(a_crowd(a_cluster(members=members))).members
    assert shown == {"a": Liveness.LIVE, "c": Liveness.EXCUSED}


def _pairs(rotation: Rotation | None, **peer: object) -> dict:
    member = a_member("b", an_attestation(12, **peer))
    members = [a_member("a", an_attestation()), member, a_member("c")]
    gone = a_member("d", an_attestation(12), has_left=True)
    return pairs_of(a_cluster(rotation, members=[*members, gone]), "a")


def test_pairs_are_what_each_peer_last_attested_for_the_node() -> None:
    """The peer's row for it, or else the peer's own cookie; nothing of those that have left."""
    rolling_out = a_rotation(Phase.ROLLING_OUT)
    assert _pairs(rolling_out, pins={"a": a_fingerprint(11)}) == {"b": 11}
    assert _pairs(rolling_out) == {"b": 12}


def test_pairs_name_no_cookie_that_is_not_accepted() -> None:
    """A peer that is still at a revoked version is reset, so a boot does not follow it there."""
    out = an_emergency(Phase.ROLLING_OUT)
    assert _pairs(out, pins={"a": a_fingerprint(11)}) == {}
    assert _pairs(out, own="f1:throwaway") == {}
    assert _pairs(out, own=None, read_from=ReadFrom.NONE) == {}
