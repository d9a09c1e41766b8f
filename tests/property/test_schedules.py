"""A year of schedules, with the process killed between its writes; `make soak` has the full size."""

from __future__ import annotations

from pathlib import Path

import pytest

from rotator import failpoints
from tests.support.year import Year
from tests.support.year_outcomes import Outcomes

pytestmark = pytest.mark.timeout(900)  # seconds of work, and a year on a machine that is busy


async def test_every_due_rotation_runs_once_however_often_the_process_dies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each slot has one outcome: a rotation, or a reason that holds; none begins that is not due."""
    year = Year(None, clusters=15, days=365, kills=80, seed=20260101)
    await year.run(lambda hit: monkeypatch.setattr(failpoints, "hit", hit))
    outcomes = Outcomes(year).examine()
    assert outcomes["in time"] > 0.8 * outcomes.total()
    assert {"late", "fresh"} <= outcomes.keys()


async def test_a_real_database_keeps_what_a_schedule_needs_to_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, on SQLite: what a process leaves behind is enough for the next one."""
    year = Year(tmp_path / "state.sqlite", clusters=2, days=35, kills=4, seed=1)
    await year.run(lambda hit: monkeypatch.setattr(failpoints, "hit", hit))
    assert Outcomes(year).examine()["in time"] > 0
