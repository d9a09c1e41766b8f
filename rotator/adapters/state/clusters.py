"""Clusters as aggregates, and their history, in SQL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from rotator import failpoints
from rotator.adapters.state import (
    chain,
    declarations,
    listings,
    news,
    receipts,
    rows,
    verification,
)
from rotator.adapters.state import tables as t
from rotator.adapters.state.batch import Batch
from rotator.adapters.state.database import FACTS, RECEIPTS, about, undisturbed
from rotator.adapters.state.kept import (
    Kept,
    Stamp,
    as_stored,
    find_place,
    find_places,
)
from rotator.adapters.state.lease import require_fence
from rotator.adapters.state.mapping import from_json, to_json
from rotator.domain.cluster import GENESIS, Change, Cluster
from rotator.domain.document import FactsHead
from rotator.domain.facts import Fact
from rotator.domain.ids import ClusterName
from rotator.domain.rotation import Rotation
from rotator.errors import RevisionConflict, StateUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from rotator.adapters.state.database import Database
    from rotator.domain.ids import Fence, NodeName, RotationId
    from rotator.ports.state_store import ChainedFact, Receipt


class SqlClusterStates:
    """`ports.state_store.ClusterStates`.

    The last aggregate of each cluster stays in memory, and is used while its row still has the
    stamp that it was read with.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept = Kept()
        self._places: Batch[ClusterName, Stamp] = Batch(database, find_places)

    @undisturbed
    async def declare(self, names: Collection[ClusterName], *, now: datetime) -> None:
        """See the port."""
        async with self._database.glance() as connection:
            differing = await declarations.differing(connection, names)
        if not differing:
            return
        # What is new has no writers yet but those who add a fact.
        known = [about(name) for name, is_new in differing.items() if not is_new]
        async with self._database.transaction(*known, FACTS) as connection:
            for name in await declarations.declare(connection, names, differing, at=now):
                await self._database.tell(connection, news.of(name))

    @undisturbed
    async def names(self) -> tuple[ClusterName, ...]:
        """See the port."""
        async with self._database.glance() as connection:
            found = await connection.execute(select(t.clusters.c.name).order_by(t.clusters.c.name))
            return tuple(ClusterName(name) for (name,) in found)

    @undisturbed
    async def load(self, name: ClusterName) -> Cluster | None:
        """See the port; a cluster that has not changed since is not read again."""
        place = await self._places.find(name)
        if place is None:
            return None
        return self._kept.exact(name, place) or await self._read(name)

    async def _read(self, name: ClusterName) -> Cluster | None:
        async with self._database.reading() as connection:
            place = await find_place(connection, name)
            if place is None:
                return None
            cluster = await rows.read_cluster(connection, name)
        self._kept.keep(cluster, place)
        return cluster

    async def save(
        self,
        before: Cluster,
        change: Change,
        *,
        line: str = "",
        fence: Fence | None = None,
        receipt: Receipt | None = None,
    ) -> Cluster:
        """See the port."""
        try:
            if line:
                failpoints.hit(line, "before")
            saved = await self._save(before, change, fence=fence, receipt=receipt)
            if line:
                failpoints.hit(line, "after")
                failpoints.hit(line, "lost")
        except failpoints.AnswerLost as lost:
            raise StateUnavailable(str(lost)) from None
        return saved

    @undisturbed
    async def _save(
        self, before: Cluster, change: Change, *, fence: Fence | None, receipt: Receipt | None
    ) -> Cluster:
        name, revision = before.name, before.revision + 1
        subjects = [about(name)]
        subjects += [FACTS] if change.facts else []
        subjects += [RECEIPTS] if receipt is not None else []
        async with self._database.transaction(*subjects) as connection:
            if fence is not None:
                await require_fence(connection, fence)
            place = await find_place(connection, name)
            if place is None or place.revision != before.revision:
                raise RevisionConflict
            head = await chain.append(connection, name, after=place.head, new=change.facts)
            columns = rows.cluster_columns(change.cluster) | rows.head_columns(head)
            written = await connection.execute(
                update(t.clusters)
                .where(t.clusters.c.name == name, t.clusters.c.revision == before.revision)
                .values(revision=revision, **columns)
            )
            if written.rowcount != 1:
                raise RevisionConflict
            await rows.write_parts(connection, before, change)
            if receipt is not None:
                await receipts.add(connection, receipt)
            await self._database.tell(connection, news.of(name))
        saved = replace(change.cluster, revision=revision, facts_head=head)
        exact = self._kept.exact(name, place)
        if exact is None:
            return saved
        saved = as_stored(exact, before, saved)
        self._kept.keep(saved, Stamp(revision, place.touched, head))
        return saved

    @undisturbed
    async def touch(self, seen: Mapping[ClusterName, Mapping[NodeName, datetime]]) -> None:
        """See the port."""
        async with self._database.transaction(*map(about, seen)) as connection:
            await rows.touch_members(connection, seen)

    @undisturbed
    async def stand(self, cluster: Cluster, *, fence: Fence | None = None) -> None:
        """See the port."""
        table, name = t.clusters, cluster.name
        async with self._database.transaction(about(name)) as connection:
            if fence is not None:
                await require_fence(connection, fence)
            place = await find_place(connection, name)
            if place is None or place.revision != cluster.revision:
                return
            stamp = place._replace(touched=place.touched + 1)
            await connection.execute(
                update(table)
                .where(table.c.name == name, table.c.revision == cluster.revision)
                .values(blockers=to_json(cluster.blockers), touched=stamp.touched)
            )
        exact = self._kept.exact(name, place)
        if exact is not None:
            standing = replace(exact, blockers=cluster.blockers)
            self._kept.keep(standing, stamp)

    @undisturbed
    async def rotation(self, rotation_id: RotationId) -> Rotation | None:
        """See the port."""
        query = select(t.rotations.c.body).where(t.rotations.c.id == rotation_id)
        async with self._database.glance() as connection:
            body = (await connection.execute(query)).scalar()
        return None if body is None else from_json(Rotation, body)

    @undisturbed
    async def rotations(
        self,
        cluster: ClusterName | None,
        *,
        before: str | None = None,
        limit: int = 50,
        emergency_id: str | None = None,
    ) -> tuple[Rotation, ...]:
        """See the port; nothing comes before an id that there never was."""
        query = listings.rotations(cluster, before=before, limit=limit, emergency_id=emergency_id)
        async with self._database.glance() as connection:
            return tuple(from_json(Rotation, body) for body in await connection.scalars(query))

    @undisturbed
    async def facts(
        self,
        cluster: ClusterName | None,
        *,
        after: int = 0,
        limit: int = 100,
        rotation: RotationId | None = None,
        newest_first: bool = False,
    ) -> tuple[ChainedFact, ...]:
        """See the port."""
        query = listings.facts(
            cluster, after=after, limit=limit, rotation=rotation, newest_first=newest_first
        )
        async with self._database.glance() as connection:
            return tuple(chain.chained(row) for row in await connection.execute(query))

    @undisturbed
    async def holds(self, cluster: ClusterName, head: FactsHead) -> bool:
        """See the port."""
        if head == GENESIS:
            return True
        async with self._database.glance() as connection:
            return await chain.has_link(connection, cluster, head)

    @undisturbed
    async def add_fact(self, fact: Fact, *, cluster: ClusterName | None = None) -> None:
        """See the port."""
        name = cluster or chain.SERVICE
        async with self._database.transaction(about(name), FACTS) as connection:
            head = await chain.head(connection, name)
            head = await chain.append(connection, name, after=head, new=(fact,))
            await connection.execute(
                update(t.clusters).where(t.clusters.c.name == name).values(rows.head_columns(head))
            )

    @undisturbed
    async def broken_link(
        self, cluster: ClusterName | None, *, kept: FactsHead | None = None
    ) -> int | None:
        """The seq of the first fact that is not what was written, or is missing; None if none.

        *kept*: a head of this chain that was kept elsewhere (in the secrets manager).
        """
        async with self._database.reading() as connection:
            return await verification.first_broken(connection, cluster or chain.SERVICE, kept=kept)

    @undisturbed
    async def keep(self, receipt: Receipt) -> None:
        """See the port."""
        async with self._database.transaction(RECEIPTS) as connection:
            await receipts.add(connection, receipt)

    @undisturbed
    async def receipt(self, principal: str, key: str, *, now: datetime) -> Receipt | None:
        """See the port."""
        async with self._database.glance() as connection:
            return await receipts.find(connection, principal, key, now=now)

    async def now(self) -> datetime:
        """See the port."""
        return await self._database.now()
