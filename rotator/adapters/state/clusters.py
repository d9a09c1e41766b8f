"""Clusters as aggregates, and their facts as hash chains, in SQL."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row, Table, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from rotator import failpoints
from rotator.adapters.state import tables as t
from rotator.adapters.state.database import now
from rotator.adapters.state.mapping import from_json, instant_to_text, to_json
from rotator.domain.cluster import GENESIS, Change, Cluster, Member, Standing
from rotator.domain.document import FactsHead
from rotator.domain.facts import Fact, FactKind
from rotator.domain.rotation import Rotation
from rotator.domain.version import Version
from rotator.errors import FenceLost, RevisionConflict, StateUnavailable
from rotator.ports.state_store import ChainedFact, Receipt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from rotator.adapters.state.database import Database
    from rotator.domain.ids import ClusterName, Fence, NodeName, RotationId

_KEY_LIFE: Final = timedelta(hours=24)
_SERVICE_CHAIN: Final = ""
#: Kept in tables and columns of their own.
_APART: Final = ("versions", "members", "rotation", "blockers", "facts_head", "revision")


def link(previous: str, body: str) -> str:
    """The hash of a fact: SHA-256 over the hash before it and its canonical JSON."""
    return hashlib.sha256(f"{previous}\n{body}".encode()).hexdigest()


def canonical(fact: Fact, chain: str, seq: int) -> str:
    """The fact as the text that is hashed."""
    return json.dumps(
        {"chain": chain, "seq": seq, **to_json(fact)},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )


class SqlClusterStates:
    """`ports.state_store.ClusterStates`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: dict[ClusterName, Cluster] = {}

    async def declare(self, names: Sequence[ClusterName], *, now: datetime) -> None:
        """See the port."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(select(t.clusters.c.name))
            known = {row[0] for row in rows}
        for name in names:
            if name not in known:
                await self._add(Cluster(name=name), now)
        for name in sorted(known):
            cluster = await self.load(name)
            if cluster is None or cluster.is_declared == (name in names):
                continue
            kind = FactKind.CLUSTER_DECLARED if name in names else FactKind.CLUSTER_UNDECLARED
            fact = Fact(kind=kind, at=now, by="configuration")
            await self._write(cluster, replace(cluster, is_declared=name in names), (fact,))

    async def _add(self, cluster: Cluster, at: datetime) -> None:
        fact = Fact(kind=FactKind.CLUSTER_DECLARED, at=at, by="configuration")
        async with self._database.transaction() as connection:
            head = await _append(connection, cluster.name, GENESIS, (fact,))
            await connection.execute(
                insert(t.clusters).values(
                    name=cluster.name,
                    revision=0,
                    body=_body(cluster),
                    blockers=[],
                    facts_seq=head.seq,
                    facts_hash=head.hash,
                )
            )

    async def _write(self, before: Cluster, after: Cluster, facts: tuple[Fact, ...]) -> None:
        await self.save(before, Change(cluster=after, facts=facts))

    async def names(self) -> tuple[ClusterName, ...]:
        """See the port."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(select(t.clusters.c.name).order_by(t.clusters.c.name))
            return tuple(row[0] for row in rows)

    async def load(self, name: ClusterName) -> Cluster | None:
        """See the port; a cluster that has not changed since is not read again."""
        table = t.clusters.c
        async with self._database.transaction() as connection:
            row = (
                await connection.execute(
                    select(table.revision, table.facts_seq).where(table.name == name)
                )
            ).first()
            if row is None:
                return None
            cached = self._cache.get(name)
            if cached is not None and (cached.revision, cached.facts_head.seq) == tuple(row):
                return cached
            self._cache[name] = await _read(connection, name)
            return self._cache[name]

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

    async def _save(
        self, before: Cluster, change: Change, *, fence: Fence | None, receipt: Receipt | None
    ) -> Cluster:
        name, after = before.name, change.cluster
        async with self._database.transaction() as connection:
            await _check_fence(connection, fence)
            table = t.clusters
            head = await _head(connection, name)
            head = await _append(connection, name, head, change.facts)
            written = await connection.execute(
                update(table)
                .where(table.c.name == name, table.c.revision == before.revision)
                .values(
                    revision=before.revision + 1,
                    body=_body(after),
                    blockers=to_json(after.blockers),
                    facts_seq=head.seq,
                    facts_hash=head.hash,
                )
            )
            if written.rowcount != 1:
                raise RevisionConflict
            await _write_parts(connection, before, after, change.rotations)
            if receipt is not None:
                await _write_receipt(connection, receipt)
        saved = replace(after, revision=before.revision + 1, facts_head=head)
        self._cache[name] = saved
        return saved

    async def touch(self, seen: Mapping[tuple[ClusterName, NodeName], datetime]) -> None:
        """See the port."""
        table = t.members
        async with self._database.transaction() as connection:
            for (cluster, node), at in seen.items():
                later = instant_to_text(at)
                await connection.execute(
                    update(table)
                    .where(
                        table.c.cluster == cluster,
                        table.c.name == node,
                        table.c.last_seen < later,
                    )
                    .values(last_seen=later)
                )
        for (cluster, node), at in seen.items():
            cached = self._cache.get(cluster)
            member = cached.members.get(node) if cached else None
            if cached is not None and member is not None and member.last_seen < at:
                self._cache[cluster] = cached.with_member(replace(member, last_seen=at))

    async def stand(self, cluster: Cluster) -> None:
        """See the port."""
        table = t.clusters
        async with self._database.transaction() as connection:
            written = await connection.execute(
                update(table)
                .where(table.c.name == cluster.name, table.c.revision == cluster.revision)
                .values(blockers=to_json(cluster.blockers))
            )
        cached = self._cache.get(cluster.name)
        if written.rowcount and cached is not None and cached.revision == cluster.revision:
            self._cache[cluster.name] = replace(cached, blockers=cluster.blockers)

    async def rotation(self, rotation_id: RotationId) -> Rotation | None:
        """See the port."""
        table = t.rotations.c
        async with self._database.transaction() as connection:
            row = await connection.execute(select(table.body).where(table.id == rotation_id))
            body = row.scalar()
        return None if body is None else from_json(Rotation, body)

    async def rotations(
        self,
        cluster: ClusterName | None,
        *,
        before: str | None = None,
        limit: int = 50,
        emergency_id: str | None = None,
    ) -> tuple[Rotation, ...]:
        """See the port; ids sort by time."""
        table = t.rotations.c
        query = select(table.body).order_by(table.id.desc()).limit(limit)
        if cluster is not None:
            query = query.where(table.cluster == cluster)
        if before is not None:
            query = query.where(table.id < before)
        if emergency_id is not None:
            query = query.where(table.emergency_id == emergency_id)
        async with self._database.transaction() as connection:
            return tuple(from_json(Rotation, row[0]) for row in await connection.execute(query))

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
        table = t.facts.c
        order = table.position.desc() if newest_first else table.position
        query = select(t.facts).order_by(order).limit(limit)
        if after:
            query = query.where(table.position < after if newest_first else table.position > after)
        if cluster is not None:
            query = query.where(table.chain == cluster)
        if rotation is not None:
            query = query.where(table.rotation == rotation)
        async with self._database.transaction() as connection:
            return tuple(_chained(row) for row in await connection.execute(query))

    async def add_fact(self, fact: Fact, *, cluster: ClusterName | None = None) -> None:
        """See the port."""
        chain = cluster or _SERVICE_CHAIN
        async with self._database.transaction() as connection:
            head = await _head(connection, chain)
            head = await _append(connection, chain, head, (fact,))
            await connection.execute(
                update(t.clusters)
                .where(t.clusters.c.name == chain)
                .values(facts_seq=head.seq, facts_hash=head.hash)
            )

    async def broken_link(self, cluster: ClusterName | None) -> int | None:
        """The seq of the first fact that is not what was written, or is missing; None if none."""
        chain = cluster or _SERVICE_CHAIN
        table = t.facts.c
        previous = GENESIS
        async with self._database.transaction() as connection:
            rows = await connection.execute(
                select(t.facts).where(table.chain == chain).order_by(table.seq)
            )
            for row in rows:
                expected = previous.seq + 1
                body = json.loads(row.body)
                is_ours = body.get("seq") == row.seq == expected and body.get("chain") == chain
                if not is_ours or row.hash != link(previous.hash, row.body):
                    return expected
                previous = FactsHead(seq=row.seq, hash=row.hash)
        return None

    async def receipt(self, principal: str, key: str, *, now: datetime) -> Receipt | None:
        """See the port."""
        table = t.idempotency_keys.c
        since = instant_to_text(now - _KEY_LIFE)
        query = select(t.idempotency_keys).where(
            table.principal == principal, table.key == key, table.at > since
        )
        async with self._database.transaction() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else from_json(Receipt, dict(row))

    async def now(self) -> datetime:
        """See the port."""
        return now()


def _body(cluster: Cluster) -> dict[str, Any]:
    return {name: value for name, value in to_json(cluster).items() if name not in _APART}


async def _read(connection: AsyncConnection, name: ClusterName) -> Cluster:
    row = (await connection.execute(select(t.clusters).where(t.clusters.c.name == name))).one()
    versions = await connection.execute(
        select(t.versions.c.body).where(t.versions.c.cluster == name).order_by(t.versions.c.number)
    )
    members = await connection.execute(
        select(t.members.c.body, t.members.c.last_seen).where(t.members.c.cluster == name)
    )
    unfinished = await connection.execute(
        select(t.rotations.c.body).where(
            t.rotations.c.cluster == name, t.rotations.c.finished_at.is_(None)
        )
    )
    rotation = unfinished.scalar()
    return replace(
        from_json(Cluster, row.body),
        revision=row.revision,
        versions={v.number: v for v in (from_json(Version, body) for (body,) in versions)},
        members={
            m.name: m
            for m in (
                from_json(Member, {**body, "last_seen": last_seen}) for body, last_seen in members
            )
        },
        rotation=None if rotation is None else from_json(Rotation, rotation),
        blockers=tuple(from_json(Standing, standing) for standing in row.blockers),
        facts_head=FactsHead(seq=row.facts_seq, hash=row.facts_hash),
    )


async def _check_fence(connection: AsyncConnection, fence: Fence | None) -> None:
    if fence is None:
        return
    newest = (await connection.execute(select(t.lease.c.fence))).scalar()
    if newest != fence:
        raise FenceLost


async def _head(connection: AsyncConnection, chain: str) -> FactsHead:
    table = t.facts.c
    row = (
        await connection.execute(
            select(table.seq, table.hash)
            .where(table.chain == chain)
            .order_by(table.seq.desc())
            .limit(1)
        )
    ).first()
    return GENESIS if row is None else FactsHead(seq=row.seq, hash=row.hash)


async def _append(
    connection: AsyncConnection, chain: str, head: FactsHead, facts: Iterable[Fact]
) -> FactsHead:
    for fact in facts:
        if fact.once_key is not None and await _is_there(connection, chain, fact.once_key):
            continue
        body = canonical(fact, chain, head.seq + 1)
        head = FactsHead(seq=head.seq + 1, hash=link(head.hash, body))
        await connection.execute(
            insert(t.facts).values(
                chain=chain,
                seq=head.seq,
                kind=fact.kind.value,
                rotation=fact.rotation,
                once_key=fact.once_key,
                body=body,
                hash=head.hash,
            )
        )
    return head


async def _is_there(connection: AsyncConnection, chain: str, once_key: str) -> bool:
    table = t.facts.c
    found = await connection.execute(
        select(table.position).where(table.chain == chain, table.once_key == once_key)
    )
    return found.first() is not None


async def _write_parts(
    connection: AsyncConnection, before: Cluster, after: Cluster, rotations: Iterable[Rotation]
) -> None:
    name = before.name
    for number, version in after.versions.items():
        if before.versions.get(number) != version:
            values = {"stage": version.stage.value, "body": to_json(version)}
            await _put(connection, t.versions, {"cluster": name, "number": number}, values)
    for node, member in after.members.items():
        if before.members.get(node) != member:
            values = {"last_seen": instant_to_text(member.last_seen), "body": to_json(member)}
            await _put(connection, t.members, {"cluster": name, "name": node}, values)
    for node in before.members.keys() - after.members.keys():
        table = t.members
        await connection.execute(delete(table).where(table.c.cluster == name, table.c.name == node))
    for rotation in rotations:
        body = to_json(rotation)
        values = {
            "cluster": name,
            "phase": rotation.phase.value,
            "emergency_id": rotation.emergency_id,
            "finished_at": body["finished_at"],
            "body": body,
        }
        await _put(connection, t.rotations, {"id": rotation.id}, values)


async def _put(
    connection: AsyncConnection, table: Table, key: dict[str, Any], values: dict[str, Any]
) -> None:
    await connection.execute(
        upsert(table)
        .values(**key, **values)
        .on_conflict_do_update(index_elements=list(key), set_=values)
    )


async def _write_receipt(connection: AsyncConnection, receipt: Receipt) -> None:
    table = t.idempotency_keys
    expired = instant_to_text(receipt.at - _KEY_LIFE)
    await connection.execute(delete(table).where(table.c.at <= expired))
    await connection.execute(insert(table).values(**to_json(receipt)))


def _chained(row: Row[Any]) -> ChainedFact:
    body = json.loads(row.body)
    return ChainedFact(
        cluster=row.chain or None,
        seq=row.seq,
        position=row.position,
        fact=from_json(Fact, body),
        hash=row.hash,
    )
