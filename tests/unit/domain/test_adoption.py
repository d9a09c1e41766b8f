from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.domain import adoption
from rotator.domain.cluster import Attestation, Proof, ReadFrom
from rotator.domain.rotation import Phase
from rotator.testing.factories import (
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

INSTALLING, ROLLING_OUT = a_rotation(Phase.INSTALLING), a_rotation(Phase.ROLLING_OUT)
RETIRING, LOCKING = a_rotation(Phase.RETIRING), an_emergency(Phase.LOCKING)
OLD, NEW = a_fingerprint(11), a_fingerprint(12)
SILENT = NOW - timedelta(hours=1)
BOOT = an_attestation(None, read_from=ReadFrom.BOOT)


def _crowd(rotation, *said, expect=None, others=()):
    members = [a_member(name, report) for name, report in zip("ab", said, strict=False)]
    cluster = a_cluster(rotation, members=[*members, *others])
    # Serving began long ago, so that a member can be lost.
    return a_crowd(cluster, a_policy(expect=expect), serving_since=SILENT)


def _codes(gate, rotation, *said, **crowd):
    return [(b.code, b.subject) for b in gate(_crowd(rotation, *said, **crowd), rotation)]


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        (None, "has not attested from its VM since this phase began"),
        (an_attestation(12, generation=41), "has not attested from its VM"),
        (an_attestation(12, read_from=ReadFrom.NONE), "has not attested from its VM"),
        (an_attestation(12, read_from=ReadFrom.BOOT), "has not attested from its VM"),
        (an_attestation(11), "uses version 11, not 12"),
        (an_attestation(None, own="f1:x"), "uses version unknown, not 12"),
        (an_attestation(12, file=OLD), "its cookie file is not at version 12"),
        (an_attestation(12, pins={"b": OLD, "x": NEW}), "its rows for b are not at version 12"),
        (an_attestation(12, boot_pins={"y": OLD, "x": "f1:x"}), "its rows for x, y are not"),
    ],
)
def test_a_laggard_is_told_what_it_lacks(said, missing: str) -> None:
    """Evidence that is old or not from a VM counts for nothing; every row counts."""
    other = a_member("b", an_attestation(12))
    crowd = _crowd(ROLLING_OUT, others=[other])
    found = adoption.lacks(crowd, a_member("a", said), 12, ROLLING_OUT)
    assert found is not None
    assert found.startswith(missing)


def test_a_row_for_a_lost_member_may_stay_behind_but_not_in_an_emergency() -> None:
    """It cannot be moved; yet with a revoked cookie in it an intruder could take that name."""
    lost = a_member("b", an_attestation(11), last_seen=SILENT)
    said = an_attestation(12, pins={"b": OLD})
    assert _codes(adoption.laggards, ROLLING_OUT, said, others=[lost]) == []
    emergency = an_emergency(Phase.ROLLING_OUT)
    assert _codes(adoption.laggards, emergency, said, others=[lost]) == [("laggard", "a")]


def test_a_row_for_an_excused_member_or_a_stranger_must_be_moved() -> None:
    """Nobody waits for them, so nothing may be left that lets them in."""
    excused = a_member("b", an_attestation(11), is_excused=True)
    for name in ("b", "x"):
        said = an_attestation(12, pins={name: OLD})
        assert _codes(adoption.laggards, ROLLING_OUT, said, others=[excused]) == [("laggard", "a")]


@pytest.mark.parametrize(
    "gate", [adoption.not_holding, adoption.nobody_holding, adoption.laggards, adoption.unproven]
)
def test_no_gate_is_met_by_nobody_where_members_are_expected(gate) -> None:
    """Neither without members nor with one that was lost before the phase began."""
    lost = a_member("a", an_attestation(12, generation=41), last_seen=SILENT)
    for others in ([], [lost]):
        codes = _codes(gate, INSTALLING, expect=frozenset({"a"}), others=others)
        assert ("no_attestation", "") in codes
    assert _codes(gate, INSTALLING) == []


def test_holding_is_the_fingerprint_of_the_pending_version() -> None:
    """Another version, or the right one in old evidence, is not held."""
    held, older = an_attestation(holds={12: NEW}), an_attestation(generation=41, holds={12: NEW})
    assert _codes(adoption.not_holding, INSTALLING, held, expect=1) == []
    assert _codes(adoption.not_holding, INSTALLING, held, older) == [("not_holding", "b")]
    other = an_attestation(holds={12: OLD})
    assert _codes(adoption.not_holding, INSTALLING, other) == [("not_holding", "a")]


def test_the_install_timeout_passes_those_who_lag_but_not_nobody() -> None:
    """One that holds is enough, an excused one too, and none is not."""
    held = an_attestation(holds={12: NEW})
    gate = adoption.nobody_holding
    assert _codes(gate, INSTALLING, held, an_attestation(), expect=2) == []
    assert _codes(gate, INSTALLING, an_attestation(), expect=1) == [("no_attestation", "")]
    excused = a_member("a", held, is_excused=True)
    assert _codes(gate, INSTALLING, expect=1, others=[excused]) == []


def test_who_is_expected_and_never_came_blocks_by_name() -> None:
    """Installing waits for it, and retirement does; a rollout does not."""
    held = an_attestation(12, holds={12: NEW})
    expect = frozenset({"a", "z"})
    missing = ("expected_member_missing", "z")
    assert _codes(adoption.not_holding, INSTALLING, held, expect=expect) == [missing]
    assert _codes(adoption.laggards, ROLLING_OUT, held, expect=expect) == []
    blockers = adoption.absent(_crowd(ROLLING_OUT, held, expect=expect))
    assert [(b.code, b.subject) for b in blockers] == [missing]


def test_a_lost_member_keeps_previous_until_it_is_excused_or_has_left() -> None:
    """It could come back and still use it."""

    def codes(**member):
        crowd = _crowd(RETIRING, others=[a_member("a", last_seen=SILENT, **member)])
        return [(b.code, b.subject) for b in adoption.absent(crowd)]

    assert codes() == [("lost_member", "a")]
    assert codes(is_excused=True) == codes(has_left=True) == []


def test_an_unknown_member_counts_as_live() -> None:
    """A new leader waits for those it has not heard yet."""
    cluster = a_cluster(ROLLING_OUT, members=[a_member("a", an_attestation(11))])
    later = NOW + timedelta(hours=1)
    crowd = a_crowd(cluster, now=later, serving_since=later)
    assert [b.subject for b in adoption.laggards(crowd, ROLLING_OUT)] == ["a"]


def test_retirement_wants_proof_of_both() -> None:
    """The old refused and the new accepted, in fresh evidence."""
    done = {"refuses": {11: Proof.HANDSHAKE}, "accepts": {12: Proof.HANDSHAKE}}
    gate = adoption.unproven
    assert _codes(gate, RETIRING, an_attestation(12, **done)) == []
    assert _codes(gate, RETIRING, an_attestation(12)) == [
        ("not_refused", "a"),
        ("not_accepted", "a"),
    ]
    assert _codes(gate, RETIRING, an_attestation(12, generation=41, **done)) == [("laggard", "a")]


def test_a_lock_round_counts_its_own_fresh_evidence() -> None:
    """A round of the emergency before has the same number, and says nothing about this one."""
    gate = adoption.unlocked
    clean = an_attestation(None, locked_round=1)
    assert _codes(gate, LOCKING, clean, expect=1) == []
    foreign = an_attestation(None, locked_round=1, foreign_links=("x@y",))
    assert _codes(gate, LOCKING, clean, foreign) == [("foreign_link", "b")]
    before = an_attestation(None, locked_round=1, generation=41)
    assert _codes(gate, LOCKING, before, None) == [("not_locked", "a"), ("not_locked", "b")]
    other = an_attestation(None, locked_round=2)
    assert _codes(gate, LOCKING, other) == [("not_locked", "a")]
    assert _codes(gate, LOCKING, expect=1) == [("no_attestation", "")]


def test_a_link_that_its_other_end_knows_nothing_of_is_a_strangers() -> None:
    """Who is linked under the name of a live member is named by the member that he is linked to."""

    def said(*peers: str) -> Attestation:
        return an_attestation(None, locked_round=1, links=dict.fromkeys(peers, False))

    gate = adoption.unlocked
    assert _codes(gate, LOCKING, said("b"), said("a")) == []
    assert _codes(gate, LOCKING, said("b", "unknown"), said("a")) == []
    assert _codes(gate, LOCKING, said("b"), said()) == [("foreign_link", "a")]
    assert adoption.found(_crowd(LOCKING, said("b"), said()), LOCKING) == {"a": ["b"]}
    not_yet = an_attestation(None)
    assert _codes(gate, LOCKING, said("b"), not_yet) == [("not_locked", "b")]


def test_users_are_found_in_every_row() -> None:
    """For itself, in the file, in either table; not in a row for a lost member."""
    lost = a_member("z", last_seen=SILENT)

    def users(said):
        crowd = _crowd(ROLLING_OUT, said, others=[lost])
        return [m.name for m in adoption.users(crowd, 11)]

    assert users(None) == []
    assert users(an_attestation(12)) == []
    assert users(an_attestation(12, pins={"z": OLD})) == []
    for said in (
        an_attestation(11, file=NEW),
        an_attestation(12, file=OLD),
        an_attestation(12, pins={"x": OLD}, boot_pins={"x": NEW}),
        an_attestation(12, pins={"x": NEW}, boot_pins={"x": OLD}),
    ):
        assert users(said) == ["a"]


@pytest.mark.parametrize(
    ("said", "is_on"),
    [
        (None, False),
        (an_attestation(12, read_from=ReadFrom.NONE), False),
        (an_attestation(12, generation=1), True),
        (an_attestation(12, file=OLD), False),
        (an_attestation(12, pins={"x": OLD}), False),
        (an_attestation(11), False),
    ],
)
def test_a_member_is_on_a_version_when_its_last_report_shows_no_other(said, is_on: bool) -> None:
    """In VM, file and every row; for this it does not matter how old the report is."""
    assert adoption.is_on(_crowd(ROLLING_OUT, said), a_member("a", said), 12) is is_on
