"""Whether one of the stores is lost or an old copy: the decisions of `recover`, and nothing done."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from rotator.domain import recovery
from rotator.domain.agreement import view
from rotator.domain.cluster import Cluster
from rotator.domain.findings import Finding
from rotator.domain.recovery import Need
from rotator.ports.records import Records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rotator.domain.document import ClusterDocument, FactsHead
    from rotator.domain.ids import ClusterName
    from rotator.ports.cookie_store import CookieStore

_AT_ONCE: Final = 8  #: documents; a call's time begins before it has a thread
_NEVER: Final = datetime.min.replace(tzinfo=UTC)  #: there is no database, and so no clock of it


class Read(Protocol):
    """Reads the state store; None: there is none."""

    async def __call__(self, heads: Mapping[ClusterName, FactsHead], /) -> Records | None:
        """With `native` of those *heads*."""
        ...


async def standing(
    cookies: CookieStore, names: Sequence[ClusterName], *, read: Read
) -> frozenset[Finding]:
    """What two looks find of these clusters.

    A service that writes meanwhile looks like a loss in one of them. Raises `SecretStoreError`,
    `StateStoreError`.
    """
    found = await _seen(cookies, names, read=read)
    if not found:
        return found
    again = [name for name in names if any(one.subject == name for one in found)]
    return found & await _seen(cookies, again, read=read)


async def _seen(
    cookies: CookieStore, names: Sequence[ClusterName], *, read: Read
) -> frozenset[Finding]:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def document(name: ClusterName) -> ClusterDocument | None:
        async with slots:
            stored = await cookies.read(name)
        return None if stored is None else stored.document

    # Documents first: what one ends in was written to the state store before it.
    documents = dict(zip(names, await asyncio.gather(*map(document, names)), strict=True))
    heads = {name: one.stamp.facts_head for name, one in documents.items() if one is not None}
    return frozenset(look(await read(heads) or Records(now=_NEVER), documents))


def look(
    records: Records, documents: Mapping[ClusterName, ClusterDocument | None]
) -> Iterator[Finding]:
    """One finding for each of these clusters that `recover` or `rederive` would do something about."""
    known = {one.name: one for one in records.clusters}
    for name, document in documents.items():
        cluster = known.get(name, Cluster(name=name))
        found = _find(cluster, document, is_native=name in records.native)
        if found.need in {Need.REBUILD, Need.STAMP}:
            yield Finding(code="state_store_lost", subject=name, detail=found.why)
        elif found.need is Need.REFUSED and document is None:
            yield Finding(code="document_missing", subject=name)
        elif found.need is Need.REFUSED and not _is_frozen(cluster):
            yield Finding(code="cluster_frozen", subject=name, detail=found.why)


def _find(
    cluster: Cluster, document: ClusterDocument | None, *, is_native: bool
) -> recovery.Finding:
    if document is None:
        return recovery.find(cluster, None, is_native=True)
    knows_more = not is_native and document.stamp.facts_head != cluster.recovered_from
    seen = view(document, cluster, knows_more=knows_more)
    return recovery.find(cluster, seen, is_native=is_native)


def _is_frozen(cluster: Cluster) -> bool:
    return any(one.blocker.subject == "frozen" for one in cluster.blockers)
