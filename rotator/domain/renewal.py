"""When a master secret is to be replaced, and by whom: a question of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.domain.schedule import SKEW

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from rotator.domain.ids import EpochNumber, MasterName


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterStanding:
    """The newest epoch of a master, and what its own schedule wants."""

    name: MasterName
    epoch: EpochNumber
    opened_at: datetime
    is_imported: bool  #: its secret was given by a person, and only a person replaces it
    due_at: datetime | None  #: None: it has no schedule

    def overdue_since(self, now: datetime) -> datetime | None:
        """Since when it should have been replaced, by the service or, if it is imported, by a person.

        How old it is nobody knows if the clock was wrong when it was opened: then it is since *now*.
        """
        if self.due_at is None:
            return None
        if self.opened_at > now + SKEW:
            return now
        return self.due_at if now >= self.due_at else None


def standing(
    name: MasterName,
    *,
    epoch: EpochNumber,
    opened_at: datetime,
    is_imported: bool,
    rotate_every: timedelta | None,
) -> MasterStanding:
    """What holds for an epoch that was opened then."""
    due_at = None if rotate_every is None else opened_at + rotate_every
    return MasterStanding(
        name=name, epoch=epoch, opened_at=opened_at, is_imported=is_imported, due_at=due_at
    )
