from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.domain.cluster import Cluster, ReadFrom
from rotator.domain.desired import desired_state
from rotator.domain.joining import pairs_of
from rotator.domain.liveness import Liveness
from rotator.domain.policy import OnDrift
from rotator.domain.rotation import Phase, Rotation
from rotator.domain.version import Stage
from rotator.testing.factories import (
    NAME,
    NOW,
    a_cluster,
    a_crowd,
    a_fingerprint,
    a_member,
    a_policy,
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


def test_members_are_named_as_what_they_are_and_the_gone_are_absent() -> None:
    """Joining, live, unknown, lost and excused; not who left, nor the lost of an ephemeral cluster."""
    ages = {"joining": 60, "live": 60, "unknown": -60, "lost": -3600, "excused": 60, "left": 60}
    members = [
        a_member(
            name,
            an_attestation(read_from=ReadFrom.BOOT if name == "joining" else ReadFrom.VM),
            last_seen=NOW + timedelta(seconds=age),
            is_excused=name == "excused",
            has_left=name == "left",
        )
        for name, age in ages.items()
    ]
    cluster = a_cluster(members=members)

    def named(**policy: object) -> dict:
        now = NOW + timedelta(seconds=89)
        policy_ = a_policy(node_ttl=timedelta(seconds=90), **policy)
        return desired_state(a_crowd(cluster, policy_, now=now, serving_since=NOW)).members

    shown = named()
    assert shown == {n: n for n in ("joining", "live", "unknown", "excused")} | {"lost": "unknown"}
    later = a_crowd(cluster, now=NOW + timedelta(seconds=91), serving_since=NOW)
    shown = desired_state(later).members
    assert (shown["unknown"], shown["lost"], shown["live"]) == ("lost", "lost", "live")
    gone = desired_state(replace(later, policy=a_policy(ephemeral=True))).members
    assert set(gone) == {"joining", "live", "excused"}


@pytest.mark.parametrize("on_drift", OnDrift)
def test_nodes_are_told_what_to_do_about_drift(on_drift: OnDrift) -> None:
    """The policy of the cluster reaches them with desired state."""
    assert desired_state(a_crowd(a_cluster(), a_policy(on_drift=on_drift))).on_drift == on_drift


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


def test_pairs_of_a_peer_that_is_about_to_boot_come_from_its_boot_file() -> None:
    """It will come up with them; without a row, with its own cookie."""
    boots = {"read_from": ReadFrom.BOOT}
    rolling_out = a_rotation(Phase.ROLLING_OUT)
    assert _pairs(rolling_out, boot_pins={"a": a_fingerprint(11)}, **boots) == {"b": 11}
    assert _pairs(rolling_out, **boots) == {"b": 12}


def test_pairs_name_no_cookie_that_is_not_accepted() -> None:
    """A peer that is still at a revoked version is reset, so a boot does not follow it there."""
    out = an_emergency(Phase.ROLLING_OUT)
    assert _pairs(out, pins={"a": a_fingerprint(11)}) == {}
    assert _pairs(out, own="f1:throwaway") == {}
    assert _pairs(out, own=None, file=None, read_from=ReadFrom.NONE) == {}


@pytest.mark.parametrize("read_from", [ReadFrom.BOOT, ReadFrom.NONE])
def test_a_peer_that_does_not_run_uses_what_its_files_say(read_from):
    """It comes up with the pins of its boot file, and for others with its cookie file."""
    said = an_attestation(
        None, read_from=read_from, file=a_fingerprint(11), boot_pins={"a": a_fingerprint(12)}
    )
    cluster = a_cluster(a_rotation(Phase.GRACE), members=[a_member("b", said), a_member("a")])
    assert pairs_of(cluster, "a") == {"b": 12}
    assert pairs_of(cluster, "c") == {"b": 11}
