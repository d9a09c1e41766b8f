"""Which clusters are declared: all of them in a few statements, however many there are.

Everything here runs on a connection of the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, insert, select, update

from rotator.adapters.state import chain, rows
from rotator.adapters.state import tables as t
from rotator.domain.cluster import Cluster
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import ClusterName

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

_BY: Final = "configuration"


async def differing(
    connection: AsyncConnection, names: Collection[ClusterName]
) -> dict[ClusterName, bool]:
    """The clusters that are to be written so that *names* are declared, and whether each is new."""
    wanted, table = frozenset(names), t.clusters.c
    there = await connection.execute(select(table.name, table.is_declared))
    known = {ClusterName(name): is_declared for name, is_declared in there}
    found = {name: False for name in known if known[name] != (name in wanted)}
    return found | dict.fromkeys(sorted(wanted - known.keys()), True)


async def declare(
    connection: AsyncConnection,
    names: Collection[ClusterName],
    among: Iterable[ClusterName],
    *,
    at: datetime,
) -> Collection[ClusterName]:
    """Write those *among* them that still differ, with a fact each; returns which.

    The caller has the turn of each that is there, and that of facts.
    """
    found = await differing(connection, names)
    changed = {name: found[name] for name in among if name in found}
    heads = await chain.heads(connection, changed)
    facts = {name: _fact(name in names, at=at) for name in changed}
    after = await chain.append_to_each(connection, heads, facts)
    new = [
        {"revision": 0, "touched": 0, **rows.cluster_columns(Cluster(name=name))}
        | rows.head_columns(after[name])
        for name, is_new in changed.items()
        if is_new
    ]
    if new:
        await connection.execute(insert(t.clusters), new)
    kept = [
        {"which": name, "declared": name in names, "seq": after[name].seq, "hash": after[name].hash}
        for name, is_new in changed.items()
        if not is_new
    ]
    if kept:
        await connection.execute(_DECLARED, kept)
    return changed.keys()


_DECLARED: Final = (
    update(t.clusters)
    .where(t.clusters.c.name == bindparam("which"))
    .values(
        is_declared=bindparam("declared"),
        revision=t.clusters.c.revision + 1,
        facts_seq=bindparam("seq"),
        facts_hash=bindparam("hash"),
    )
)


def _fact(is_declared: bool, *, at: datetime) -> Fact:  # noqa: FBT001 - the one thing it says
    kind = FactKind.CLUSTER_DECLARED if is_declared else FactKind.CLUSTER_UNDECLARED
    return Fact(kind=kind, at=at, by=_BY)
