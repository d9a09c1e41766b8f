from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.domain.cluster import ReadFrom
from rotator.domain.ids import NodeName
from rotator.domain.liveness import Liveness
from rotator.domain.policy import Expectation
from rotator.testing.factories import (
    NOW,
    a_cluster,
    a_crowd,
    a_member,
    a_policy,
    an_attestation,
)

A = NodeName("rabbit@a")
TTL = timedelta(seconds=90)
SECOND = timedelta(seconds=1)


def _liveness(now=NOW, serving_since=NOW, policy=None, **member):
    crowd = a_crowd(
        a_cluster(members=[a_member(A, **member)]), policy, now=now, serving_since=serving_since
    )
    return crowd.of(A)


def test_silence_counts_from_the_last_heartbeat() -> None:
    """A member is live until node_ttl has passed, and lost from then on."""
    assert _liveness(now=NOW + TTL - SECOND) is Liveness.LIVE
    assert _liveness(now=NOW + TTL) is Liveness.LOST


def test_a_new_leader_loses_nobody_by_its_own_late_start() -> None:
    """Who was not heard since serving began is unknown, until node_ttl from then."""
    begun = NOW + 10 * TTL
    assert _liveness(now=begun, serving_since=begun) is Liveness.UNKNOWN
    assert _liveness(now=begun + TTL, serving_since=begun) is Liveness.LOST


def test_an_excused_or_left_member_is_not_called_lost() -> None:
    """What was said about a member stands, however long it is silent."""
    assert _liveness(now=NOW + TTL, is_excused=True) is Liveness.EXCUSED
    assert _liveness(now=NOW + TTL, has_left=True) is Liveness.LEFT


def test_an_ephemeral_member_leaves_by_falling_silent() -> None:
    """Where members come and go, silence is a good-bye."""
    assert _liveness(now=NOW + TTL, policy=a_policy(ephemeral=True)) is Liveness.LEFT


def test_a_node_about_to_boot_is_joining() -> None:
    """A report from `boot` says that the VM does not run yet."""
    assert _liveness(attestation=an_attestation(read_from=ReadFrom.BOOT)) is Liveness.JOINING


def test_a_stranger_has_no_liveness() -> None:
    """A name that is no member is neither live nor lost."""
    assert a_crowd(a_cluster()).of(A) is None


def test_a_joining_node_is_awaited_once_it_was_told_to_boot() -> None:
    """From the answer on it may run at any moment."""
    boot = an_attestation(read_from=ReadFrom.BOOT)
    waiting, told = a_member("b", boot), a_member("c", boot, is_admitted=True)
    crowd = a_crowd(a_cluster(members=[a_member(A), waiting, told]))
    assert [m.name for m in crowd.awaited()] == ["c", A]


def test_a_lost_member_is_excused_after_its_time_and_not_before() -> None:
    """The policy waits for as long as it says, or for an operator."""
    cluster = a_cluster(members=[a_member(A)])
    hour = timedelta(hours=1)
    policy = a_policy(excuse_lost_after=hour)
    assert a_crowd(cluster, policy, now=NOW + hour - SECOND).to_excuse() is None
    assert a_crowd(cluster, policy, now=NOW + hour).to_excuse() == cluster.members[A]
    assert a_crowd(cluster, now=NOW + hour).to_excuse() is None


def test_the_next_silence_is_when_time_alone_changes_who_is_awaited() -> None:
    """First node_ttl, then the time after which a lost member is excused, then never."""
    cluster = a_cluster(members=[a_member(A)])
    hour = timedelta(hours=1)
    policy = a_policy(excuse_lost_after=hour)
    assert a_crowd(cluster, policy).next_silence() == NOW + TTL
    assert a_crowd(cluster, policy, now=NOW + TTL).next_silence() == NOW + hour
    assert a_crowd(cluster, policy, now=NOW + hour).next_silence() is None
    assert a_crowd(cluster, now=NOW + TTL).next_silence() is None


def test_who_has_left_and_whose_vm_runs_on_is_named_while_it_is_heard() -> None:
    """Nobody waits for it, and it has the cookie: it is to be stopped."""
    members = [
        a_member("a", an_attestation(12), has_left=True),
        a_member("b", an_attestation(None, read_from=ReadFrom.NONE), has_left=True),
        a_member("c", has_left=True),
        a_member("d", an_attestation(12)),
    ]
    crowd = a_crowd(a_cluster(members=members))
    assert crowd.left_but_heard() == ("a",)
    assert replace(crowd, now=NOW + TTL).left_but_heard() == ()


@pytest.mark.parametrize(
    ("expect", "missing"),
    [
        (None, ()),
        (2, ()),
        (4, ("2 more",)),
        (frozenset({"rabbit@a"}), ()),
        (frozenset({"rabbit@left"}), ()),
        (frozenset({"rabbit@a", "rabbit@z", "rabbit@y"}), ("rabbit@y", "rabbit@z")),
    ],
)
def test_the_missing_are_named_or_counted(expect: Expectation, missing: tuple[str, ...]) -> None:
    """Who never attested is missing; a name that has left in good order is not."""
    members = [a_member(A), a_member("rabbit@b"), a_member("rabbit@left", has_left=True)]
    assert a_crowd(a_cluster(members=members), a_policy(expect=expect)).missing() == missing


def test_who_has_left_without_a_word_has_to_be_made_up_for() -> None:
    """Of ephemeral nodes silence is all that is heard."""
    members = [a_member(A), replace(a_member("b"), last_seen=NOW + TTL)]
    policy = a_policy(expect=2, ephemeral=True)
    crowd = a_crowd(a_cluster(members=members), policy, now=NOW + TTL)
    assert crowd.missing() == ("1 more",)


def test_excusing_an_expected_node_that_has_left_unblocks_a_count() -> None:
    """An excused member counts as one that nobody looks for any more."""
    members = [a_member(A), a_member("b", is_excused=True)]
    assert a_crowd(a_cluster(members=members), a_policy(expect=2)).missing() == ()


@pytest.mark.parametrize(
    ("expect", "gone"), [(frozenset({A, NodeName("rabbit@b")}), (A,)), (2, ()), (None, ())]
)
def test_who_is_expected_by_name_and_has_left_is_named(
    expect: Expectation, gone: tuple[NodeName, ...]
) -> None:
    """A node that left in good order although the configuration expects it is no secret."""
    members = [
        a_member(A, has_left=True),
        a_member("rabbit@b"),
        a_member("rabbit@c", has_left=True),
    ]
    crowd = a_crowd(a_cluster(members=members), a_policy(expect=expect))
    assert crowd.expected_but_left() == gone
