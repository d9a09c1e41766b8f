"""What an agent sees, in a file beside its memory: for `rotator agent status`. No cookie in it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from rotator.agent.loop import Outcome
    from rotator.agent.settings import AgentSettings


_LATE: Final = 10.0  #: seconds that a look may take, or a busy host be behind


def write(path: Path, outcome: Outcome, *, trouble: tuple[str, ...], next_look: float) -> None:
    """Replace the file; that it cannot be written never stops the work."""
    shown = {
        "is_settled": outcome.is_settled,
        "trouble": list(trouble),
        "next_look": next_look,
        "report": asdict(outcome.report) if outcome.report else {},
    }
    _replace(path, shown)


def write_stopped(path: Path) -> None:
    """The agent ends in good order: what it saw last stays, and is not taken for now."""
    with suppress(OSError, msgspec.DecodeError, UnicodeError):
        found = msgspec.json.decode(path.read_bytes(), type=_Stored)
        _replace(path, {**asdict(found), "is_stopped": True})


def path_of(state_dir: Path, name: str) -> Path:
    """Of one node's agent."""
    return state_dir / f"{name}.status.json"


def _replace(path: Path, shown: dict[str, Any]) -> None:
    fresh = path.with_name(f".{path.name}.new")
    with suppress(OSError):
        fresh.write_text(json.dumps(shown), encoding="utf-8")
        fresh.replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    is_settled: bool
    trouble: list[str]
    next_look: float  #: seconds from when it was written
    report: dict[str, Any]
    is_stopped: bool = False


def read(settings: AgentSettings) -> list[dict[str, Any]]:
    """One mapping a node: `node`, `state`, `seen_seconds_ago`, and what its agent last reported."""
    return [_of_node(settings.state_dir, node.name) for node in settings.nodes]


def _of_node(state_dir: Path, name: str) -> dict[str, Any]:
    path = path_of(state_dir, name)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Stored)
        age = datetime.now(UTC).timestamp() - path.stat().st_mtime  # noqa: TID251 - a clock's outermost place
    except (OSError, msgspec.DecodeError, UnicodeError):
        return {"node": name, "state": "never seen", "seen_seconds_ago": None, "trouble": []}
    report, is_late = found.report, age > found.next_look + _LATE
    state = "agent silent" if is_late else _state(report, is_settled=found.is_settled)
    return {
        "node": name,
        "state": "agent stopped" if found.is_stopped else state,
        "seen_seconds_ago": round(max(age, 0.0), 1),
        "generation": report.get("generation"),
        "uses": report.get("uses"),
        "read_from": report.get("read_from"),
        "locked_round": report.get("locked_round"),
        "pins": len(report.get("pins", {})),
        "links": sorted(report.get("links", {})),
        "foreign_links": _strangers(report),
        "refuses": report.get("refuses", {}),
        "trouble": found.trouble,
    }


def _strangers(report: dict[str, Any]) -> list[str]:
    """Foreign links, but those to members whose agents are silent: the boot file names each member."""
    members, links = report.get("boot_pins", {}), report.get("links", {})
    return [
        name
        for name in report.get("foreign_links", [])
        if name not in members or links.get(name, {}).get("hidden")
    ]


def _state(report: dict[str, Any], *, is_settled: bool) -> str:
    if report.get("read_from") != "vm":
        return "node unreachable"
    if report.get("locked_round"):
        return "locked"
    if report.get("own") and report.get("uses") is None:
        return "unknown cookie"
    return "in step" if is_settled else "changing"
