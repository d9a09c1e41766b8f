"""Waiting for a cluster to change."""

from __future__ import annotations

import asyncio

import pytest

from rotator.adapters.state.wakeups import LocalWakeups
from rotator.domain.ids import ClusterName

ORDERS, PAYMENTS = ClusterName("orders"), ClusterName("payments")


@pytest.mark.parametrize("cluster", [ORDERS, None])
async def test_all_who_wait_are_woken(cluster: ClusterName | None) -> None:
    """One change wakes every waiter of its cluster, and who waits for any."""
    wakeups = LocalWakeups()
    waiting = [asyncio.create_task(wakeups.wait(cluster, seconds=30)) for _ in range(3)]
    await asyncio.sleep(0)
    await wakeups.notify(ORDERS)
    assert await asyncio.gather(*waiting) == [True, True, True]


async def test_another_cluster_wakes_nobody() -> None:
    """Time passes, and the waiter is told that nothing came."""
    wakeups = LocalWakeups()
    waiting = asyncio.create_task(wakeups.wait(ORDERS, seconds=0.05))
    await asyncio.sleep(0)
    await wakeups.notify(PAYMENTS)
    assert await waiting is False


async def test_a_change_before_waiting_is_not_remembered() -> None:
    """Who wants to miss nothing begins to wait before looking."""
    wakeups = LocalWakeups()
    await wakeups.notify(ORDERS)
    assert await wakeups.wait(ORDERS, seconds=0.01) is False


async def test_nothing_is_left_of_waiters() -> None:
    """Waiters that were woken, ran out of time or were cancelled take no memory."""
    wakeups = LocalWakeups()
    cancelled = asyncio.create_task(wakeups.wait(PAYMENTS, seconds=30))
    woken = asyncio.create_task(wakeups.wait(ORDERS, seconds=30))
    await wakeups.wait(None, seconds=0.01)
    cancelled.cancel()
    await wakeups.notify(ORDERS)
    await asyncio.gather(cancelled, woken, return_exceptions=True)
    assert wakeups._waiting == {}
