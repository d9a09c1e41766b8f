"""Runs checks beside each other: bounded in time, and none hides what another finds."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from rotator.domain.findings import Finding, by_weight, is_degraded
from rotator.errors import RotatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rotator.ports.examiner import Check


CHECK_SECONDS: Final = 15.0


class Outcome(StrEnum):
    """How a check ended."""

    CLEAN = "clean"
    FOUND = "found"
    FAILED = "failed"  #: it came to no end, and says nothing
    SKIPPED = "skipped"  #: what it looks at could not be had


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One check that was made."""

    name: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An examination."""

    findings: tuple[Finding, ...]  #: errors first
    checks: tuple[Checked, ...]

    @property
    def is_degraded(self) -> bool:
        """Whether something should be done."""
        return is_degraded(self.findings)


def report(found: Iterable[Finding], checks: Iterable[Checked]) -> Report:
    """All of it in order."""
    return Report(findings=by_weight(found), checks=tuple(checks))


async def examine(
    checks: Sequence[Check],
    *,
    on_progress: Callable[[Checked], None] = lambda _one: None,
    seconds: float = CHECK_SECONDS,
) -> Report:
    """Make all checks at the same time, each for at most *seconds*."""

    async def made(check: Check) -> tuple[tuple[Finding, ...], Checked]:
        found, has_failed = await _found(check, seconds)
        outcome = Outcome.FOUND if found else Outcome.CLEAN
        checked = Checked(name=check.name, outcome=Outcome.FAILED if has_failed else outcome)
        on_progress(checked)
        return found, checked

    results = await asyncio.gather(*map(made, checks))
    return report((one for found, _ in results for one in found), (each for _, each in results))


async def _found(check: Check, seconds: float) -> tuple[tuple[Finding, ...], bool]:
    """What it finds, or that it failed."""
    try:
        async with asyncio.timeout(seconds):
            return tuple(await check.run()), False
    except RotatorError as error:
        why = f"{error.code}: {error}"
    except TimeoutError:
        why = f"no answer within {seconds:g} s"
    except Exception as error:  # noqa: BLE001 - one check never hides another
        # Not its text: nobody has looked whether that may hold a secret.
        why = f"unexpected {type(error).__name__}; please report it"
    return (Finding(code="check_failed", subject=check.name, detail=why),), True
