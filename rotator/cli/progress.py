"""The course of a rotation out of its facts: which phase was entered when.

Phases can be shorter than the time between two looks, so what is shown comes from the facts that
the service wrote, not from the phases that somebody happened to see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rotator.cli.durations import instant, seconds_between, spoken
from rotator.cli.tables import CLOCK, blocker, words

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from rotator.protocol import v1

_ENTERS: Final = {
    "RotationStarted": "staged",
    "VersionStaged": "installing",
    "EmergencyStarted": "locking",
    "PromotionStarted": "promoting",
    "VersionPromoted": "rolling_out",
    "VersionsRevoked": "rolling_out",
    "GraceStarted": "grace",
    "RetirementStarted": "retiring",
    "RollbackStarted": "rolling_back",
    "RotationCompleted": "completed",
    "RotationAborted": "aborted",
    "RotationRolledBack": "rolled_back",
    "RotationSuperseded": "superseded",
}
_MOMENT: Final = 1.0  #: seconds for which everybody is waited for now and then
_ALSO_SHOWN: Final = frozenset(
    {
        "LockRoundStarted",
        "CookieMayHaveBeenRead",
        "RotationHeld",
        "RotationReleased",
        "AbortRequested",
        "GraceChanged",
        "VersionRestored",
        "ClockJumped",
    }
)


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, `elapsed` seconds after the rotation began."""

    elapsed: float
    text: str
    is_phase: bool


def course(rotation: v1.Rotation) -> list[Moment]:
    """What has happened, in order; the last phase is the present one."""
    found = [
        Moment(
            seconds_between(rotation.started_at, fact.at), _said(fact, rotation), _is_phase(fact)
        )
        for fact in sorted(rotation.facts or (), key=lambda one: one.position)
        if _is_phase(fact) or fact.kind in _ALSO_SHOWN
    ]
    proven = [
        Moment(seconds_between(rotation.started_at, fact.at), said, False)
        for fact in rotation.facts or ()
        for said in _proven(fact.details.get("proof") or {})
    ]
    phases = [moment.text for moment in found if moment.is_phase]
    present = words(rotation.phase)
    # The facts may be newer than the phase: what they tell is not taken back.
    if present not in phases:
        found.append(
            Moment(seconds_between(rotation.started_at, rotation.entered_at), present, True)
        )
    return found + proven


def _proven(proof: dict[str, dict[str, str]]) -> list[str]:
    """``3 of 3 members refuse version 1 (handshake)``, a line for each version."""
    numbers = {number for refused in proof.values() for number in refused}
    said = []
    for number in sorted(numbers, key=int):
        hows = [words(refused[number]) for refused in proof.values() if number in refused]
        how = ", ".join(sorted(set(hows)))
        verb = "members refuse" if len(proof) > 1 else "member refuses"
        said.append(f"{len(hows)} of {len(proof)} {verb} version {number} ({how})")
    return said


def _is_phase(fact: v1.Fact) -> bool:
    return fact.kind in _ENTERS


def _said(fact: v1.Fact, rotation: v1.Rotation) -> str:
    if _is_phase(fact):
        return words(_ENTERS[fact.kind])
    spaced = "".join(f" {char.lower()}" if char.isupper() else char for char in fact.kind).strip()
    if fact.kind == "LockRoundStarted" and "round" in fact.details:
        found = found_by(fact.details.get("found") or {})
        return f"round {fact.details['round']}{': ' if found else ''}{found}"
    if fact.kind == "CookieMayHaveBeenRead" and rotation.may_have_been_read:
        spaced = f"{spaced}: {', '.join(rotation.may_have_been_read)}"
    return f"{spaced} by {fact.by}" if fact.kind.startswith("Rotation") else spaced


def found_by(found: dict[str, list[str]]) -> str:
    """``evil@h was found on a, b; x@h was found on c``, from the names that each node found."""
    where: dict[str, list[str]] = {}
    for node, names in found.items():
        for name in names:
            where.setdefault(name, []).append(node)
    return "; ".join(f"{name} was found on {', '.join(sorted(where[name]))}" for name in where)


def line(moment: Moment) -> str:
    """One moment as a line."""
    return f"{elapsed(moment.elapsed)}  {moment.text if moment.is_phase else f'({moment.text})'}"


def waiting(rotation: v1.Rotation, blockers: Iterable[v1.Blocker], *, now: datetime) -> list[str]:
    """What it has waited for longer than a moment, and since when, one sentence each."""
    is_grace = rotation.phase == "grace"
    return [
        _waits(rotation, one)
        for one in blockers
        if (is_grace or one.subject != CLOCK) and seconds_between(one.since, now) > _MOMENT
    ]


def _waits(rotation: v1.Rotation, one: v1.Blocker) -> str:
    said = f"waits for {blocker(one)}, since {_time(one.since)}"
    if one.subject == CLOCK and rotation.ends_at is not None:
        return f"{said} until {_time(rotation.ends_at)}"
    return said


def _time(text: str) -> str:
    return instant(text).strftime("%H:%M:%SZ")


def elapsed(seconds: float) -> str:
    """A right-aligned time."""
    return f"{spoken(seconds):>8}" if seconds >= 120 else f"{seconds:6.2f} s"  # noqa: PLR2004
