"""Put the parts of `rotator facts verify` together: settings → adapters → each chain's outcome.

It reads what `rotator doctor` reads, in the same way, and changes nothing either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.adapters.secret_stores.registry import open_stores
from rotator.adapters.state import rows, verification
from rotator.adapters.state.records import reading_file, reading_server
from rotator.domain.cluster import GENESIS
from rotator.domain.ids import ClusterName
from rotator.errors import SecretStoreError
from rotator.ports.records import Break
from rotator.settings.state_stores import PostgresStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from rotator.adapters.state.verification import Reading
    from rotator.domain.document import FactsHead
    from rotator.ports.cookie_store import CookieStore
    from rotator.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One chain of facts, followed."""

    cluster: str | None  #: None: the service's own
    facts: int  #: that verify, from the first one on
    head: str | None  #: the hash of the last of them; None: there is none
    anchor: int | None  #: the place in it of the head that the secrets manager knows, if any
    broken_at: int | None  #: the place of the first one that does not verify
    why: Break | None

    @property
    def is_whole(self) -> bool:
        """Whether every fact is as it was written."""
        return self.broken_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Every chain, and what the secrets manager could not be asked about."""

    chains: tuple[Chain, ...]
    unanchored: Mapping[str, str]  #: by cluster, why its document could not be read

    @property
    def is_whole(self) -> bool:
        """Whether all chains verify."""
        return all(one.is_whole for one in self.chains)


async def verify(settings: Settings, *, is_anchored: bool) -> Outcome:
    """Follow every chain; with *is_anchored* each must have the head that is in its document.

    Raises `StateStoreError` where the state store cannot be read.
    """
    heads: dict[str, FactsHead] = {}
    unanchored: dict[str, str] = {}
    async with _reading(settings) as reading:
        async with reading() as connection:
            names = await verification.chains(connection)
        names = sorted({*names, *settings.clusters})
        if is_anchored:
            # First the documents, then the chains: what a document knows was in the chain before.
            heads, unanchored = await _heads(settings, [one for one in names if one])
        chains = [await _followed(reading, name, heads.get(name)) for name in names]
    return Outcome(chains=tuple(chains), unanchored=unanchored)


def _reading(settings: Settings) -> AbstractAsyncContextManager[Reading]:
    store = settings.state_store
    if not isinstance(store, PostgresStore):
        return reading_file(settings.state_path)
    # Loaded only when chosen.
    from rotator.adapters.state.postgres.server import Server  # noqa: PLC0415

    return reading_server(Server(**store.parameters()))


async def _heads(
    settings: Settings, names: list[str]
) -> tuple[dict[str, FactsHead], dict[str, str]]:
    chosen = settings.secret_store.model_dump(exclude_none=True)
    stores = open_stores(chosen.pop("kind"), **chosen)
    heads: dict[str, FactsHead] = {}
    unanchored: dict[str, str] = {}
    try:
        for name in names:
            try:
                head = await _head(stores.cookies, ClusterName(name))
            except SecretStoreError as error:
                unanchored[name] = f"{error.code}: {error}"
            else:
                heads |= {} if head is None else {name: head}
    finally:
        await stores.close()
    return heads, unanchored


async def _head(cookies: CookieStore, name: ClusterName) -> FactsHead | None:
    found = await cookies.read(name)
    return None if found is None else found.document.stamp.facts_head


async def _followed(reading: Reading, name: str, kept: FactsHead | None) -> Chain:
    if name and kept is not None:
        async with reading() as connection:
            begun_from = await rows.recovered_from(connection, ClusterName(name))
        # `recover` began the chain anew; the document's head is the former one's till a write.
        kept = None if kept == begun_from else kept
    found = await verification.verify(reading, name, kept=kept)
    return Chain(
        cluster=name or None,
        facts=found.head.seq,
        head=None if found.head == GENESIS else found.head.hash,
        anchor=None if kept is None else kept.seq,
        broken_at=found.broken_at,
        why=found.why,
    )
