"""What every state store must do: a new backend subclasses the suites and gives the fixtures.

``state`` is an empty store; ``other`` is the same one as another process has it open; ``meddle``
runs one SQL statement in it, going around the program.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from rotator import failpoints
from rotator.domain.cluster import (
    Attestation,
    Blocker,
    Change,
    Cluster,
    Member,
    Proof,
    ReadFrom,
    Standing,
)
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import (
    ClusterName,
    ClusterUid,
    EpochNumber,
    Fence,
    Fingerprint,
    Generation,
    MasterName,
    NodeName,
    RotationId,
    VersionNumber,
)
from rotator.domain.rotation import Kind, Phase, Rotation
from rotator.domain.version import Origin, Stage, Version
from rotator.errors import FenceLost, InvariantViolated, RevisionConflict, StateUnavailable
from rotator.ports.state_store import ChainedFact, EmergencyRow, Receipt, TokenRow
from rotator.testing.factories import NOW, a_member, a_rotation, a_version

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.adapters.state.store import State

    Meddle = Callable[[str], Awaitable[None]]

ORDERS = ClusterName("orders")
PAYMENTS = ClusterName("payments")
A, B = NodeName("rabbit@a"), NodeName("rabbit@b")
UID = ClusterUid("0f" * 16)


def later(**passed: float) -> datetime:
    """NOW and a while."""
    return NOW + timedelta(**passed)


def a_fact(kind: FactKind = FactKind.MEMBER_ATTESTED, *, rotation: str | None = None) -> Fact:
    """A fact that may repeat, unless a rotation and another kind are named."""
    of = None if rotation is None else RotationId(rotation)
    return Fact(kind=kind, at=NOW, by="test", reason="because", rotation=of)


def a_receipt(key: str = "k1", *, at: datetime = NOW) -> Receipt:
    """An answer to the test's principal."""
    return Receipt(
        principal="token:1", key=key, request_hash="0" * 64, status=200, body="{}", at=at
    )


def full_attestation() -> Attestation:
    """One with every field set."""
    one, two = Fingerprint("f1:" + "1" * 32), Fingerprint("f1:" + "2" * 32)
    return Attestation(
        generation=Generation(41),
        at=later(seconds=1),
        read_from=ReadFrom.BOOT,
        holds={VersionNumber(11): one, VersionNumber(12): two},
        uses=VersionNumber(11),
        own=one,
        file=two,
        pins={B: one},
        boot_pins={B: two},
        refuses={VersionNumber(10): Proof.HANDSHAKE},
        accepts={VersionNumber(11): Proof.READ_BACK},
        locked_round=2,
        foreign_links=("intruder@x",),
        links={B: True, A: False},
        otp_release="25",
        agent="0.1.0",
        preflight=("umask",),
    )


def full_rotation() -> Rotation:
    """One with every field set, unfinished."""
    return Rotation(
        id=RotationId("0001-r"),
        cluster=ORDERS,
        kind=Kind.EMERGENCY,
        phase=Phase.LOCKING,
        from_version=VersionNumber(11),
        to_version=VersionNumber(12),
        epoch=EpochNumber(2),
        reason="an „Übung“ 🔥",
        by="token:1",
        started_at=NOW,
        entered_at=later(microseconds=1),
        entered_generation=Generation(41),
        ends_at=later(seconds=30),
        is_held=True,
        abort_requested=True,
        is_rollback=True,
        lock_round=2,
        may_have_been_read=(A,),
        revokes=(VersionNumber(11), VersionNumber(10)),
        supersedes=RotationId("0000-r"),
        excludes=(B,),
        emergency_id="e1",
    )


def full_cluster(before: Cluster) -> Cluster:
    """*before* with every field set to something else than its default."""
    imported = Version(
        number=VersionNumber(10),
        stage=Stage.REVOKED,
        origin=Origin.IMPORTED,
        epoch=None,
        created_at=NOW,
        fingerprint=Fingerprint("f1:" + "3" * 32),
    )
    versions = (imported, a_version(11, Stage.CURRENT), a_version(12, Stage.PENDING, epoch=2))
    member = Member(
        name=A,
        joined_at=NOW,
        last_seen=later(seconds=2),
        attestation=full_attestation(),
        is_admitted=True,
        has_left=True,
        is_excused=True,
    )
    standing = Standing(blocker=Blocker(code="lost", subject=A, detail="silent"), since=NOW)
    return replace(
        before,
        generation=Generation(41),
        uid=UID,
        is_initialised=True,
        is_declared=False,
        master=MasterName("default"),
        first_epoch=EpochNumber(1),
        versions={version.number: version for version in versions},
        rotation=full_rotation(),
        last_writer=RotationId("0000-r"),
        recent_starts=(NOW, later(minutes=1)),
        last_emergency_at=NOW,
        members={A: member, B: a_member(B)},
        blockers=(standing,),
    )


async def declared(state: State, *names: ClusterName) -> Cluster:
    """The first of these clusters, new in the store."""
    await state.clusters.declare(names or (ORDERS,), now=NOW)
    return await loaded(state, names[0] if names else ORDERS)


async def loaded(state: State, name: ClusterName = ORDERS) -> Cluster:
    """A cluster that is there."""
    cluster = await state.clusters.load(name)
    assert cluster is not None
    return cluster


async def history(state: State, name: ClusterName | None = ORDERS) -> list[ChainedFact]:
    """All facts of a cluster, oldest first."""
    return list(await state.clusters.facts(name, limit=1000))


@pytest.fixture
def failing() -> Iterator[Callable[[str], None]]:
    """Arms failpoints for one test."""
    yield failpoints.arm
    failpoints.arm("")


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
            blockers=(),
        )
        saved = await state.clusters.save(full, Change(cluster=bare, rotations=(ended,)))
        assert saved == replace(bare, revision=2)
        assert await loaded(other) == saved
        assert await other.clusters.rotation(ended.id) == ended

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


class HeartbeatContract:
    """What changes no revision is kept in step all the same."""

    async def test_last_seen_moves_forward_only(self, state: State, other: State) -> None:
        """A late flush does not make a member look more silent than it is."""
        before = await declared(state)
        crowd = replace(before, members={A: a_member(A), B: a_member(B)})
        saved = await state.clusters.save(before, Change(cluster=crowd))
        await loaded(other)
        await state.clusters.touch({(ORDERS, A): later(seconds=5), (ORDERS, B): later(days=-1)})
        await state.clusters.touch({(ORDERS, NodeName("rabbit@gone")): NOW})
        expected = saved.with_member(a_member(A, last_seen=later(seconds=5)))
        assert await loaded(state) == expected
        assert await loaded(other) == expected

    async def test_a_change_does_not_undo_a_heartbeat(self, state: State, other: State) -> None:
        """A save that began before a heartbeat was written keeps the later time."""
        before = await declared(state)
        crowd = replace(before, members={A: a_member(A), B: a_member(B)})
        saved = await state.clusters.save(before, Change(cluster=crowd))
        await state.clusters.touch({(ORDERS, A): later(seconds=5), (ORDERS, B): later(seconds=5)})
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


class ReceiptsContract:
    """A command that is repeated gets the answer that it got."""

    async def test_a_receipt_is_stored_with_its_change(self, state: State, other: State) -> None:
        """It is found by principal and key, and by nobody else."""
        before = await declared(state)
        await state.clusters.save(before, Change(cluster=before), receipt=a_receipt())
        assert await other.clusters.receipt("token:1", "k1", now=NOW) == a_receipt()
        assert await state.clusters.receipt("token:2", "k1", now=NOW) is None

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


class EpochsContract:
    """Numbers of epochs are given out once."""

    async def test_an_epoch_is_allocated_once_for_each_purpose(
        self, state: State, other: State
    ) -> None:
        """The same purpose gets the same number again, another one the next, per master."""
        default, spare = MasterName("default"), MasterName("spare")
        assert await state.epochs.allocate(default, "first") == 1
        assert await other.epochs.allocate(default, "r1") == 2
        assert await other.epochs.allocate(default, "first") == 1
        assert await state.epochs.allocate(spare, "first") == 1

    async def test_many_ask_at_the_same_time(self, state: State, other: State) -> None:
        """Numbers are gapless, and each purpose has one, however many ask."""
        asked = [(through, f"r{n}") for n in range(10) for through in (state, other)]
        numbers = await asyncio.gather(
            *(through.epochs.allocate(MasterName("m"), reason) for through, reason in asked)
        )
        assert sorted(numbers) == sorted([*range(1, 11)] * 2)
        assert numbers[0::2] == numbers[1::2]

    async def test_only_open_epochs_are_the_newest(self, state: State) -> None:
        """A number that was given out, and never seen in the secrets manager, is not used."""
        master = MasterName("default")
        assert await state.epochs.newest(master) is None
        for purpose in ("first", "r1", "r2"):
            await state.epochs.allocate(master, purpose)
        assert await state.epochs.newest(master) is None
        for number in (2, 1, 1):
            await state.epochs.mark_open(master, EpochNumber(number))
        newest = await state.epochs.newest(master)
        assert newest is not None
        assert (newest.number, newest.opened_for, newest.is_open) == (2, "r1", True)
        third = await state.epochs.get(master, EpochNumber(3))
        assert third is not None
        assert not third.is_open
        assert await state.epochs.get(master, EpochNumber(4)) is None


def a_token(number: int, **changes: object) -> TokenRow:
    """A token of an operator."""
    row = TokenRow(
        id=f"t{number}",
        digest=f"{number:064x}",
        role="operator",
        clusters=("orders", "payments"),
        nodes="rabbit@*",
        note="for the test",
        created_at=later(minutes=number),
        created_by="local",
        expires_at=later(days=90),
    )
    return replace(row, **changes)  # type: ignore[arg-type]


class TokensContract:
    """Tokens are looked up fresh, so that revoking works at once."""

    async def test_tokens_come_back_newest_first(self, state: State, other: State) -> None:
        """Every field survives."""
        for number in (1, 3, 2):
            await state.tokens.add(a_token(number))
        assert await other.tokens.all() == tuple(a_token(number) for number in (3, 2, 1))
        assert await other.tokens.find("t2") == a_token(2)
        assert await state.tokens.find("t9") is None

    async def test_a_revoked_token_is_revoked_everywhere_at_once(
        self, state: State, other: State
    ) -> None:
        """The first revocation counts, and its time is not moved by a second."""
        await state.tokens.add(a_token(1))
        assert await state.tokens.find("t1") == a_token(1)
        assert await other.tokens.revoke("t1", now=NOW)
        assert not await other.tokens.revoke("t1", now=later(hours=1))
        assert not await other.tokens.revoke("t9", now=NOW)
        assert await state.tokens.find("t1") == a_token(1, revoked_at=NOW)

    async def test_last_use_moves_forward(self, state: State) -> None:
        """A late flush does not make a token look less used than it is."""
        await state.tokens.add(a_token(1))
        for at in (later(hours=2), later(hours=1)):
            await state.tokens.used({"t1": at, "t9": at})
        assert await state.tokens.find("t1") == a_token(1, last_used_at=later(hours=2))

    async def test_a_token_id_is_used_once(self, state: State) -> None:
        """A second token cannot take the place of the first."""
        await state.tokens.add(a_token(1))
        with pytest.raises(InvariantViolated):
            await state.tokens.add(a_token(1, role="admin"))
        assert await state.tokens.find("t1") == a_token(1)


class EmergenciesContract:
    """An emergency over many clusters is written down once."""

    async def test_an_emergency_is_stored_once(self, state: State, other: State) -> None:
        """Adding it again changes nothing, whatever it says."""
        rows = ({"cluster": "orders", "rotation": "r1"}, {"cluster": "payments", "error": "x"})
        emergency = EmergencyRow(id="e1", at=NOW, by="token:1", reason="leak", rows=rows)
        await state.emergencies.add(emergency)
        await other.emergencies.add(replace(emergency, reason="other"))
        assert await state.emergencies.get("e1") == await other.emergencies.get("e1") == emergency
        assert await state.emergencies.get("e2") is None
