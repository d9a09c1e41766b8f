"""Each line of the order of writes can fail at three points; a receipt is written with its change."""

# ruff: noqa: PLR2004 - numbers are what the promises say

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rotator.domain.cluster import (
    Change,
)
from rotator.errors import RevisionConflict, StateUnavailable
from rotator.testing.factories import NOW
from rotator.testing.state.values import (
    ORDERS,
    PAYMENTS,
    a_fact,
    a_receipt,
    declared,
    full_cluster,
    history,
    later,
    loaded,
)

if TYPE_CHECKING:
    from rotator.adapters.state.store import State

    Meddle = Callable[[str], Awaitable[None]]


class CrashContract:
    """Each line of the order of writes can fail before, after, and with its answer lost."""

    async def test_before_the_write_nothing_is_stored(
        self, state: State, failing: Callable[[str], None]
    ) -> None:
        """A failure before the transaction leaves the cluster as it was."""
        before = await declared(state)
        failing("S1:before:raise")
        with pytest.raises(StateUnavailable):
            await state.clusters.save(before, Change(cluster=full_cluster(before)), line="S1")
        assert await loaded(state) == before

    @pytest.mark.parametrize("when", ["after", "lost"])
    async def test_after_the_write_all_is_stored(
        self, state: State, other: State, failing: Callable[[str], None], when: str
    ) -> None:
        """Who never got the answer finds the whole change, and cannot make it a second time."""
        before = await declared(state)
        failing(f"S1:{when}:raise")
        change = Change(cluster=full_cluster(before), facts=(a_fact(),))
        with pytest.raises(StateUnavailable):
            await state.clusters.save(before, change, line="S1")
        expected = replace(full_cluster(before), revision=1)
        for through in (state, other):
            found = await loaded(through)
            assert found == replace(expected, facts_head=found.facts_head)
        with pytest.raises(RevisionConflict):
            await state.clusters.save(before, change, line="S1")
        assert len(await history(state)) == 2

    async def test_other_lines_do_not_fail(
        self, state: State, failing: Callable[[str], None]
    ) -> None:
        """A failpoint stops the line that it names, and no save without a line."""
        before = await declared(state)
        failing("S1:before:raise")
        saved = await state.clusters.save(before, Change(cluster=before), line="S2")
        await state.clusters.save(saved, Change(cluster=saved))


class ReceiptsContract:
    """A command that is repeated gets the answer that it got."""

    async def test_a_receipt_is_stored_with_its_change(self, state: State, other: State) -> None:
        """It is found by principal and key, and by nobody else."""
        before = await declared(state)
        await state.clusters.save(before, Change(cluster=before), receipt=a_receipt())
        assert await other.clusters.receipt("token:1", "k1", now=NOW) == a_receipt()
        assert await state.clusters.receipt("token:2", "k1", now=NOW) is None

    async def test_a_receipt_may_be_stored_before_its_change(
        self, state: State, other: State
    ) -> None:
        """A receipt that is kept alone is seen by every process, and its key is taken."""
        await state.clusters.keep(a_receipt())
        assert await other.clusters.receipt("token:1", "k1", now=NOW) == a_receipt()
        with pytest.raises(StateUnavailable):
            await other.clusters.keep(a_receipt())

    async def test_a_receipt_lasts_a_day(self, state: State) -> None:
        """After 24 hours it counts no more, and its key can be used again."""
        before = await declared(state)
        saved = await state.clusters.save(before, Change(cluster=before), receipt=a_receipt())
        almost, over = later(hours=23, minutes=59), later(hours=24)
        assert await state.clusters.receipt("token:1", "k1", now=almost) is not None
        assert await state.clusters.receipt("token:1", "k1", now=over) is None
        newer = a_receipt(at=over)
        await state.clusters.save(saved, Change(cluster=saved), receipt=newer)
        assert await state.clusters.receipt("token:1", "k1", now=over) == newer

    async def test_one_key_answers_one_request(self, state: State) -> None:
        """Two requests under one key at the same time, for two clusters, cannot both be done."""
        orders = await declared(state, ORDERS, PAYMENTS)
        payments = await loaded(state, PAYMENTS)
        await state.clusters.save(orders, Change(cluster=orders), receipt=a_receipt())
        change = Change(cluster=payments.next_generation(), facts=(a_fact(),))
        with pytest.raises(StateUnavailable):
            await state.clusters.save(payments, change, receipt=a_receipt())
        assert await loaded(state, PAYMENTS) == payments
