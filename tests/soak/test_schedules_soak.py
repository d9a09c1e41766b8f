"""A year of schedules for 500 clusters, with the process killed a thousand times."""

from __future__ import annotations

import os
import random
import time

import pytest

from rotator import failpoints
from tests.soak.__main__ import say
from tests.support.year import Year

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
    outcomes = year.examine()
    say("clusters, days, kills, lost answers", f"500, 365, 1000, {year.chaos.lost}")
    say("killed at", dict(sorted(year.chaos.at.items())))
    say("slots", outcomes.total())
    say("of these", dict(outcomes))
    say("orders of people meanwhile", dict(year.orders))
    say("seconds", f"{time.monotonic() - began:.0f}")
    assert outcomes["in time"] > 0.8 * outcomes.total()
