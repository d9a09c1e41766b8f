"""What the command line does on the server itself, without the service."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.adapters.derivation import Stretcher
from rotator.bootstrap import parts
from rotator.domain.facts import Fact, FactKind
from rotator.services.keyring import KeyRing
from rotator.services.tokens import TokenService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rotator.adapters.secret_stores.registry import SecretStores
    from rotator.adapters.state.store import State
    from rotator.domain.ids import EpochNumber, MasterName
    from rotator.domain.master import MasterSecret
    from rotator.settings import Settings


@asynccontextmanager
async def local_tokens(settings: Settings) -> AsyncIterator[TokenService]:
    """The token service over the state store alone: the right to the database is the right."""
    async with parts.state_store(settings) as state:
        yield TokenService(tokens=state.tokens, states=state.clusters)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalParts:
    """Both stores, for commands on the server itself. The lease is not taken."""

    state: State
    stores: SecretStores
    keyring: KeyRing
    stretcher: Stretcher


@asynccontextmanager
async def local_parts(settings: Settings) -> AsyncIterator[LocalParts]:
    """Open both stores: the right to their files and credentials is the right."""
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(parts.state_store(settings))
        stores = parts.secret_stores(settings)
        stack.push_async_callback(stores.close)
        stretcher = Stretcher()
        stack.callback(stretcher.close)
        keyring = KeyRing(stores.masters, state.epochs, stretcher, parts.profiles(settings))
        yield LocalParts(state=state, stores=stores, keyring=keyring, stretcher=stretcher)


async def renew_master(
    settings: Settings, name: MasterName, *, secret: MasterSecret | None
) -> EpochNumber:
    """Open the next epoch of a master, with *secret* or a random one; later versions come from it."""
    async with local_parts(settings) as opened:
        details = {"master": name, "origin": "generated" if secret is None else "imported"}
        at = await opened.state.clusters.now()
        fact = Fact(kind=FactKind.EPOCH_OPENED, at=at, by="local", details=details)
        return await opened.keyring.renew(name, secret, fact=fact)
