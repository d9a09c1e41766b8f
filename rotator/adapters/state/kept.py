"""Which aggregate in memory is still that of the database, and what the next write goes by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from rotator.adapters.state.tables import clusters
from rotator.domain.document import FactsHead

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import ClusterName


class Stamp(NamedTuple):
    """Whatever changes a cluster, by whichever process, changes one of these.

    The head is there with its hash: counters come again where an old database was put back.
    """

    revision: int
    touched: int
    head: FactsHead


class Kept:
    """The last aggregate of each cluster, usable while its row has the stamp it was read with."""

    def __init__(self) -> None:
        self._clusters: dict[ClusterName, tuple[Stamp, Cluster]] = {}

    def exact(self, name: ClusterName, stamp: Stamp) -> Cluster | None:
        """What lies in the database under this stamp, if it is known."""
        known, cluster = self._clusters.get(name, (None, None))
        return cluster if known == stamp else None

    def keep(self, cluster: Cluster, stamp: Stamp) -> None:
        """This is what lies in the database under this stamp."""
        self._clusters[cluster.name] = stamp, cluster


async def find_place(connection: AsyncConnection, name: ClusterName) -> Stamp | None:
    """Where a cluster stands; None if there is no such cluster."""
    return (await find_places(connection, (name,))).get(name)


async def find_places(
    connection: AsyncConnection, names: Collection[ClusterName]
) -> dict[ClusterName, Stamp]:
    """Where each of these clusters stands, but those that are not there."""
    table = clusters.c
    found = await connection.execute(
        select(
            table.name,
            table.revision,
            table.touched,
            table.facts_seq,
            table.facts_hash,
        ).where(table.name.in_(names))
    )
    return {
        row.name: Stamp(
            row.revision, row.touched, FactsHead(seq=row.facts_seq, hash=row.facts_hash)
        )
        for row in found
    }


def as_stored(exact: Cluster, before: Cluster, saved: Cluster) -> Cluster:
    """*saved* with each member's last_seen as it lies in the database.

    Callers see members with heartbeats that are not written yet, or miss ones that just were.
    """
    members = {}
    for name, member in saved.members.items():
        stored = exact.members.get(name)
        if stored is None:
            members[name] = member
        elif before.members.get(name) == member:
            members[name] = stored
        else:
            members[name] = replace(member, last_seen=max(stored.last_seen, member.last_seen))
    return replace(saved, members=members)
