"""Settings → adapters: what the service and the commands beside it have in common."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rotator.adapters.derivation import profile
from rotator.adapters.secret_stores.registry import SecretStores, open_stores
from rotator.adapters.state.store import migrate_postgres, open_postgres, open_state
from rotator.api.throttle import Limits
from rotator.errors import ConfigurationError
from rotator.services.workloads import Identity, Workloads
from rotator.settings.state_stores import PostgresStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from datetime import datetime, timedelta

    from rotator.adapters.state.postgres.server import Server
    from rotator.adapters.state.store import State
    from rotator.domain.ids import MasterName
    from rotator.domain.kdf import KdfParameters
    from rotator.settings import Settings


def profiles(settings: Settings) -> Mapping[MasterName, KdfParameters]:
    """How each master's next epoch will be stretched."""
    return {name: profile(master.kdf, master.profile) for name, master in settings.masters.items()}


def intervals(settings: Settings) -> Mapping[MasterName, timedelta | None]:
    """How often each master has a new epoch; None: by hand alone."""
    return {name: master.rotate_every for name, master in settings.masters.items()}


def limits(settings: Settings) -> Limits:
    """What one token may ask for."""
    chosen = settings.limits
    return Limits(
        requests_per_second=chosen.requests_per_second,
        burst=chosen.burst,
        long_polls=chosen.long_polls,
    )


def workloads(
    settings: Settings, *, on_away: Callable[[datetime], None]
) -> tuple[Workloads, Callable[[], Awaitable[None]]] | None:
    """Who may show a token of the platform, and what closes it; None: nobody."""
    chosen = settings.kubernetes
    if chosen is None:
        return None
    # Loaded only when chosen.
    from rotator.adapters.identity.kubernetes import open_reviewer  # noqa: PLC0415

    reviewer = open_reviewer(**chosen.reviewer())
    identities = tuple(
        Identity(
            namespace=one.service_account.partition("/")[0],
            account=one.service_account.partition("/")[2],
            role=one.role,
            clusters=tuple(one.clusters),
            nodes=one.nodes or "",
        )
        for one in chosen.identities
    )
    made = Workloads(reviewer, audience=chosen.audience, identities=identities, on_away=on_away)
    return made, reviewer.close


def secret_stores(settings: Settings) -> SecretStores:
    """The secrets manager; it is not contacted."""
    chosen = settings.secret_store.model_dump(exclude_none=True)
    return open_stores(chosen.pop("kind"), **chosen)


@asynccontextmanager
async def state_store(settings: Settings) -> AsyncIterator[State]:
    """The state store, ready for use; raises `StateStoreError`."""
    store = settings.state_store
    if not isinstance(store, PostgresStore):
        async with open_state(settings.state_path) as state:
            yield state
        return
    holder = replica(settings)
    where = replace(server(store), application_name=f"rotator {holder}")
    async with open_postgres(where, holder=holder, life=store.lease) as state:
        yield state


def replica(settings: Settings) -> str:
    """What this process is called among those that share a database."""
    return f"{socket.gethostname()}:{settings.listen.port}"


async def migrate(settings: Settings) -> None:
    """Bring the state store's schema to this program's version; raises `StateStoreError`."""
    store = settings.state_store
    if isinstance(store, PostgresStore):
        await migrate_postgres(server(store))
    else:
        async with open_state(settings.state_path):
            pass


def server(store: PostgresStore) -> Server:
    """The section as the adapter takes it."""
    # Loaded only when chosen.
    from rotator.adapters.state.postgres.server import Server  # noqa: PLC0415

    return Server(**store.parameters())


async def require_same_masters(state: State, settings: Settings) -> None:
    """A cluster's fingerprints and versions hang on its master, so it keeps the one it began with."""
    for name, policy in settings.policies().items():
        cluster = await state.clusters.load(name)
        if cluster is not None and cluster.master not in {None, policy.master}:
            raise ConfigurationError(
                f"clusters.{name}.master: it was initialised with {cluster.master};"
                " another master is not in this version"
            )
