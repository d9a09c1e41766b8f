"""Evidence holds fingerprints of what was read, and claims no more than was seen."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, replace

import pytest

from rotator.agent.decide import Boot, Memory, Seen
from rotator.agent.evidence import Found, Proofs, heartbeat, is_proving, locked_in, report
from rotator.domain.ids import VersionNumber
from tests.support.agents import ALIEN, NEW, OLD, ROUND, THROWN, TOOL, B, C, orders, settled
from tests.support.canary import find

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LOCKED = Memory(lock=ROUND, throwaway=THROWN, former=(OLD,))
RETIRING = orders(phase="retiring", accepted=frozenset({NEW}), refuse={VersionNumber(1): OLD})


def test_a_report_holds_fingerprints_of_everything_and_no_cookie() -> None:
    """Own cookie, files, rows and versions are shown as the service computes them, in no other way."""
    made = orders(lock=ROUND)
    seen = settled(THROWN, pins={B: OLD, TOOL: ALIEN}, boot=Boot(own=NEW, pins={B: OLD}), file=NEW)
    found = Found(
        proofs=Proofs(refuses={VersionNumber(1): "handshake"}), foreign=(TOOL,), preflight=("odd",)
    )
    told = report(made, seen, LOCKED, found, now=NOW)
    assert told.own == made.fingerprint(THROWN)
    assert told.file == made.fingerprint(NEW)
    assert told.pins == {B: made.fingerprint(OLD), TOOL: made.fingerprint(ALIEN)}
    assert told.boot_pins == {B: made.fingerprint(OLD)}
    assert told.holds == {"1": made.fingerprint(OLD), "2": made.fingerprint(NEW)}
    assert (told.uses, told.locked_round, told.refuses) == (None, None, {"1": "handshake"})
    cookies = {repr(n): c.reveal().encode() for n, c in enumerate((OLD, NEW, ALIEN, THROWN))}
    assert find(cookies, {"report": json.dumps(asdict(told)).encode()}) == []


def test_a_report_is_bounded() -> None:
    """Ten thousand strangers do not make a report that the service would refuse."""
    strangers = tuple(f"t{n}@h" for n in range(10_000))
    found = Found(foreign=strangers, preflight=strangers)  # type: ignore[arg-type]
    told = report(orders(), settled(), Memory(), found, now=NOW)
    assert (len(told.foreign_links), len(told.preflight)) == (200, 200)


def test_a_node_that_is_down_claims_nothing_of_its_vm() -> None:
    """Without a VM there is neither an own cookie nor a row nor a version in use."""
    told = report(orders(), Seen(own=None, file=NEW), Memory(), Found(read_from="none"), now=NOW)
    assert (told.own, told.uses, told.pins, told.links, told.read_from) == (
        None,
        None,
        {},
        {},
        "none",
    )


def test_locked_is_a_node_that_holds_the_throwaway_everywhere() -> None:
    """Own cookie, cookie file, every row and every boot pin, in the very round that is asked for."""
    assert locked_in(ROUND, settled(THROWN), LOCKED) == 1
    wrong = [
        settled(THROWN, own=OLD),
        settled(THROWN, own=None),
        settled(THROWN, file=OLD),
        settled(THROWN, file=None),
        settled(THROWN, pins={B: THROWN, TOOL: OLD}),
        settled(THROWN, boot=Boot(pins={B: OLD})),
    ]
    assert [locked_in(ROUND, seen, LOCKED) for seen in wrong] == [None] * len(wrong)
    other = [None, replace(ROUND, number=2), replace(ROUND, emergency="e2")]
    assert [locked_in(lock, settled(THROWN), LOCKED) for lock in other] == [None] * 3
    assert locked_in(ROUND, settled(THROWN), Memory()) is None
    assert locked_in(ROUND, settled(OLD), replace(LOCKED, throwaway=None)) is None


def test_nothing_is_proven_while_something_of_the_old_is_left() -> None:
    """A handshake shows a refusal only when no row, file or boot pin would let it in."""
    assert is_proving(RETIRING, settled())
    left = [
        settled(own=OLD),
        settled(own=None),
        settled(file=OLD),
        settled(pins={B: NEW, C: OLD}),
        settled(pins={B: NEW, TOOL: OLD}),
        settled(boot=Boot(pins={B: OLD})),
    ]
    assert not any(is_proving(RETIRING, seen) for seen in left)
    assert not is_proving(orders(), settled())


@pytest.mark.parametrize(("refused", "counts"), [(OLD, True), (None, False)])
def test_rows_of_a_lost_member_stand_in_the_way_of_an_emergency_only(
    refused: object, counts: bool
) -> None:
    """Otherwise such a pair cannot move, and the service waits for the member itself."""
    made = replace(RETIRING, members={B: "lost", C: "live"}, refuse={VersionNumber(1): refused})  # type: ignore[dict-item]
    assert is_proving(made, settled(pins={B: OLD, C: NEW})) is counts


def test_before_init_the_agent_only_says_that_it_is_here() -> None:
    """There is no key to compute a fingerprint with, so none is sent."""
    told = heartbeat(read_from="vm", now=NOW, generation=0)
    assert (told.generation, told.read_from, told.own, told.holds) == (0, "vm", None, {})
