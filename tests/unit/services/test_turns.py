"""One writer of a cluster after the other."""

from __future__ import annotations

import asyncio

from rotator.domain.ids import ClusterName
from rotator.services.turns import Turns

ORDERS, BILLING = ClusterName("orders"), ClusterName("billing")


async def test_writers_of_a_cluster_have_their_turns_in_the_order_in_which_they_came() -> None:
    """Nobody writes beside another, and nobody who waits is passed over by who comes later."""
    turns, had, inside = Turns(), [], 0

    async def write(number: int) -> None:
        nonlocal inside
        for _ in range(3):
            async with turns.of(ORDERS):
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                inside -= 1
                had.append(number)

    await asyncio.gather(*(write(number) for number in range(20)))
    assert had == list(range(20)) * 3


async def test_a_cluster_waits_for_no_other() -> None:
    """Whoever has the turn of one cluster keeps nobody from another."""
    turns = Turns()
    async with turns.of(ORDERS), asyncio.timeout(60), turns.of(BILLING):
        assert turns.of(ORDERS).locked()


async def test_who_fails_in_his_turn_or_gives_up_waiting_keeps_nobody_else() -> None:
    """A turn ends with whoever has it, however that is."""
    turns = Turns()

    async def fail() -> None:
        async with turns.of(ORDERS):
            await asyncio.sleep(0)
            waiting.cancel()
            raise ValueError("failed")

    async def wait() -> None:
        async with turns.of(ORDERS):
            raise AssertionError("it was cancelled before its turn")

    failing, waiting = asyncio.create_task(fail()), asyncio.create_task(wait())
    ended = await asyncio.gather(failing, waiting, return_exceptions=True)
    assert [type(one) for one in ended] == [ValueError, asyncio.CancelledError]
    async with asyncio.timeout(60), turns.of(ORDERS):
        pass
