"""A year of schedules for 500 clusters, with the process killed a thousand times."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from rotator import failpoints
from tests.soak.__main__ import say
from tests.support.service import Service, wait_for
from tests.support.year import Year
from tests.support.year_outcomes import Outcomes

pytestmark = pytest.mark.timeout(7200)
SEED = int(os.environ.get("SOAK_SEED", random.randrange(1 << 32)))


async def test_a_year_of_five_hundred_schedules_and_a_thousand_deaths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every due rotation ran exactly once, and none ran that was not due."""
    say("seed (SOAK_SEED)", SEED)
    began = time.monotonic()
    year = Year(None, clusters=500, days=365, kills=1000, seed=SEED)
    await year.run(lambda hit: monkeypatch.setattr(failpoints, "hit", hit))
    outcomes = Outcomes(year).examine()
    say("clusters, days, kills, lost answers", f"500, 365, 1000, {year.chaos.lost}")
    say("killed at", dict(sorted(year.chaos.at.items())))
    say("slots", outcomes.total())
    say("of these", dict(outcomes))
    say("orders of people meanwhile", dict(year.orders))
    say("seconds", f"{time.monotonic() - began:.0f}")
    assert outcomes["in time"] > 0.8 * outcomes.total()


def test_a_real_process_that_dies_at_its_slots_begins_one_rotation_for_each(tmp_path: Path) -> None:
    """SIGKILL before and after the schedule is taken up, and before and after a rotation begins."""
    schedule = {"cron": "* * * * *", "jitter": "0", "spacing": "0"}
    cluster = {"members": {"expect": "none"}, "grace_window": "0", "schedule": schedule}
    store = {"kind": "local", "directory": str(tmp_path / "secrets")}
    service = Service(tmp_path, store, {"orders": cluster})
    points = {f"{line}:{when}:kill" for line in ("T1", "S1") for when in ("before", "after")}

    def facts() -> list[dict[str, Any]]:
        try:
            found = service.get("facts?cluster=orders&limit=100", role="auditor")["facts"]
        except httpx.HTTPError:
            service.revive()
            return []
        return [fact for fact in found if fact["kind"] == "RotationStarted"]

    try:
        service.start(*points)
        service.initialise("orders")
        wait_for("three rotations", lambda: len(facts()) >= 3, seconds=600)
        assert service.hits() == points
        slots = [fact["details"]["slot"] for fact in facts()]
        assert len(slots) == len(set(slots))
        assert {fact["details"]["rotation_kind"] for fact in facts()} == {"scheduled"}
        versions = service.get("clusters/orders")["versions"]
        assert len(versions) in {1 + len(slots), 1 + len(facts())}
    finally:
        service.kill()
