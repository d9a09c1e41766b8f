"""A rotation as it is told: phases and what each node did, out of the service's facts. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

GRACE: Final = "grace"
#: The fact that each phase begins with; short phases are seen by it alone.
_PHASES: Final = {
    "RotationStarted": "staged",
    "EmergencyStarted": "locking",
    "VersionStaged": "installing",
    "PromotionStarted": "promoting",
    "VersionPromoted": "rolling out",
    "VersionsRevoked": "rolling out: nothing but the new version is left",
    "GraceStarted": GRACE,
    "RetirementStarted": "retiring",
    "RotationCompleted": "completed",
}


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """Something that happened, `at` seconds after the rotation began."""

    at: float
    text: str = field(compare=False)
    is_phase: bool = field(default=False, compare=False)


class Course:
    """Makes lines of facts, each piece of news once."""

    def __init__(self, rotation: Mapping[str, Any]) -> None:
        self._began = datetime.fromisoformat(rotation["started_at"])
        self._to = rotation["to_version"]
        self._over = {str(number) for number in (rotation["from_version"], *rotation["revokes"])}
        self._told: set[object] = set()

    def elapsed(self, at: datetime) -> float:
        """Seconds since it began."""
        return max(0.0, (at - self._began).total_seconds())

    def lines(self, facts: Iterable[Mapping[str, Any]]) -> Iterator[Line]:
        """What is new in *facts*, which are given in their order."""
        for fact in facts:
            at = self.elapsed(datetime.fromisoformat(fact["at"]))
            is_phase = fact["kind"] in _PHASES
            for text in self._texts(fact):
                if is_phase or text not in self._told:
                    self._told.add(text)
                    yield Line(at, text, is_phase)

    def _texts(self, fact: Mapping[str, Any]) -> Iterator[str]:
        kind, details = fact["kind"], fact["details"]
        if kind in _PHASES:
            yield _PHASES[kind]
        elif kind == "MemberAttested":
            yield from self._attested(details)
        elif kind == "ForeignLinkSeen":
            yield f"{short(details['node'])} finds a stranger: {', '.join(details['names'][:3])}"
        elif kind == "LockRoundStarted":
            yield f"round {details.get('round', '?')}: somebody was still in"
        elif kind == "CookieMayHaveBeenRead":
            yield "a member was not locked in time: its cookie may have been read"

    def _attested(self, details: Mapping[str, Any]) -> Iterator[str]:
        name = short(details["node"])
        if details["locked_round"] is not None:
            yield f"{name} is locked, round {details['locked_round']}"
        if details["uses"] == self._to:
            yield f"{name} uses version {self._to}"
        for number in sorted(self._over & details["refuses"].keys(), key=int):
            how = details["refuses"][number].replace("_", " ")
            yield f"{name} refuses version {number} ({how})"


def pairs_at(members: Iterable[Mapping[str, Any]], version: int) -> int:
    """How many pairs of members use *version* for each other, from both sides."""
    pins = {member["name"]: member["pins"] for member in members}
    return sum(
        pins[one].get(other) == version == pins[other].get(one)
        for one in pins
        for other in pins
        if one < other
    )


def links_news(before: frozenset[str], now: frozenset[str]) -> Iterator[str]:
    """What changed for the intruder between two looks."""
    if gone := before - now:
        yield f"the intruder is cut off from {', '.join(map(short, sorted(gone)))}"
    if new := now - before:
        yield f"the intruder is in {', '.join(map(short, sorted(new)))}"


def short(name: str) -> str:
    """A node's name without its host: they all have the same."""
    return name.partition("@")[0]
