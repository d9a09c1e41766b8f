"""What the demonstration tells of a rotation."""

from __future__ import annotations

from typing import Any

from rotator.cli.demo.course import Course, links_news, pairs_at

ROTATION = {
    "started_at": "2026-01-01T00:00:00Z",
    "from_version": 2,
    "to_version": 3,
    "revokes": [1, 2],
}


def fact(kind: str, second: int = 0, **details: Any) -> dict[str, Any]:
    """A fact, as the API tells it."""
    return {"kind": kind, "at": f"2026-01-01T00:00:{second:02}Z", "details": details}


def attested(second: int = 0, **details: Any) -> dict[str, Any]:
    """A change of a member's evidence."""
    told = {"node": "n1@h", "uses": 2, "locked_round": None, "refuses": {}}
    return fact("MemberAttested", second, **(told | details))


def test_what_a_node_does_is_told_once() -> None:
    """Each lock round, the new version, each refusal; a repeated report is no news."""
    course = Course(ROTATION)
    facts = [
        fact("EmergencyStarted"),
        attested(1),
        attested(2, uses=None, locked_round=1),
        attested(3, uses=None, locked_round=1),
        attested(4, uses=3),
        attested(5, uses=3, refuses={"2": "handshake", "1": "read_back"}),
        attested(6, uses=3, refuses={"2": "handshake", "1": "read_back"}),
    ]
    assert [(line.at, line.text, line.is_phase) for line in course.lines(facts)] == [
        (0, "locking", True),
        (2, "n1 is locked, round 1", False),
        (4, "n1 uses version 3", False),
        (5, "n1 refuses version 1 (read back)", False),
        (5, "n1 refuses version 2 (handshake)", False),
    ]
    assert list(course.lines(facts[1:])) == []


def test_strangers_and_further_rounds_are_told() -> None:
    """Who found whom, and why locking goes on."""
    facts = [
        fact("ForeignLinkSeen", node="n2@h", names=["x@h"], count=1),
        fact("LockRoundStarted", round=2),
        fact("CookieMayHaveBeenRead", nodes=["n3@h"]),
        fact("ClusterThawed"),
    ]
    assert [line.text for line in Course(ROTATION).lines(facts)] == [
        "n2 finds a stranger: x@h",
        "round 2: somebody was still in",
        "a member was not locked in time: its cookie may have been read",
    ]


def test_a_pair_counts_when_both_sides_use_the_version() -> None:
    """One side alone, another version, or no pin at all is not moved."""
    members = [
        {"name": "a", "pins": {"b": 2, "c": 2}},
        {"name": "b", "pins": {"a": 2, "c": 2}},
        {"name": "c", "pins": {"a": 1}},
    ]
    assert pairs_at(members, 2) == 1
    assert pairs_at(members, 1) == 0


def test_an_intruder_who_comes_back_is_told() -> None:
    """Both what he lost and what he won; without a change there is no news."""
    before, now = frozenset({"n1@h", "n2@h"}), frozenset({"n2@h", "n3@h"})
    assert list(links_news(before, now)) == [
        "the intruder is cut off from n1",
        "the intruder is in n3",
    ]
    assert list(links_news(now, now)) == []
