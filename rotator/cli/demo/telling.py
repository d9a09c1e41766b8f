"""What people see: each phase as it begins, and the proof at the end."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any, Final


def say(text: str) -> None:
    """One line on standard error: standard output is the report's."""
    print(text, file=sys.stderr, flush=True)


#: The fact that each phase begins with; short phases are seen by it alone.
_PHASES: Final = {
    "RotationStarted": "staged",
    "EmergencyStarted": "locking",
    "VersionStaged": "installing",
    "PromotionStarted": "promoting",
    "VersionPromoted": "rolling out",
    "VersionsRevoked": "rolling out: nothing but the new version is left",
    "GraceStarted": "grace",
    "RetirementStarted": "retiring",
    "RotationCompleted": "completed",
}


def say_phases(rotation: dict[str, Any], shown: int, in_grace: bool | None) -> int:
    """Print the phases that have begun since; returns how many are shown now."""
    began = datetime.fromisoformat(rotation["started_at"])
    for fact in rotation["facts"][shown:]:
        seconds = (datetime.fromisoformat(fact["at"]) - began).total_seconds()
        say(f"  {seconds:6.2f} s  {_PHASES.get(fact['kind'], fact['kind'])}")
        if fact["kind"] == "GraceStarted":
            former = rotation["from_version"]
            say(f"            version {former} still readable by a node: {yes(in_grace)}")
    return len(rotation["facts"])


def yes(value: bool | None) -> str:
    """The answer in words; `None` is a question that was not put."""
    return {True: "yes", False: "no", None: "not tried"}[value]


def as_text(report: dict[str, Any]) -> str:
    """The proof, for people."""
    rows = [
        f"  {r['kind']:<10} version {r['from_version']} -> {r['to_version']}  {r['phase']}"
        f"  in {r['seconds']:.2f} s"
        for r in report["rotations"]
    ]
    asked = {
        "previous_readable_during_grace": "previous readable by a node during grace",
        "previous_readable_after": "previous readable by a node after it",
        "revoked_readable_after": "revoked readable by a node after the emergency",
        "still_stored": "any former cookie still stored",
    }
    proof = [f"  {text:<48} {yes(report[name])}" for name, text in asked.items()]
    return "\n".join(["", "rotations", *rows, "", "proof", *proof])


def is_good(report: dict[str, Any]) -> bool:
    """Whether everything came out as promised."""
    return (
        all(rotation["phase"] == "completed" for rotation in report["rotations"])
        and report["previous_readable_during_grace"] is True
        and report["previous_readable_after"] is False
        and report["revoked_readable_after"] is False
        and report["still_stored"] is False
    )
