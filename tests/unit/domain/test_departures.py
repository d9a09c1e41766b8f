from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.domain import departures, membership
from rotator.domain.cluster import ReadFrom
from rotator.domain.commands import Request
from rotator.domain.facts import FactKind
from rotator.errors import MemberIsLive, NodeShutOut, NotFound
from rotator.testing.factories import (
    NOW,
    a_cluster,
    a_crowd,
    a_member,
    a_policy,
    an_attestation,
)

ASKED = Request(by="operator", reason="because", at=NOW)
LATER = NOW + timedelta(seconds=91)


def test_a_live_member_is_excused_or_removed_by_force_alone() -> None:
    """What it uses may be retired without it."""
    crowd = a_crowd(a_cluster(members=[a_member("a")]))
    for command in (departures.excuse, departures.remove):
        with pytest.raises(MemberIsLive):
            command(crowd, "a", ASKED, force=False)
    assert departures.excuse(crowd, "a", ASKED, force=True).cluster.members["a"].is_excused
    assert departures.remove(crowd, "a", ASKED, force=True).cluster.members["a"].has_left


def test_a_lost_member_is_excused_once_without_force() -> None:
    """It grows the generation the first time, and changes nothing the second."""
    crowd = a_crowd(a_cluster(members=[a_member("a")]), now=LATER)
    change = departures.excuse(crowd, "a", ASKED, force=False)
    assert change.cluster.generation == 43
    again = departures.excuse(crowd.with_cluster(change.cluster), "a", ASKED, force=False)
    assert again.facts == ()


def test_a_node_that_is_about_to_boot_needs_no_force() -> None:
    """It does not run yet, so it uses nothing."""
    boot = an_attestation(read_from=ReadFrom.BOOT)
    crowd = a_crowd(a_cluster(members=[a_member("a", boot)]))
    assert departures.remove(crowd, "a", ASKED, force=False).facts


def test_an_expected_node_that_never_came_can_be_excused() -> None:
    """It becomes an excused member; a name that nobody expects is not found."""
    crowd = a_crowd(a_cluster(), a_policy(expect=frozenset({"a"})))
    excused = departures.excuse(crowd, "a", ASKED, force=False).cluster
    assert crowd.missing() == ("a",)
    assert crowd.with_cluster(excused).missing() == ()
    for crowd_ in (crowd, a_crowd(a_cluster(), a_policy(expect=3))):
        with pytest.raises(NotFound):
            departures.excuse(crowd_, "x", ASKED, force=False)


def test_leaving_is_repeatable_and_wants_a_member() -> None:
    """The second time changes nothing; a stranger is not found."""
    gone = departures.leave(a_cluster(members=[a_member("a")]), "a", ASKED).cluster
    assert gone.members["a"].has_left
    assert gone.generation == 43
    assert departures.leave(gone, "a", ASKED).facts == ()
    with pytest.raises(NotFound):
        departures.leave(gone, "b", ASKED)
    with pytest.raises(NotFound):
        departures.remove(a_crowd(gone), "b", ASKED, force=True)


def test_a_node_that_was_removed_is_refused_and_not_awaited() -> None:
    """Its name is kept, without what it said; to remove it again, and to leave, change nothing."""
    policy = a_policy(expect=frozenset({"a", "b"}))
    crowd = a_crowd(a_cluster(members=[a_member("a", an_attestation())]), policy)
    crowd = crowd.with_cluster(departures.remove(crowd, "a", ASKED, force=True).cluster)
    assert crowd.cluster.members["a"].attestation is None
    assert (crowd.awaited(), crowd.lost(), crowd.missing()) == ((), (), ("b",))
    assert departures.remove(crowd, "a", ASKED, force=False).facts == ()
    with pytest.raises(NodeShutOut):
        membership.attest(crowd, "a", an_attestation())
    with pytest.raises(NodeShutOut):
        departures.leave(crowd.cluster, "a", ASKED)


@pytest.mark.parametrize("read_from", list(ReadFrom))
def test_no_report_brings_back_whom_an_emergency_has_shut_out(read_from: ReadFrom) -> None:
    """Neither being on current, nor a boot: only an operator does."""
    out = a_member("a", an_attestation(12), is_excused=True, is_shut_out=True)
    crowd = a_crowd(a_cluster(members=[out]))
    with pytest.raises(NodeShutOut):
        membership.attest(crowd, "a", an_attestation(12, read_from=read_from))
    departures.require_let_in(crowd.cluster, "b")


def test_who_is_readmitted_joins_as_any_that_is_new() -> None:
    """It is forgotten once; who is not shut out is left as it is, and a stranger is not found."""
    out = a_member("a", an_attestation(12), is_excused=True, is_shut_out=True)
    change = departures.readmit(a_cluster(members=[out, a_member("b")]), "a", ASKED)
    assert set(change.cluster.members) == {"b"}
    assert change.cluster.generation == 43
    assert [fact.kind for fact in change.facts] == [FactKind.MEMBER_READMITTED]
    taken = membership.attest(a_crowd(change.cluster), "a", an_attestation())
    assert taken.change.facts[0].kind is FactKind.MEMBER_JOINED
    assert departures.readmit(change.cluster, "b", ASKED).facts == ()
    with pytest.raises(NotFound):
        departures.readmit(change.cluster, "a", ASKED)


def test_names_that_were_removed_make_room_for_others() -> None:
    """Whoever may attest for a pattern has taken every name there may be; one is removed."""
    full = a_cluster(members=[a_member(f"n{n}") for n in range(membership.MAX_MEMBERS)])
    removed = departures.remove(a_crowd(full), "n1", ASKED, force=True).cluster
    assert membership.attest(a_crowd(removed), "new", an_attestation()).change is not None
