from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.domain.renewal import standing
from rotator.testing.factories import NOW

QUARTER = timedelta(days=90)


@pytest.mark.parametrize(
    ("age", "every", "is_imported", "is_due", "is_overdue"),
    [
        (timedelta(days=89), QUARTER, False, False, False),
        (QUARTER, QUARTER, False, True, True),
        (QUARTER, QUARTER, True, False, True),
        (timedelta(days=4000), None, False, False, False),
    ],
)
def test_an_imported_master_is_overdue_and_never_due(
    age, every, is_imported, is_due, is_overdue
) -> None:
    """Its own schedule says when; who gave the secret says by whom."""
    found = standing(
        "default", epoch=3, opened_at=NOW - age, is_imported=is_imported, rotate_every=every
    )
    assert found.is_due(NOW) == is_due
    assert found.overdue_since(NOW) == (NOW - age + QUARTER if is_overdue else None)
