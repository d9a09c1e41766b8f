"""A cluster is written as a whole or not at all, by one of those who try."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rotator.domain.cluster import (
    Blocker,
    Change,
    Cluster,
    Standing,
)
from rotator.domain.facts import FactKind
from rotator.domain.ids import (
    Fence,
    NodeName,
    RotationId,
)
from rotator.domain.rotation import Kind, Phase
from rotator.errors import FenceLost, InvariantViolated, RevisionConflict, RotatorError
from rotator.testing.factories import NOW, a_member, a_rotation
from rotator.testing.state.values import (
    ORDERS,
    PAYMENTS,
    UID,
    A,
    B,
    a_fact,
    a_receipt,
    declared,
    full_claim,
    full_cluster,
    full_rotation,
    history,
    later,
    loaded,
    open_claim,
)

if TYPE_CHECKING:
    from rotator.adapters.state.store import State

    Meddle = Callable[[str], Awaitable[None]]


class ClusterStatesContract:
    """A cluster is written as a whole or not at all, by one of those who try."""

    async def test_a_cluster_comes_back_as_it_was_written(self, state: State, other: State) -> None:
        """Every field of the aggregate survives, for this process and for another."""
        before = await declared(state)
        saved = await state.clusters.save(before, Change(cluster=full_cluster(before)))
        expected = replace(full_cluster(before), revision=1, facts_head=saved.facts_head)
        assert saved == expected
        assert await loaded(state) == expected
        assert await loaded(other) == expected

    async def test_a_cluster_shrinks_as_it_grew(self, state: State, other: State) -> None:
        """Values that become empty again, and members that are removed, are gone everywhere."""
        before = await declared(state)
        full = await state.clusters.save(before, Change(cluster=full_cluster(before)))
        ended = replace(full_rotation(), phase=Phase.SUPERSEDED, finished_at=NOW)
        bare = replace(
            full,
            rotation=None,
            last_writer=None,
            recent_starts=(),
            last_emergency_at=None,
            members={A: a_member(A, last_seen=later(seconds=3))},
            claims={},
            blockers=(),
        )
        saved = await state.clusters.save(full, Change(cluster=bare, rotations=(ended,)))
        assert saved == replace(bare, revision=2)
        assert await loaded(other) == saved
        assert await other.clusters.rotation(ended.id) == ended

    async def test_a_claim_goes_to_one_of_two_who_ask_for_it(
        self, state: State, other: State
    ) -> None:
        """Two processes that claim the same node at once: one has it, the other is told to look."""
        before = await declared(state)

        async def claim(through: State, number: int) -> bool:
            taken = open_claim(number, token=1)
            change = Change(cluster=replace(before.with_claim(taken), last_claim_token=1))
            try:
                await through.clusters.save(before, change)
            except RevisionConflict:
                return False
            return True

        won = await asyncio.gather(claim(state, 1), claim(other, 2))
        assert sorted(won) == [False, True]
        (kept,) = (await loaded(other)).claims.values()
        assert kept == open_claim(1 + won.index(True), token=1)

    async def test_a_claim_goes_on_and_the_next_may_come(self, state: State, other: State) -> None:
        """A claim that ends lets its node be claimed again, in the same write if need be."""
        before = await declared(state)
        first = await state.clusters.save(before, Change(cluster=before.with_claim(open_claim(1))))
        ended = first.with_claim(full_claim(1)).with_claim(open_claim(2))
        saved = await state.clusters.save(first, Change(cluster=ended))
        found = await loaded(other)
        assert found == saved
        assert found.claims == {"c1": full_claim(1), "c2": open_claim(2)}
        assert [claim.id for claim in found.open_claims()] == ["c2"]

    async def test_a_node_under_two_claims_is_not_stored(self, state: State) -> None:
        """What a bug would let through, the database does not: one open claim for each node."""
        before = await declared(state)
        twice = before.with_claim(open_claim(1)).with_claim(open_claim(2))
        with pytest.raises(RotatorError):
            await state.clusters.save(before, Change(cluster=twice))
        assert await loaded(state) == before

    async def test_a_lost_race_writes_nothing(self, state: State, other: State) -> None:
        """Who saves over an old revision is told so, and no part of the change is stored."""
        before = await declared(state)
        won = await other.clusters.save(before, Change(cluster=before.next_generation()))
        change = Change(cluster=full_cluster(before), facts=(a_fact(),))
        with pytest.raises(RevisionConflict):
            await state.clusters.save(before, change, receipt=a_receipt())
        assert await loaded(state) == won
        assert await state.clusters.rotations(ORDERS) == ()
        assert len(await history(state)) == 1
        assert await state.clusters.receipt("token:1", "k1", now=NOW) is None

    async def test_a_cluster_that_is_not_there_cannot_be_saved(self, state: State) -> None:
        """A save never makes a cluster, and leaves no fact of one."""
        ghost = Cluster(name=ORDERS)
        with pytest.raises(RevisionConflict):
            await state.clusters.save(ghost, Change(cluster=ghost, facts=(a_fact(),)))
        assert await state.clusters.load(ORDERS) is None
        assert await history(state) == []

    async def test_each_revision_has_exactly_one_winner(self, state: State, other: State) -> None:
        """Twenty writers in two processes never write the same revision twice, nor skip one."""
        await declared(state)
        won: list[int] = []

        async def write(number: int) -> None:
            through = state if number % 2 else other
            while True:
                before = await loaded(through)
                change = Change(cluster=before, facts=(a_fact(),))
                try:
                    saved = await through.clusters.save(before, change)
                except RevisionConflict:
                    continue
                won.append(saved.revision)
                return

        await asyncio.gather(*(write(number) for number in range(20)))
        assert sorted(won) == list(range(1, 21))
        assert [chained.seq for chained in await history(state)] == list(range(1, 22))
        assert await state.clusters.broken_link(ORDERS) is None

    async def test_an_old_fence_changes_nothing(self, state: State) -> None:
        """Once the lease was taken again, the fencing token from before opens nothing."""
        before = await declared(state)
        fence = await state.lease.acquire()
        saved = await state.clusters.save(before, Change(cluster=before), fence=fence)
        await state.lease.release()
        newer = await state.lease.acquire()
        assert newer > fence
        change = Change(cluster=saved.next_generation(), facts=(a_fact(),))
        with pytest.raises(FenceLost):
            await state.clusters.save(saved, change, fence=fence)
        assert await loaded(state) == saved
        await state.lease.release()

    async def test_a_fence_is_above_one_that_is_known_from_elsewhere(self, state: State) -> None:
        """A state store that was lost goes on above what the secrets manager has seen, and stays so."""
        await declared(state)
        known = Fence(40)
        first = await state.lease.acquire(above=known)
        await state.lease.release()
        second = await state.lease.acquire()
        await state.lease.release()
        assert second > first > known

    async def test_without_a_lease_no_fence_is_right(self, state: State) -> None:
        """A fencing token that nobody gave out opens nothing."""
        before = await declared(state)
        with pytest.raises(FenceLost):
            await state.clusters.save(before, Change(cluster=before), fence=Fence(1))

    async def test_two_unfinished_rotations_are_impossible(self, state: State) -> None:
        """The schema itself refuses a second one, and the first stays as it was."""
        before = await declared(state)
        first = a_rotation(Phase.STAGED, cluster=ORDERS, id=RotationId("r1"))
        running = await state.clusters.save(before, Change(cluster=replace(before, rotation=first)))
        second = replace(first, id=RotationId("r2"))
        with pytest.raises(InvariantViolated):
            await state.clusters.save(running, Change(cluster=running, rotations=(second,)))
        assert await loaded(state) == running

    async def test_a_rotation_is_not_left_without_an_end(self, state: State) -> None:
        """A cluster cannot forget its rotation unless that is finished in the same change."""
        before = await declared(state)
        first = a_rotation(Phase.STAGED, cluster=ORDERS)
        running = await state.clusters.save(before, Change(cluster=replace(before, rotation=first)))
        with pytest.raises(InvariantViolated):
            await state.clusters.save(running, Change(cluster=replace(running, rotation=None)))
        assert await loaded(state) == running

    async def test_an_emergency_takes_over_in_one_change(self, state: State, other: State) -> None:
        """The superseded rotation ends and the emergency begins in the same transaction."""
        before = await declared(state)
        first = a_rotation(Phase.STAGED, cluster=ORDERS, id=RotationId("r2"))
        running = await state.clusters.save(before, Change(cluster=replace(before, rotation=first)))
        ended = replace(first, phase=Phase.SUPERSEDED, finished_at=NOW)
        second = replace(first, id=RotationId("r1"), kind=Kind.EMERGENCY, phase=Phase.LOCKING)
        change = Change(cluster=replace(running, rotation=second), rotations=(second, ended))
        saved = await state.clusters.save(running, change)
        assert (await loaded(other)).rotation == saved.rotation == second
        assert await other.clusters.rotation(ended.id) == ended

    async def test_a_uid_belongs_to_one_cluster(self, state: State) -> None:
        """A second cluster with the same uid is refused, for it would derive the same cookies."""
        orders = await declared(state, ORDERS, PAYMENTS)
        payments = await loaded(state, PAYMENTS)
        await state.clusters.save(orders, Change(cluster=replace(orders, uid=UID)))
        with pytest.raises(InvariantViolated):
            await state.clusters.save(payments, Change(cluster=replace(payments, uid=UID)))

    async def test_versions_are_never_forgotten(self, state: State) -> None:
        """A change that lacks a version which was numbered once is refused."""
        before = await declared(state)
        full = await state.clusters.save(before, Change(cluster=full_cluster(before)))
        with pytest.raises(InvariantViolated):
            await state.clusters.save(full, Change(cluster=replace(full, versions={})))


class DeclarationContract:
    """The configuration names clusters; none is ever deleted."""

    async def test_clusters_are_declared_and_undeclared(self, state: State) -> None:
        """A name that leaves the configuration stays, marked, and can come back."""
        await declared(state, ORDERS, PAYMENTS)
        await declared(state, ORDERS)
        assert await state.clusters.names() == (ORDERS, PAYMENTS)
        assert (await loaded(state, ORDERS)).is_declared
        assert not (await loaded(state, PAYMENTS)).is_declared
        await declared(state, ORDERS, PAYMENTS)
        assert (await loaded(state, PAYMENTS)).is_declared
        kinds = [chained.fact.kind for chained in await history(state, PAYMENTS)]
        told, taken_back = FactKind.CLUSTER_DECLARED, FactKind.CLUSTER_UNDECLARED
        assert kinds == [told, taken_back, told]

    async def test_declaring_again_changes_nothing(self, state: State) -> None:
        """A restart with the same configuration writes neither revision nor fact."""
        before = await declared(state)
        assert await declared(state) == before
        assert len(await history(state)) == 1

    async def test_a_new_cluster_is_empty(self, state: State) -> None:
        """It is declared, uninitialised, at revision 0, and its chain has one fact."""
        cluster = await declared(state)
        assert cluster == replace(Cluster(name=ORDERS), facts_head=cluster.facts_head)
        assert cluster.facts_head.seq == 1

    async def test_an_unknown_cluster_is_none(self, state: State) -> None:
        """Nothing is made by looking."""
        assert await state.clusters.load(ORDERS) is None
        assert await state.clusters.names() == ()


class HeartbeatContract:
    """What changes no revision is kept in step all the same."""

    async def test_last_seen_moves_forward_only(self, state: State, other: State) -> None:
        """A late flush does not make a member look more silent than it is."""
        before = await declared(state)
        crowd = replace(before, members={A: a_member(A), B: a_member(B)})
        saved = await state.clusters.save(before, Change(cluster=crowd))
        await loaded(other)
        await state.clusters.touch({ORDERS: {A: later(seconds=5), B: later(days=-1)}})
        await state.clusters.touch({ORDERS: {NodeName("rabbit@gone"): NOW}, PAYMENTS: {A: NOW}})
        expected = saved.with_member(a_member(A, last_seen=later(seconds=5)))
        assert await loaded(state) == expected
        assert await loaded(other) == expected

    async def test_a_change_does_not_undo_a_heartbeat(self, state: State, other: State) -> None:
        """A save that began before a heartbeat was written keeps the later time."""
        before = await declared(state)
        crowd = replace(before, members={A: a_member(A), B: a_member(B)})
        saved = await state.clusters.save(before, Change(cluster=crowd))
        await state.clusters.touch({ORDERS: {A: later(seconds=5), B: later(seconds=5)}})
        excused = saved.with_member(a_member(A, is_excused=True))
        await state.clusters.save(saved, Change(cluster=excused))
        for through in (state, other):
            members = (await loaded(through)).members
            assert {member.last_seen for member in members.values()} == {later(seconds=5)}
            assert members[A].is_excused

    async def test_heartbeats_in_memory_do_not_pretend_to_be_stored(
        self, state: State, other: State
    ) -> None:
        """A caller that adds heartbeats to what it loaded sees the same afterwards as others do."""
        before = await declared(state)
        crowd = replace(before, members={A: a_member(A), B: a_member(B)})
        await state.clusters.save(before, Change(cluster=crowd))
        seen = (await loaded(state)).with_member(a_member(B, last_seen=later(seconds=9)))
        await state.clusters.save(seen, Change(cluster=seen.next_generation()))
        assert await loaded(state) == await loaded(other)

    async def test_blockers_are_stored_alone(self, state: State, other: State) -> None:
        """They change no revision, and are seen by every process."""
        before = await declared(state)
        await loaded(other)
        standing = (Standing(blocker=Blocker(code="lost", subject=A), since=NOW),)
        await state.clusters.stand(replace(before, blockers=standing))
        assert await loaded(state) == await loaded(other) == replace(before, blockers=standing)

    async def test_blockers_of_an_old_revision_are_dropped(self, state: State) -> None:
        """A look at the cluster that is out of date blocks nothing."""
        before = await declared(state)
        saved = await state.clusters.save(before, Change(cluster=before.next_generation()))
        standing = (Standing(blocker=Blocker(code="lost", subject=A), since=NOW),)
        await state.clusters.stand(replace(before, blockers=standing))
        assert await loaded(state) == saved
