"""Master secrets on their own schedule: the next epoch when it is due, and never an imported one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rotator.domain import renewal
from rotator.domain.facts import Fact, FactKind
from rotator.domain.steps import SERVICE
from rotator.errors import RotatorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime, timedelta

    from rotator.domain.ids import MasterName
    from rotator.domain.renewal import MasterStanding
    from rotator.ports.state_store import Epochs
    from rotator.services.keyring import KeyRing

log = logging.getLogger(__name__)


class Renewals:
    """Opens epochs that are due. An epoch is opened for its due date, so it is opened once.

    Clusters take to a new epoch with their next rotation; nothing is derived anew before.
    """

    def __init__(
        self,
        *,
        keyring: KeyRing,
        epochs: Epochs,
        intervals: Mapping[MasterName, timedelta | None],
        now: Callable[[], Awaitable[datetime]],
    ) -> None:
        self._keyring = keyring
        self._epochs = epochs
        self._now = now
        self._told: set[tuple[MasterName, datetime]] = set()
        self.intervals = intervals

    async def standing(self, master: MasterName) -> MasterStanding | None:
        """The newest open epoch of a master; None before there is one."""
        newest = await self._epochs.newest(master)
        if newest is None or newest.opened_at is None:
            return None
        return renewal.standing(
            master,
            epoch=newest.number,
            opened_at=newest.opened_at,
            is_imported=newest.is_imported,
            rotate_every=self.intervals.get(master),
        )

    async def tick(self) -> None:
        """Look at every master. Called by the metronome, as often as it likes."""
        for master in self.intervals:
            try:
                await self._look_at(master)
            except RotatorError as error:
                log.warning(
                    "master not renewed; it is tried again",
                    extra={"master": master, "code": error.code},
                )

    async def _look_at(self, master: MasterName) -> None:
        found, now = await self.standing(master), await self._now()
        if found is None or found.due_at is None or found.overdue_since(now) is None:
            return
        due_at = found.due_at
        if found.is_imported:
            self._tell(master, due_at)
            return
        fact = Fact(
            kind=FactKind.EPOCH_OPENED,
            at=now,
            by=SERVICE,
            reason="its schedule",
            details={"master": master, "origin": "generated", "due_at": due_at.isoformat()},
        )
        epoch = await self._keyring.renew_when_due(master, due_at, fact)
        log.info("master renewed", extra={"master": master, "epoch": epoch})

    def _tell(self, master: MasterName, due_at: datetime) -> None:
        if (master, due_at) not in self._told:
            self._told.add((master, due_at))
            log.warning(
                "an imported master is overdue; a person renews it", extra={"master": master}
            )
