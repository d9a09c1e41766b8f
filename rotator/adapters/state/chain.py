"""Facts as hash chains: one per cluster, and one for the whole service.

Each link is the SHA-256 of the link before it and the fact's canonical JSON, in which its
cluster and its place stand; so an edit, a gap and an exchange are found from within. A tail that
was cut off is found by a head that was kept elsewhere: in the cluster's row, and in the document
in the secrets manager.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Row, insert, select

from rotator.adapters.state.mapping import from_json, to_json
from rotator.adapters.state.tables import clusters, facts
from rotator.domain.cluster import GENESIS
from rotator.domain.document import FactsHead
from rotator.domain.facts import Fact
from rotator.domain.ids import ClusterName
from rotator.ports.state_store import ChainedFact

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

_C = TypeVar("_C", bound=str)

SERVICE: Final = ""  #: the chain of facts that are about no cluster


def link(previous: str, body: str) -> str:
    """The hash of a fact: SHA-256 over the hash before it and its canonical JSON."""
    return hashlib.sha256(f"{previous}\n{body}".encode()).hexdigest()


def canonical(fact: Fact, *, chain: str, seq: int) -> str:
    """The fact as the text that is hashed."""
    return json.dumps(
        {"chain": chain, "seq": seq, **to_json(fact)},
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )


async def head(connection: AsyncConnection, chain: str) -> FactsHead:
    """The newest link; the cluster's row knows it even where somebody has deleted facts."""
    row = (
        await connection.execute(
            select(clusters.c.facts_seq, clusters.c.facts_hash).where(clusters.c.name == chain)
        )
    ).first()
    if row is None:
        newest = select(facts.c.seq, facts.c.hash).where(facts.c.chain == chain)
        row = (await connection.execute(newest.order_by(facts.c.seq.desc()).limit(1))).first()
    return GENESIS if row is None else FactsHead(seq=row[0], hash=row[1])


async def heads(connection: AsyncConnection, chains: Collection[str]) -> dict[str, FactsHead]:
    """As `head`, of many clusters' chains at once."""
    newest = select(facts.c.chain, facts.c.seq, facts.c.hash).order_by(facts.c.seq)
    rows = select(clusters.c.name, clusters.c.facts_seq, clusters.c.facts_hash)
    known = list(await connection.execute(rows.where(clusters.c.name.in_(chains))))
    apart = set(chains) - {name for name, _, _ in known}
    known += await connection.execute(newest.where(facts.c.chain.in_(apart)))
    return dict.fromkeys(chains, GENESIS) | {
        chain: FactsHead(seq=seq, hash=link) for chain, seq, link in known
    }


async def has_link(connection: AsyncConnection, chain: str, sought: FactsHead) -> bool:
    """Whether the chain has this link."""
    query = select(facts.c.hash).where(facts.c.chain == chain, facts.c.seq == sought.seq)
    return (await connection.execute(query)).scalar() == sought.hash


async def append(
    connection: AsyncConnection, chain: str, *, after: FactsHead, new: Sequence[Fact]
) -> FactsHead:
    """Add those facts that are not there yet; returns the new head."""
    newest, added = after, []
    there = await _once_keys(connection, chain, new)
    for fact in new:
        if fact.once_key in there:
            continue
        there.update({fact.once_key} - {None})
        newest, row = _next(chain, newest, fact)
        added.append(row)
    if added:
        await connection.execute(insert(facts), added)
    return newest


async def append_to_each(
    connection: AsyncConnection, after: Mapping[str, FactsHead], new: Mapping[_C, Fact]
) -> dict[_C, FactsHead]:
    """Add one fact to each of these chains, in one statement; returns the new heads."""
    added = {chain: _next(chain, after[chain], fact) for chain, fact in new.items()}
    if added:
        await connection.execute(insert(facts), [row for _, row in added.values()])
    return {chain: head for chain, (head, _) in added.items()}


def _next(chain: str, after: FactsHead, fact: Fact) -> tuple[FactsHead, dict[str, object]]:
    body = canonical(fact, chain=chain, seq=after.seq + 1)
    newest = FactsHead(seq=after.seq + 1, hash=link(after.hash, body))
    columns = {"kind": fact.kind.value, "rotation": fact.rotation, "once_key": fact.once_key}
    return newest, {"chain": chain, "seq": newest.seq, "body": body, "hash": newest.hash} | columns


async def _once_keys(
    connection: AsyncConnection, chain: str, new: Sequence[Fact]
) -> set[str | None]:
    """Which of the facts' keys are in the chain."""
    keys = [fact.once_key for fact in new if fact.once_key is not None]
    if not keys:
        return set()
    query = select(facts.c.once_key).where(facts.c.chain == chain, facts.c.once_key.in_(keys))
    return set(await connection.scalars(query))


def chained(row: Row[Any]) -> ChainedFact:
    """A row as a fact."""
    return ChainedFact(
        cluster=ClusterName(row.chain) if row.chain else None,
        seq=row.seq,
        position=row.position,
        fact=from_json(Fact, json.loads(row.body)),
        hash=row.hash,
    )
