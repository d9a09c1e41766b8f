from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.domain.renewal import standing
from rotator.testing.factories import NOW

QUARTER = timedelta(days=90)


@pytest.mark.parametrize(
    ("age", "every", "since"),
    [
        (timedelta(days=89), QUARTER, None),
        (QUARTER, QUARTER, NOW),
        (timedelta(days=91), QUARTER, NOW - timedelta(days=1)),
        (timedelta(days=4000), None, None),
        (-timedelta(minutes=5), QUARTER, None),
        (-timedelta(minutes=6), QUARTER, NOW),
        (-timedelta(days=365), QUARTER, NOW),
    ],
)
def test_a_master_is_overdue_by_its_own_schedule(age, every, since) -> None:
    """So is one that was opened in the future: the clock was wrong, and its age says nothing."""
    found = standing("default", epoch=3, opened_at=NOW - age, is_imported=False, rotate_every=every)
    assert found.overdue_since(NOW) == since
