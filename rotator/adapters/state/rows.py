"""A cluster as rows of four tables. Everything here runs inside a transaction of the caller's."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, case, delete, insert, select, update

from rotator.adapters.state import tables as t
from rotator.adapters.state.mapping import from_json, instant_to_text, to_json
from rotator.domain.claim import Claim
from rotator.domain.cluster import Cluster, Member
from rotator.domain.document import FactsHead
from rotator.domain.rotation import Rotation
from rotator.domain.version import Version
from rotator.errors import InvariantViolated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import BindParameter, ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from rotator.domain.cluster import Change
    from rotator.domain.ids import ClusterName, NodeName

#: Kept in tables of their own, or written by whoever knows their next value.
_APART: Final = ("versions", "members", "claims", "rotation", "facts_head", "revision")
_FOUND: Final = ("id", "cluster", "kind", "phase", "started_at", "finished_at", "emergency_id")


def cluster_columns(cluster: Cluster) -> dict[str, Any]:
    """The cluster's own columns, without revision and head of facts."""
    names = (field.name for field in fields(cluster) if field.name not in _APART)
    return {name: to_json(getattr(cluster, name)) for name in names}


def head_columns(head: FactsHead) -> dict[str, Any]:
    """The head of the cluster's facts, as columns of its row."""
    return {"facts_seq": head.seq, "facts_hash": head.hash}


async def recovered_from(connection: AsyncConnection, name: ClusterName) -> FactsHead | None:
    """The head of the document that `recover` took the cluster up from."""
    query = select(t.clusters.c.recovered_from).where(t.clusters.c.name == name)
    found = (await connection.execute(query)).scalar()
    return None if found is None else from_json(FactsHead, found)


async def read_cluster(connection: AsyncConnection, name: ClusterName) -> Cluster:
    """The aggregate; the cluster must be there."""
    row = (await connection.execute(select(t.clusters).where(t.clusters.c.name == name))).one()
    versions = await connection.execute(
        select(t.versions).where(t.versions.c.cluster == name).order_by(t.versions.c.number)
    )
    members = await connection.execute(
        select(t.members).where(t.members.c.cluster == name).order_by(t.members.c.name)
    )
    claims = await connection.execute(
        select(t.claims).where(t.claims.c.cluster == name).order_by(t.claims.c.token)
    )
    unfinished = await connection.execute(
        select(t.rotations.c.body).where(
            t.rotations.c.cluster == name, t.rotations.c.finished_at.is_(None)
        )
    )
    rotation = unfinished.scalar()
    return replace(
        from_json(Cluster, row._mapping),  # noqa: SLF001 - SQLAlchemy's public name for it
        versions={v.number: v for v in (from_json(Version, r) for r in versions.mappings())},
        members={m.name: m for m in (from_json(Member, r) for r in members.mappings())},
        claims={c.id: c for c in (from_json(Claim, r) for r in claims.mappings())},
        rotation=None if rotation is None else from_json(Rotation, rotation),
        facts_head=FactsHead(seq=row.facts_seq, hash=row.facts_hash),
    )


async def write_parts(connection: AsyncConnection, before: Cluster, change: Change) -> None:
    """Those versions, members, claims and rotations that *change* makes different from *before*."""
    await _write_versions(connection, before, change.cluster)
    await _write_members(connection, before, change.cluster)
    await _write_claims(connection, before, change.cluster)
    # What ends comes first: one unfinished rotation per cluster holds for each statement.
    rotations = sorted(_changed_rotations(before, change), key=lambda one: not one.is_finished)
    for rotation in rotations:
        await _write_rotation(connection, rotation)


async def _write_versions(connection: AsyncConnection, before: Cluster, after: Cluster) -> None:
    table = t.versions
    if not before.versions.keys() <= after.versions.keys():
        raise InvariantViolated("a version that was numbered once is kept for good")
    for number, version in after.versions.items():
        if number not in before.versions:
            values = to_json(version)
            await connection.execute(insert(table).values(cluster=before.name, **values))
        elif before.versions[number] != version:
            where = (table.c.cluster == before.name, table.c.number == number)
            await connection.execute(update(table).where(*where).values(to_json(version)))


async def _write_members(connection: AsyncConnection, before: Cluster, after: Cluster) -> None:
    table = t.members
    for node in before.members.keys() - after.members.keys():
        await connection.execute(delete(table).where(*_member(before.name, node)))
    joined = [member for node, member in after.members.items() if node not in before.members]
    if joined:
        values = [{"cluster": before.name, **to_json(member)} for member in joined]
        await connection.execute(insert(table), values)
    for node, member in after.members.items():
        if node in before.members and before.members[node] != member:
            seen = {"last_seen": later(table.c.last_seen, member.last_seen)}
            where = _member(before.name, node)
            await connection.execute(update(table).where(*where).values(to_json(member) | seen))


def _member(cluster: ClusterName, node: NodeName) -> tuple[ColumnElement[bool], ...]:
    return t.members.c.cluster == cluster, t.members.c.name == node


async def _write_claims(connection: AsyncConnection, before: Cluster, after: Cluster) -> None:
    table, was = t.claims, before.claims
    # What ends comes first: one open claim per node holds for each statement.
    changed = [claim for key, claim in after.claims.items() if key in was and was[key] != claim]
    for claim in changed:
        where = (table.c.cluster == before.name, table.c.id == claim.id)
        await connection.execute(update(table).where(*where).values(to_json(claim)))
    for key in was.keys() - after.claims.keys():
        where = (table.c.cluster == before.name, table.c.id == key)
        await connection.execute(delete(table).where(*where))
    taken = [claim for key, claim in after.claims.items() if key not in was]
    if taken:
        values = [{"cluster": before.name, **to_json(claim)} for claim in taken]
        await connection.execute(insert(table), values)


def later(column: ColumnElement[str], at: datetime) -> ColumnElement[str]:
    """The later of what is stored and *at*: a heartbeat may have come in between."""
    text = instant_to_text(at)
    return case((column > text, column), else_=text)


def _changed_rotations(before: Cluster, change: Change) -> Iterable[Rotation]:
    changed = {rotation.id: rotation for rotation in change.rotations}
    was, now = before.rotation, change.cluster.rotation
    if now is not None and now != was:
        changed.setdefault(now.id, now)
    if was is not None and (now is None or now.id != was.id) and was.id not in changed:
        raise InvariantViolated(f"rotation {was.id} would be left without an end")
    return changed.values()


async def _write_rotation(connection: AsyncConnection, rotation: Rotation) -> None:
    table, body = t.rotations, to_json(rotation)
    values = {name: body[name] for name in _FOUND} | {"body": body}
    written = await connection.execute(
        update(table).where(table.c.id == rotation.id).values(values)
    )
    if written.rowcount == 0:
        await connection.execute(insert(table).values(values))


async def touch_members(
    connection: AsyncConnection, seen: Mapping[ClusterName, Mapping[NodeName, datetime]]
) -> None:
    """Move each last_seen forward; nodes that are no members are passed over."""
    heard = [
        {"which": name, "node": node, "at": instant_to_text(at)}
        for name, nodes in seen.items()
        for node, at in nodes.items()
    ]
    await connection.execute(_HEARD, heard)
    touched = update(t.clusters).where(t.clusters.c.name.in_(seen))
    await connection.execute(touched.values(touched=t.clusters.c.touched + 1))


_AT: Final[BindParameter[str]] = bindparam("at")
_HEARD: Final = (
    update(t.members)
    .where(t.members.c.cluster == bindparam("which"), t.members.c.name == bindparam("node"))
    .where(t.members.c.last_seen < _AT)
    .values(last_seen=_AT)
)
