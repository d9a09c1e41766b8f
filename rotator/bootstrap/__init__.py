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
from rotator.adapters.derivation import Stretcher
from rotator.adapters.scheduling.apscheduler import Metronome
from rotator.adapters.state.sqlite import now
from rotator.adapters.telemetry import logging as telemetry
from rotator.adapters.telemetry.metered import SECRETS_MANAGER, metered_fields, metered_states
from rotator.adapters.telemetry.metrics import Metrics
from rotator.api import serving
from rotator.api.app import create_app
from rotator.api.dependencies import Services
from rotator.api.doors import Doors, room
from rotator.api.routes.health import Scrape, create_health_app
from rotator.api.throttle import Throttle
from rotator.bootstrap import beats, listening, parts
from rotator.bootstrap.local import LocalParts, local_parts, local_tokens, renew_master
from rotator.bootstrap.parts import migrate
from rotator.bootstrap.reloads import Reloads
from rotator.errors import ConfigurationError, FenceLost, RotatorError
from rotator.services.attestations import Attestations
from rotator.services.beginnings import Beginnings
from rotator.services.changes import Changes
from rotator.services.claims import Claims
from rotator.services.commands import Commands
from rotator.services.crowds import BEAT, Crowds
from rotator.services.documents import Documents
from rotator.services.executor import Executor
from rotator.services.fleet import Fleet
from rotator.services.heads import Heads
from rotator.services.keyring import KeyRing
from rotator.services.leadership import Leadership
from rotator.services.queries import Queries
from rotator.services.reconciler import Reconciler
from rotator.services.renewals import Renewals
from rotator.services.tokens import TokenService
from rotator.services.turns import Turns
from rotator.services.vitals import VitalSigns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from rotator.adapters.secret_stores.registry import SecretStores
    from rotator.adapters.state.store import State
    from rotator.domain.ids import Fence
    from rotator.services.workloads import Workloads
    from rotator.settings import Settings

__all__ = [
    "LocalParts",
    "Service",
    "local_parts",
    "local_tokens",
    "migrate",
    "open_service",
    "renew_master",
    "serve",
]

log = logging.getLogger(__name__)

App = Any  #: an ASGI application

_BEAT: Final = timedelta(seconds=BEAT)
_NEWCOMERS: Final = timedelta(seconds=5)
_RENEWAL: Final = timedelta(minutes=1)
_FLUSH: Final = timedelta(seconds=15)


def _refuse_failpoints(settings: Settings) -> None:
    if failpoints.is_armed() and not settings.listen.is_loopback:
        raise ConfigurationError(
            f"{failpoints.VARIABLE} is set, and listen.address is not loopback; unset it"
        )


@dataclass(slots=True)
class Service:
    """A service that may be served; it leads, or another replica does."""

    app: App
    health: App
    leadership: Leadership
    crowds: Crowds
    throttle: Throttle
    doors: Doors
    tokens: TokenService
    state: State
    keyring: KeyRing
    renewals: Renewals
    check_store: Callable[[], Awaitable[None]]


@asynccontextmanager
async def open_service(settings: Settings, *, closing: asyncio.Event) -> AsyncIterator[Service]:
    """Open both stores, put the services together, and take the lease unless another replica has it.

    Contacts no secrets manager. Raises `AnotherProcess`, `DatabaseTooNew`, `ConfigurationError`.
    """
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        state = await stack.enter_async_context(_state(settings, metrics))
        stores = _stores(settings, metrics)
        stack.push_async_callback(stores.close)
        serving_since = await state.clusters.now()
        await parts.require_same_masters(state, settings)
        wakeups, turns = state.wakeups, Turns()
        crowds = Crowds(state.clusters, settings.policies(), serving_since=serving_since)
        documents, heads = Documents(stores.cookies), Heads(state.clusters)
        keyring = _keyring(stack, state, stores, settings=settings)

        renewals = Renewals(
            keyring=keyring,
            epochs=state.epochs,
            intervals=parts.intervals(settings),
            now=state.clusters.now,
        )

        def may_act() -> bool:
            return leadership.may_act()

        executor = Executor(state.clusters, documents, keyring, may_act=may_act)

        async def begin(fence: Fence) -> Reconciler:
            documents.forget()
            # What is declared is what the leader's file says, as its policies are.
            await state.clusters.declare(crowds.policies.keys(), now=crowds.serving_since)
            return Reconciler(
                states=state.clusters,
                documents=documents,
                keyring=keyring,
                executor=executor,
                heads=heads,
                crowds=crowds,
                wakeups=wakeups,
                fence=fence,
                on_lost_lease=leadership.lost,
                may_act=may_act,
                on_pass=metrics.passed,
                turns=turns,
            )

        leadership = Leadership(
            lease=state.lease,
            states=state.clusters,
            crowds=crowds,
            begin=begin,
            on_lost=closing.set,
        )
        stack.push_async_callback(leadership.resign)
        tokens = TokenService(
            tokens=state.tokens,
            states=state.clusters,
            wakeups=wakeups,
            workloads=_workloads(stack, settings, crowds),
        )
        changes = Changes(
            states=state.clusters,
            crowds=crowds,
            wakeups=wakeups,
            poke=leadership.poke,
            turns=turns,
        )
        commands = Commands(changes=changes, documents=documents, keyring=keyring)
        services = Services(
            beginnings=Beginnings(
                changes=changes,
                documents=documents,
                keyring=keyring,
                executor=executor,
                fence=leadership.newest_fence,
            ),
            commands=commands,
            claims=Claims(changes),
            fleet=Fleet(commands=commands, states=state.clusters, emergencies=state.emergencies),
            attestations=Attestations(
                states=state.clusters,
                crowds=crowds,
                wakeups=wakeups,
                poke=leadership.poke,
                turns=turns,
            ),
            queries=Queries(
                states=state.clusters,
                documents=documents,
                heads=heads,
                crowds=crowds,
                renewals=renewals,
            ),
            tokens=tokens,
            emergencies=state.emergencies,
            wakeups=wakeups,
            closing=closing,
        )
        throttle = Throttle(parts.limits(settings))
        app = create_app(services, throttle=throttle, observe=metrics.answered)
        await leadership.start()
        state.listen(beats.Ears(leadership, tokens))
        yield Service(
            app=app,
            health=_health(
                state,
                stores,
                leadership,
                scrape=_scrape(metrics, app, queries=services.queries, leadership=leadership),
            ),
            leadership=leadership,
            crowds=crowds,
            throttle=throttle,
            doors=Doors(per_address=settings.connections_per_address, in_all=room()),
            tokens=tokens,
            state=state,
            keyring=keyring,
            renewals=renewals,
            check_store=stores.cookies.check,
        )


def _workloads(stack: AsyncExitStack, settings: Settings, crowds: Crowds) -> Workloads | None:
    found = parts.workloads(settings, on_away=lambda now: crowds.nobody_heard(now=now))
    if found is None:
        return None
    stack.push_async_callback(found[1])
    return found[0]


def _keyring(
    stack: AsyncExitStack, state: State, stores: SecretStores, *, settings: Settings
) -> KeyRing:
    stretcher = Stretcher()
    stack.callback(stretcher.close)
    return KeyRing(stores.masters, state.epochs, stretcher, parts.profiles(settings))


@asynccontextmanager
async def _state(settings: Settings, metrics: Metrics) -> AsyncIterator[State]:
    async with parts.state_store(settings) as state:
        yield replace(state, clusters=metered_states(state.clusters, meter=metrics))


def _stores(settings: Settings, metrics: Metrics) -> SecretStores:
    return metered_fields(
        parts.secret_stores(settings),
        store=SECRETS_MANAGER,
        meter=metrics,
        prefixes={"cookies": "document_", "masters": "epoch_"},
    )


def _health(state: State, stores: SecretStores, leadership: Leadership, *, scrape: Scrape) -> App:
    return create_health_app(
        {"state_store": _answers(state), "secrets_manager": stores.cookies.check},
        now=now,
        scrape=scrape,
        leads=lambda: (leadership.is_leading, leadership.leader),
    )


def _scrape(metrics: Metrics, app: App, *, queries: Queries, leadership: Leadership) -> Scrape:
    signs = VitalSigns(
        queries=queries,
        is_leader=lambda: leadership.is_leading,
        fence=lambda: leadership.fence,
        long_polls=lambda: app.state.looks.waiting,
        fact_streams=lambda: app.state.streams,
    )
    return lambda: metrics.scrape(signs)


def _answers(state: State) -> Any:  # noqa: ANN401 - an async check
    async def check() -> None:
        await state.clusters.names()

    return check


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
        listeners = listening.listeners(service.app, service.health, settings, doors=service.doors)
        sockets = [listener.bind() for listener in listeners]
        metronome = Metronome()
        metronome.every(_BEAT, beats.forgiving(service.leadership.tick))
        metronome.every(_BEAT, beats.forgiving(service.crowds.beat))
        acquaint = beats.forgiving(beats.acquaintance(service.tokens, service.throttle))
        await acquaint()
        metronome.every(_NEWCOMERS, acquaint)
        metronome.every(_FLUSH, beats.forgiving(service.tokens.flush_used))
        metronome.every(
            _RENEWAL, beats.forgiving(beats.of_leader(service.leadership, service.renewals.tick))
        )
        metronome.start()

        reloads = Reloads(service, settings, read)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloads.begin)
        log.info(
            "serving",
            extra={"address": settings.listen.address, "port": settings.listen.port},
        )
        await beats.forgiving(service.leadership.tick)()
        await _warn_of_the_store(service.check_store)
        handing_over = asyncio.get_running_loop().create_task(_hand_over(service, closing))
        try:
            await serving.run(listeners, sockets, closing)
        finally:
            metronome.stop()
            closing.set()
            await handing_over
            await beats.forgiving(service.crowds.flush)()
            await beats.forgiving(service.tokens.flush_used)()
    if service.leadership.has_lost:
        raise FenceLost


async def _hand_over(service: Service, closing: asyncio.Event) -> None:
    """Another replica leads as soon as this one is told to end; requests under way go on."""
    await closing.wait()
    if service.leadership.is_shared:
        await service.leadership.resign()


def serve(read: Callable[[], Settings]) -> None:
    """Run the service until it is told to end; raises `RotatorError` if it cannot start.

    *read* gives the settings, at the start and again on SIGHUP.
    """
    settings = read()
    telemetry.configure(level=settings.log.level, format=settings.log.format)
    _refuse_failpoints(settings)
    tls = listening.tls(settings)
    if tls is not None:
        tls.require()
    if settings.secret_store.kind == "local":
        log.warning(
            "the local secret store is for one machine, trials and tests: its key file lies beside"
            " what it protects"
        )
    uvloop.run(_serve(settings, read))
