from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.domain import departures
from rotator.domain.cluster import ReadFrom
from rotator.domain.commands import Request
from rotator.errors import MemberIsLive, NotFound
from rotator.testing.factories import NOW, a_cluster, a_crowd, a_member, a_policy, an_attestation

ASKED = Request(by="operator", reason="because", at=NOW)
LATER = NOW + timedelta(seconds=91)


def test_a_live_member_is_excused_or_removed_by_force_alone() -> None:
    """What it uses may be retired without it."""
    crowd = a_crowd(a_cluster(members=[a_member("a")]))
    for command in (departures.excuse, departures.remove):
        with pytest.raises(MemberIsLive):
            command(crowd, "a", ASKED, force=False)
    assert departures.excuse(crowd, "a", ASKED, force=True).cluster.members["a"].is_excused
    assert departures.remove(crowd, "a", ASKED, force=True).cluster.members == {}


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
