"""Put the parts together: settings → adapters → services → API. The only file that knows all."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import uvloop

from rotator import failpoints
from rotator.adapters.derivation import Stretcher, profile
from rotator.adapters.scheduling.apscheduler import Metronome
from rotator.adapters.secret_stores.registry import SecretStores, open_stores
from rotator.adapters.state.database import now
from rotator.adapters.state.store import open_state
from rotator.adapters.state.wakeups import LocalWakeups
from rotator.adapters.telemetry import logging as telemetry
from rotator.adapters.telemetry.metered import SECRETS_MANAGER, metered_fields, metered_states
from rotator.adapters.telemetry.metrics import Metrics
from rotator.api import serving
from rotator.api.app import create_app
from rotator.api.dependencies import Services
from rotator.api.doors import Doors, room
from rotator.api.routes.health import Scrape, create_health_app
from rotator.api.serving import Listener, Tls
from rotator.api.throttle import Limits, Throttle
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import ClusterName
from rotator.errors import ConfigurationError, FenceLost, RotatorError
from rotator.services.attestations import Attestations
from rotator.services.beginnings import Beginnings
from rotator.services.changes import Changes
from rotator.services.commands import Commands
from rotator.services.crowds import Crowds
from rotator.services.documents import Documents
from rotator.services.executor import Executor
from rotator.services.fleet import Fleet
from rotator.services.heads import Heads
from rotator.services.keyring import KeyRing
from rotator.services.queries import Queries
from rotator.services.reconciler import Reconciler
from rotator.services.tokens import TokenService
from rotator.services.turns import Turns
from rotator.services.vitals import VitalSigns
from rotator.settings.differences import Differences, differences

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from rotator.adapters.state.store import State
    from rotator.domain.ids import EpochNumber, MasterName
    from rotator.domain.kdf import KdfParameters
    from rotator.domain.master import MasterSecret
    from rotator.settings import Settings

log = logging.getLogger(__name__)

App = Any  #: an ASGI application

_BEAT: Final = timedelta(seconds=1)
_FLUSH: Final = timedelta(seconds=15)


def _profiles(settings: Settings) -> Mapping[MasterName, KdfParameters]:
    return {name: profile(master.kdf, master.profile) for name, master in settings.masters.items()}


def _stores(settings: Settings) -> SecretStores:
    chosen = settings.secret_store.model_dump(exclude_none=True)
    return open_stores(chosen.pop("kind"), **chosen)


def _limits(settings: Settings) -> Limits:
    chosen = settings.limits
    return Limits(
        requests_per_second=chosen.requests_per_second,
        burst=chosen.burst,
        long_polls=chosen.long_polls,
    )


def _refuse_failpoints(settings: Settings) -> None:
    if failpoints.is_armed() and not settings.listen.is_loopback:
        raise ConfigurationError(
            f"{failpoints.VARIABLE} is set, and listen.address is not loopback; unset it"
        )


@dataclass(slots=True)
class Service:
    """A service that leads and may be served."""

    app: App
    health: App
    reconciler: Reconciler
    crowds: Crowds
    throttle: Throttle
    doors: Doors
    tokens: TokenService
    state: State
    keyring: KeyRing
    check_store: Callable[[], Awaitable[None]]


@asynccontextmanager
async def open_service(  # noqa: PLR0915 - one list of parts, from which nothing branches
    settings: Settings, *, closing: asyncio.Event
) -> AsyncIterator[Service]:
    """Open both stores, take the lease, and put the services together. Contacts no secrets manager.

    Raises `AnotherProcess`, `DatabaseTooNew`, `ConfigurationError`.
    """
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        state = await stack.enter_async_context(open_state(settings.state_path))
        state = replace(state, clusters=metered_states(state.clusters, meter=metrics))
        fence = await state.lease.acquire()
        stack.push_async_callback(state.lease.release)
        stores = metered_fields(
            _stores(settings),
            store=SECRETS_MANAGER,
            meter=metrics,
            prefixes={"cookies": "document_", "masters": "epoch_"},
        )
        stack.push_async_callback(stores.close)
        stretcher = Stretcher()
        stack.callback(stretcher.close)
        serving_since = await state.clusters.now()
        await _require_same_masters(state, settings)
        policies = settings.policies()
        await state.clusters.declare(list(policies), now=serving_since)

        wakeups = LocalWakeups()
        turns = Turns()
        crowds = Crowds(state.clusters, policies, serving_since=serving_since)
        documents = Documents(stores.cookies)
        keyring = KeyRing(stores.masters, state.epochs, stretcher, _profiles(settings))
        executor = Executor(state.clusters, documents, keyring)
        heads = Heads(state.clusters)
        reconciler = Reconciler(
            states=state.clusters,
            documents=documents,
            keyring=keyring,
            executor=executor,
            heads=heads,
            crowds=crowds,
            wakeups=wakeups,
            fence=fence,
            on_lost_lease=closing.set,
            on_pass=metrics.passed,
            turns=turns,
        )
        stack.push_async_callback(reconciler.stop)
        tokens = TokenService(tokens=state.tokens, states=state.clusters, wakeups=wakeups)
        changes = Changes(
            states=state.clusters,
            crowds=crowds,
            wakeups=wakeups,
            poke=reconciler.poke,
            turns=turns,
        )
        commands = Commands(changes=changes, documents=documents, keyring=keyring)
        services = Services(
            beginnings=Beginnings(
                changes=changes,
                documents=documents,
                keyring=keyring,
                executor=executor,
                fence=fence,
            ),
            commands=commands,
            fleet=Fleet(commands=commands, states=state.clusters, emergencies=state.emergencies),
            attestations=Attestations(
                states=state.clusters,
                crowds=crowds,
                wakeups=wakeups,
                poke=reconciler.poke,
                turns=turns,
            ),
            queries=Queries(states=state.clusters, documents=documents, heads=heads, crowds=crowds),
            tokens=tokens,
            emergencies=state.emergencies,
            wakeups=wakeups,
            closing=closing,
        )
        throttle, doors = Throttle(_limits(settings)), Doors(in_all=room())
        doors.per_address = settings.connections_per_address
        app = create_app(services, throttle=throttle, observe=metrics.answered)
        health = create_health_app(
            {"state_store": _answers(state), "secrets_manager": stores.cookies.check},
            now=now,
            scrape=_scrape(metrics, app, queries=services.queries, reconciler=reconciler),
        )
        yield Service(
            app=app,
            health=health,
            reconciler=reconciler,
            crowds=crowds,
            throttle=throttle,
            doors=doors,
            tokens=tokens,
            state=state,
            keyring=keyring,
            check_store=stores.cookies.check,
        )


def _scrape(metrics: Metrics, app: App, *, queries: Queries, reconciler: Reconciler) -> Scrape:
    signs = VitalSigns(
        queries=queries,
        is_leader=lambda: not reconciler.has_lost_lease,
        fence=lambda: int(reconciler.fence),
        long_polls=lambda: app.state.looks.waiting,
        fact_streams=lambda: app.state.streams,
    )
    return lambda: metrics.scrape(signs)


def _answers(state: State) -> Any:  # noqa: ANN401 - an async check
    async def check() -> None:
        await state.clusters.names()

    return check


def _tls(settings: Settings) -> Tls | None:
    listen = settings.listen
    if listen.tls_certificate is None or listen.tls_key is None:
        return None
    return Tls(certificate=listen.tls_certificate, key=listen.tls_key)


def _listeners(service: Service, settings: Settings) -> list[Listener]:
    listen = settings.listen
    api = Listener(
        app=service.app,
        address=listen.address,
        port=listen.port,
        setting="listen.port",
        tls=_tls(settings),
        doors=service.doors,
    )
    health = Listener(
        app=service.health,
        address=listen.address,
        port=listen.health_port,
        setting="listen.health_port",
    )
    return [api, health]


async def _require_same_masters(state: State, settings: Settings) -> None:
    """A cluster's fingerprints and versions hang on its master, so it keeps the one it began with."""
    for name, policy in settings.policies().items():
        cluster = await state.clusters.load(name)
        if cluster is not None and cluster.master not in {None, policy.master}:
            raise ConfigurationError(
                f"clusters.{name}.master: it was initialised with {cluster.master};"
                " another master is not in this version"
            )


class _Reloads:
    """On SIGHUP: the file as it is now, as a whole or not at all; one reading after the other."""

    def __init__(self, service: Service, settings: Settings, read: Callable[[], Settings]) -> None:
        self._service = service
        self._settings = settings
        self._read = read
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Read it, soon."""
        task = asyncio.get_running_loop().create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        async with self._turn:
            try:
                found = await self._take(self._read())
            except RotatorError as error:
                log.error(  # noqa: TRY400 - the reason says all
                    "configuration not taken; the former one stays", extra={"reason": str(error)}
                )
            except Exception:
                log.exception("configuration not taken", extra={"code": "internal"})
            else:
                said = {
                    "added": list(found.added),
                    "removed": list(found.removed),
                    "changed": list(found.changed),
                }
                log.info("configuration read again", extra=said)

    async def _take(self, settings: Settings) -> Differences:
        """What may fail comes first; what cannot is done in one go."""
        service, found = self._service, differences(self._settings, settings)
        if found.for_restart:
            raise ConfigurationError(
                f"{', '.join(found.for_restart)}: this takes a restart; nothing of the file was taken"
            )
        await _require_same_masters(service.state, settings)
        await service.state.clusters.declare(list(settings.clusters), now=now())
        service.keyring.parameters = _profiles(settings)
        service.crowds.policies = settings.policies()
        service.throttle.limits = _limits(settings)
        service.doors.per_address = settings.connections_per_address
        telemetry.configure(level=settings.log.level, format=settings.log.format)
        self._settings = settings
        for name in found.clusters:
            service.reconciler.poke(ClusterName(name))
        return found


async def _warn_of_the_store(check: Callable[[], Awaitable[None]]) -> None:
    """Say at once what an operator would else look for: whether the secrets manager can be used."""
    try:
        await check()
    except RotatorError as error:
        log.warning(
            "the secrets manager cannot be used", extra={"code": error.code, "reason": str(error)}
        )


async def _serve(settings: Settings, read: Callable[[], Settings]) -> None:
    closing = asyncio.Event()
    async with open_service(settings, closing=closing) as service:
        listeners = _listeners(service, settings)
        sockets = [listener.bind() for listener in listeners]
        metronome = Metronome()
        metronome.every(_BEAT, service.reconciler.tick)
        metronome.every(_FLUSH, service.crowds.flush)
        metronome.every(_FLUSH, service.tokens.flush_used)
        metronome.start()

        reloads = _Reloads(service, settings, read)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloads.begin)
        log.info(
            "serving",
            extra={"address": settings.listen.address, "port": settings.listen.port},
        )
        await service.reconciler.tick()
        await _warn_of_the_store(service.check_store)
        try:
            await serving.run(listeners, sockets, closing)
        finally:
            metronome.stop()
            await service.crowds.flush()
            await service.tokens.flush_used()
    if service.reconciler.has_lost_lease:
        raise FenceLost


def serve(read: Callable[[], Settings]) -> None:
    """Run the service until it is told to end; raises `RotatorError` if it cannot start.

    *read* gives the settings, at the start and again on SIGHUP.
    """
    settings = read()
    telemetry.configure(level=settings.log.level, format=settings.log.format)
    _refuse_failpoints(settings)
    tls = _tls(settings)
    if tls is not None:
        tls.require()
    if settings.secret_store.kind == "local":
        log.warning(
            "the local secret store is for one machine, trials and tests: its key file lies beside"
            " what it protects"
        )
    uvloop.run(_serve(settings, read))


@asynccontextmanager
async def local_tokens(settings: Settings) -> AsyncIterator[TokenService]:
    """The token service over the state store alone: the right to its file is the right."""
    async with open_state(settings.state_path) as state:
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
        state = await stack.enter_async_context(open_state(settings.state_path))
        stores = _stores(settings)
        stack.push_async_callback(stores.close)
        stretcher = Stretcher()
        stack.callback(stretcher.close)
        keyring = KeyRing(stores.masters, state.epochs, stretcher, _profiles(settings))
        yield LocalParts(state=state, stores=stores, keyring=keyring, stretcher=stretcher)


async def renew_master(
    settings: Settings, name: MasterName, *, secret: MasterSecret | None
) -> EpochNumber:
    """Open the next epoch of a master, with *secret* or a random one; later versions come from it."""
    async with local_parts(settings) as parts:
        epoch = await parts.keyring.renew(name, secret)
        origin = "generated" if secret is None else "imported"
        details = {"master": name, "epoch": epoch, "origin": origin}
        fact = Fact(kind=FactKind.EPOCH_OPENED, at=now(), by="local", details=details)
        await parts.state.clusters.add_fact(fact)
        return epoch
