"""What has happened stays, in order."""

# ruff: noqa: PLR2004 - numbers are what the promises say

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from rotator.domain.cluster import (
    Change,
)
from rotator.domain.document import FactsHead
from rotator.domain.facts import FactKind
from rotator.domain.ids import (
    RotationId,
)
from rotator.domain.rotation import Phase, Rotation
from rotator.testing.factories import a_rotation
from rotator.testing.state.values import (
    ORDERS,
    PAYMENTS,
    a_fact,
    declared,
    history,
    later,
    loaded,
)

if TYPE_CHECKING:
    from rotator.adapters.state.store import State

    Meddle = Callable[[str], Awaitable[None]]


class FactsContract:
    """History is a chain in which no change stays hidden."""

    async def test_facts_are_chained_in_their_transaction(self, state: State) -> None:
        """Numbers are gapless, the head is the last one's, and the chain verifies."""
        before = await declared(state)
        facts = (a_fact(FactKind.ROTATION_STARTED, rotation="r1"), a_fact())
        saved = await state.clusters.save(before, Change(cluster=before, facts=facts))
        stored = await history(state)
        assert [chained.seq for chained in stored] == [1, 2, 3]
        assert tuple(chained.fact for chained in stored[1:]) == facts
        assert (saved.facts_head.seq, saved.facts_head.hash) == (3, stored[-1].hash)
        assert await state.clusters.broken_link(ORDERS, kept=saved.facts_head) is None

    async def test_a_fact_that_happens_once_is_not_repeated(self, state: State) -> None:
        """A step that is taken again after a crash leaves one fact, within a change too."""
        before = await declared(state)
        once = a_fact(FactKind.ROTATION_STARTED, rotation="r1")
        saved = await state.clusters.save(before, Change(cluster=before, facts=(once, once)))
        again = await state.clusters.save(saved, Change(cluster=saved, facts=(once, a_fact())))
        await state.clusters.add_fact(once, cluster=ORDERS)
        assert [chained.fact for chained in await history(state)][1:] == [once, a_fact()]
        assert again.facts_head.seq == 3
        assert await state.clusters.broken_link(ORDERS) is None

    async def test_the_same_happens_in_two_clusters(self, state: State) -> None:
        """What is unique is so within its cluster: an emergency has one id in many."""
        await declared(state, ORDERS, PAYMENTS)
        once = a_fact(FactKind.ROTATION_STARTED, rotation="r1")
        for name in (ORDERS, PAYMENTS):
            await state.clusters.add_fact(once, cluster=name)
        for name in (ORDERS, PAYMENTS):
            assert [chained.fact for chained in await history(state, name)][1:] == [once]

    async def test_a_fact_alone_changes_no_revision(self, state: State, other: State) -> None:
        """A refused report is in the chain, and no write of the cluster fails because of it."""
        before = await declared(state)
        await other.clusters.add_fact(a_fact(), cluster=ORDERS)
        saved = await state.clusters.save(before, Change(cluster=before, facts=(a_fact(),)))
        assert saved.facts_head.seq == 3
        assert await state.clusters.broken_link(ORDERS, kept=saved.facts_head) is None

    async def test_the_service_has_a_chain_of_its_own(self, state: State) -> None:
        """Facts about no cluster are chained too, and are listed among all."""
        await declared(state)
        for _ in range(2):
            await state.clusters.add_fact(a_fact(FactKind.TOKEN_CREATED))
        everything = await history(state, None)
        assert [(chained.cluster, chained.seq) for chained in everything] == [
            (ORDERS, 1),
            (None, 1),
            (None, 2),
        ]
        assert await state.clusters.broken_link(None) is None

    async def test_facts_are_paged_both_ways(self, state: State) -> None:
        """A page begins behind the position of the last fact of the page before."""
        await declared(state, ORDERS, PAYMENTS)
        for number in range(6):
            fact = a_fact(rotation=f"r{number % 2}")
            await state.clusters.add_fact(fact, cluster=(ORDERS, PAYMENTS)[number % 3 == 0])
        everything = await history(state, None)
        assert [chained.position for chained in everything] == list(range(1, 9))
        first = await state.clusters.facts(None, limit=3)
        rest = await state.clusters.facts(None, after=first[-1].position)
        assert [*first, *rest] == everything
        newest = await state.clusters.facts(None, limit=3, newest_first=True)
        older = await state.clusters.facts(None, after=newest[-1].position, newest_first=True)
        assert [*newest, *older] == everything[::-1]
        of_one = await state.clusters.facts(ORDERS, rotation=RotationId("r1"))
        assert {(chained.cluster, chained.fact.rotation) for chained in of_one} == {(ORDERS, "r1")}

    @pytest.mark.parametrize(
        ("harm", "found"),
        [
            ("UPDATE facts SET body = replace(body, 'because', 'so') WHERE seq = 3", 3),
            ("UPDATE facts SET body = 'no JSON' WHERE seq = 3", 3),
            ("UPDATE facts SET hash = '{zeros}' WHERE seq = 3", 3),
            ("UPDATE facts SET kind = 'MemberLeft' WHERE seq = 3", 3),
            ("UPDATE facts SET rotation = 'r9' WHERE seq = 3", 3),
            ("UPDATE facts SET once_key = NULL WHERE seq = 2", 2),
            ("DELETE FROM facts WHERE seq = 3", 3),
            ("DELETE FROM facts WHERE seq = 1", 1),
            ("DELETE FROM facts", 1),
            ("DELETE FROM facts WHERE seq >= 4", 4),
            ("UPDATE facts SET seq = CASE seq WHEN 3 THEN -4 ELSE -3 END WHERE seq IN (3, 4)", 3),
            ("UPDATE facts SET chain = 'payments' WHERE seq = 3", 3),
        ],
    )
    async def test_a_changed_history_is_found(
        self, state: State, meddle: Meddle, harm: str, found: int
    ) -> None:
        """An edit, a deletion, a cut-off tail and an exchange are found, with the first one's seq."""
        await declared(state)
        await state.clusters.add_fact(
            a_fact(FactKind.ROTATION_STARTED, rotation="r1"), cluster=ORDERS
        )
        for _ in range(3):
            await state.clusters.add_fact(a_fact(), cluster=ORDERS)
        assert await state.clusters.broken_link(ORDERS) is None
        await meddle(harm.format(zeros="0" * 64))
        await meddle("UPDATE facts SET seq = -seq WHERE seq < 0")
        assert await state.clusters.broken_link(ORDERS) == found

    async def test_a_tail_cut_off_with_its_head_is_found(
        self, state: State, meddle: Meddle
    ) -> None:
        """Who cuts the chain and mends the cluster's row is given away by a head kept elsewhere."""
        before = await declared(state)
        saved = await state.clusters.save(before, Change(cluster=before, facts=(a_fact(),)))
        await meddle("DELETE FROM facts WHERE seq = 2")
        head = (await history(state))[-1]
        await meddle(f"UPDATE clusters SET facts_seq = 1, facts_hash = '{head.hash}'")  # noqa: S608
        assert await state.clusters.broken_link(ORDERS) is None
        assert await state.clusters.broken_link(ORDERS, kept=saved.facts_head) == 2

    async def test_a_cut_tail_is_not_grown_over(self, state: State, meddle: Meddle) -> None:
        """The program goes on at the number it knows, so that the gap stays to be found."""
        before = await declared(state)
        saved = await state.clusters.save(before, Change(cluster=before, facts=(a_fact(),)))
        await meddle("DELETE FROM facts WHERE seq = 2")
        await state.clusters.save(saved, Change(cluster=saved, facts=(a_fact(),)))
        assert await state.clusters.broken_link(ORDERS) == 2

    async def test_a_head_that_was_kept_elsewhere_is_looked_up(
        self, state: State, other: State
    ) -> None:
        """Every link of the chain is known, by place and hash together; no other one is."""
        cluster = await declared(state)
        await state.clusters.add_fact(a_fact(), cluster=ORDERS)
        for link in await history(state):
            assert await other.clusters.holds(ORDERS, FactsHead(seq=link.seq, hash=link.hash))
        first = cluster.facts_head
        assert await other.clusters.holds(ORDERS, FactsHead(seq=0, hash="0" * 64))
        assert not await other.clusters.holds(ORDERS, FactsHead(seq=2, hash=first.hash))
        assert not await other.clusters.holds(ORDERS, FactsHead(seq=1, hash="f" * 64))
        assert not await other.clusters.holds(ORDERS, FactsHead(seq=3, hash=first.hash))
        assert not await other.clusters.holds(PAYMENTS, first)


class RotationsContract:
    """Rotations are kept for good and listed newest first."""

    async def _run(self, state: State, number: int, *, emergency_id: str | None = None) -> Rotation:
        name = (ORDERS, PAYMENTS)[number % 2]
        before = await loaded(state, name)
        rotation = a_rotation(
            Phase.COMPLETED,
            id=RotationId(f"r{9 - number}"),
            cluster=name,
            started_at=later(minutes=number // 2),
            finished_at=later(hours=1),
            emergency_id=emergency_id,
        )
        await state.clusters.save(before, Change(cluster=before, rotations=(rotation,)))
        return rotation

    async def test_rotations_are_paged_newest_first(self, state: State) -> None:
        """A page begins behind the id of the last rotation of the page before, ties included."""
        await declared(state, ORDERS, PAYMENTS)
        run = [await self._run(state, number) for number in range(6)]
        newest = sorted(run, key=lambda one: (one.started_at, one.id), reverse=True)
        listed: list[Rotation] = []
        while page := await state.clusters.rotations(
            None, limit=2, before=listed[-1].id if listed else None
        ):
            listed.extend(page)
        assert listed == newest
        of_orders = await state.clusters.rotations(ORDERS)
        assert list(of_orders) == [one for one in newest if one.cluster == ORDERS]
        assert await state.clusters.rotations(None, before="never") == ()

    async def test_rotations_of_an_emergency_are_found(self, state: State) -> None:
        """Clusters that were rotated together are listed by what they have in common."""
        await declared(state, ORDERS, PAYMENTS)
        await self._run(state, 0)
        run = {await self._run(state, number, emergency_id="e1") for number in (2, 3)}
        assert set(await state.clusters.rotations(None, emergency_id="e1")) == run

    async def test_an_unknown_rotation_is_none(self, state: State) -> None:
        """Nothing is made by looking."""
        assert await state.clusters.rotation(RotationId("r1")) is None
