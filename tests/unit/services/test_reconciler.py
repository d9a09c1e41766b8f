from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

from rotator.domain.ids import ClusterName, Fence
from rotator.services.crowds import Crowds
from rotator.services.reconciler import Reconciler
from rotator.services.turns import Turns

ORDERS = ClusterName("orders")
NOBODY = cast("Any", None)  #: a part that these tests do not come to


class Slow:
    """A state store that knows no cluster, and answers when it is told to."""

    def __init__(self) -> None:
        self.looked = 0
        self.entered, self.go = asyncio.Event(), asyncio.Event()

    async def load(self, name: ClusterName) -> None:
        """None of that name."""
        self.looked += 1
        self.entered.set()
        await self.go.wait()

    async def now(self) -> datetime:
        """An instant."""
        return datetime(2026, 11, 25, tzinfo=UTC)


def a_reconciler(states: Any) -> Reconciler:
    """Over this store."""
    crowds = Crowds(states, {}, serving_since=datetime(2026, 11, 25, tzinfo=UTC))
    return Reconciler(
        states=states,
        documents=NOBODY,
        keyring=NOBODY,
        executor=NOBODY,
        heads=NOBODY,
        crowds=crowds,
        wakeups=NOBODY,
        fence=Fence(1),
        on_lost_lease=lambda: None,
        turns=Turns(),
    )


async def test_what_changes_during_a_pass_is_looked_at_right_after_it() -> None:
    """A pass that runs has perhaps looked already, and its own pause must not hide the news."""
    states = Slow()
    reconciler = a_reconciler(states)
    reconciler.poke(ORDERS)
    await states.entered.wait()
    reconciler.look_at_all()
    states.go.set()
    async with asyncio.timeout(60):
        while states.looked < 2:
            await asyncio.sleep(0)
    await reconciler.stop()
    assert states.looked == 2
