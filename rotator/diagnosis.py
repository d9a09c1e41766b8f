"""Put the parts of `rotator doctor` together: settings → adapters → checks → a report.

It opens what the service opens, and changes nothing: no lease, no migration, no file, no row.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from rotator import failpoints, settings
from rotator.adapters.derivation import profile
from rotator.adapters.host.modes import mode_of
from rotator.adapters.secret_stores.registry import open_stores
from rotator.adapters.state.records import read_records, read_server_records
from rotator.api.certificate import Tls
from rotator.domain.findings import Finding
from rotator.domain.ids import ClusterName
from rotator.errors import (
    ConfigurationError,
    IdentityAway,
    RotatorError,
    SecretStoreError,
    StateStoreError,
)
from rotator.ports.examiner import Check, Subject
from rotator.services.doctor import (
    clocks,
    clusters,
    configuration,
    database,
    files,
    losses,
    masters,
    recovery,
    tokens,
)
from rotator.services.doctor.configuration import Setup
from rotator.services.doctor.files import File, Kept
from rotator.services.doctor.runner import Checked, Outcome, Report, examine, report
from rotator.settings.state_stores import PostgresStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from rotator.adapters.secret_stores.registry import SecretStores
    from rotator.domain.document import FactsHead
    from rotator.domain.ids import MasterName
    from rotator.domain.kdf import KdfParameters
    from rotator.ports.records import Records
    from rotator.settings import Settings
    from rotator.settings.kubernetes import Kubernetes

_CONFIGURATION: Final = "configuration"
_STATE: Final = "state store"
_CREDENTIALS: Final = ("token_file", "secret_id_file", "jwt_file")
#: What lies in the state store is looked at in these.
_OF_RECORDS: Final = (
    "clock of the state store",
    "clusters",
    "recovery file",
    "API tokens",
)


async def diagnose(
    config: Path, *, now: Callable[[], datetime], on_progress: Callable[[Checked], None]
) -> Report:
    """Examine the service that *config* describes, whether it runs or not.

    *now* is this machine's clock. Every check is bounded in time; none raises.
    """
    try:
        loaded = settings.load(config)
        parameters = {
            name: profile(master.kdf, master.profile) for name, master in loaded.masters.items()
        }
        stores = _stores(loaded)
    except RotatorError as error:
        return _unusable(error, on_progress)
    try:
        records, findings, checked = await _records(loaded)
        on_progress(checked)
        checks = [
            *_of_server(loaded, is_unusable=records is None),
            *_of_settings(loaded, config, parameters),
            *_of_kubernetes(loaded.kubernetes),
            *_of_records(records, loaded, now),
            *_of_stores(stores, records, loaded, parameters),
        ]
        made = await examine(checks, on_progress=on_progress)
        if stores.examiner is not None:
            await stores.examiner.leave()
    finally:
        await stores.close()
    skipped = () if records else tuple(_skipped(_OF_RECORDS))
    return report((*findings, *made.findings), (checked, *made.checks, *skipped))


def _stores(loaded: Settings) -> SecretStores:
    chosen = loaded.secret_store.model_dump(exclude_none=True)
    return open_stores(chosen.pop("kind"), **chosen)


def _unusable(error: RotatorError, on_progress: Callable[[Checked], None]) -> Report:
    checked = Checked(name=_CONFIGURATION, outcome=Outcome.FOUND)
    on_progress(checked)
    found = [Finding(code="configuration_invalid", detail=line) for line in str(error).splitlines()]
    return report(found, (checked, *_skipped(("everything else",))))


def _skipped(names: Iterable[str]) -> Iterator[Checked]:
    return (Checked(name=name, outcome=Outcome.SKIPPED) for name in names)


# --- the state store ----------------------------------------------------------------------


async def _records(loaded: Settings) -> tuple[Records | None, tuple[Finding, ...], Checked]:
    """What lies there, or why it could not be read."""
    path, found = loaded.state_path, None
    try:
        records = await _read(loaded)
        if records is None:
            found = Finding(code="state_store_missing", subject=str(path))
    except StateStoreError as error:
        records = None
        found = Finding(code="state_store_unusable", subject=error.code, detail=str(error))
    outcome = Outcome.FOUND if found else Outcome.CLEAN
    return records, (found,) if found else (), Checked(name=_STATE, outcome=outcome)


async def _read(
    loaded: Settings, heads: Mapping[ClusterName, FactsHead] = MappingProxyType({})
) -> Records | None:
    """With *heads*, of documents, also which of them the state store knows."""
    store = loaded.state_store
    if not isinstance(store, PostgresStore):
        return await read_records(loaded.state_path, kinds=recovery.KINDS, heads=heads)
    # Loaded only when chosen.
    from rotator.adapters.state.postgres.server import Server  # noqa: PLC0415

    server = Server(**store.parameters())
    return await read_server_records(server, kinds=recovery.KINDS, heads=heads)


def _of_server(loaded: Settings, *, is_unusable: bool) -> tuple[Check, ...]:
    store = loaded.state_store
    if not isinstance(store, PostgresStore):
        return ()

    async def run() -> Iterable[Finding]:
        # Loaded only when chosen.
        from rotator.adapters.state.postgres.examiner import examine_server  # noqa: PLC0415
        from rotator.adapters.state.postgres.server import Server  # noqa: PLC0415

        try:
            return tuple(database.look(await examine_server(Server(**store.parameters()))))
        except StateStoreError:
            if is_unusable:
                return ()  # said there, once
            raise

    return (Check("database server", run),)


def _of_records(
    records: Records | None, loaded: Settings, now: Callable[[], datetime]
) -> tuple[Check, ...]:
    if records is None:
        return ()
    # Read a moment ago, within which no clock goes wrong by half a minute.
    clock = clocks.compare(_STATE, ours=now(), theirs=records.now)
    looks = (
        lambda: clock,
        lambda: clusters.look(records, set(loaded.clusters)),
        lambda: recovery.look(records),
        lambda: tokens.look(records),
    )
    return tuple(_check(name, look) for name, look in zip(_OF_RECORDS, looks, strict=True))


def _check(name: str, look: Callable[[], Iterable[Finding]]) -> Check:
    async def run() -> Iterable[Finding]:
        return tuple(look())

    return Check(name, run)


# --- settings and files -------------------------------------------------------------------


def _of_settings(
    loaded: Settings, config: Path, parameters: Mapping[MasterName, KdfParameters]
) -> tuple[Check, ...]:
    listen = loaded.listen
    setup = Setup(
        is_local_store=loaded.secret_store.kind == "local",
        is_plain_http=listen.plain_http,
        is_reachable=not listen.is_loopback,
        has_failpoints=failpoints.is_armed(),
        blind=tuple(n for n, one in loaded.clusters.items() if one.members.expect is None),
    )
    return (
        _check(_CONFIGURATION, lambda: configuration.look(setup)),
        _check("files", lambda: files.look(_files(loaded, config))),
        _check("certificate", lambda: _tls(loaded)),
        _check("masters' profiles", lambda: masters.configured(parameters)),
    )


def _file(path: Path, kept: Kept, *, is_needed: bool = True) -> File:
    try:
        return File(path=str(path), kept=kept, mode=mode_of(path), is_needed=is_needed)
    except PermissionError:
        return File(path=str(path), kept=kept, mode=None, is_hidden=True)


def _files(loaded: Settings, config: Path) -> Iterator[File]:
    yield _file(config, Kept.UNTOUCHED)
    yield _file(loaded.data_dir, Kept.UNTOUCHED, is_needed=False)
    if isinstance(loaded.state_store, PostgresStore):
        if loaded.state_store.password_file is not None:
            yield _file(loaded.state_store.password_file, Kept.SECRET)
    else:
        for suffix in ("", "-wal", "-shm", ".lock"):
            path = loaded.state_path.with_name(loaded.state_path.name + suffix)
            yield _file(path, Kept.SECRET, is_needed=False)
    if loaded.listen.tls_key is not None:
        yield _file(loaded.listen.tls_key, Kept.SECRET)
    if loaded.kubernetes is not None:
        if loaded.kubernetes.token_file is not None:
            yield _file(loaded.kubernetes.token_file, Kept.SECRET)
        if loaded.kubernetes.ca_cert is not None:
            yield _file(loaded.kubernetes.ca_cert, Kept.UNTOUCHED)
    yield from _files_of_the_store(loaded)


def _files_of_the_store(loaded: Settings) -> Iterator[File]:
    store = loaded.secret_store
    if store.kind == "local":
        yield _file(store.directory, Kept.UNTOUCHED, is_needed=False)
        yield _file(store.directory / "key", Kept.SECRET, is_needed=False)
    elif store.kind == "vault":
        if store.ca_cert is not None:
            yield _file(store.ca_cert, Kept.UNTOUCHED)
        for name in _CREDENTIALS:
            credential = getattr(store.auth, name, None)
            if credential is not None:
                yield _file(credential, Kept.SECRET)


def _tls(loaded: Settings) -> Iterator[Finding]:
    listen = loaded.listen
    if listen.tls_certificate is None or listen.tls_key is None:
        return
    try:
        Tls(certificate=listen.tls_certificate, key=listen.tls_key).require()
    except ConfigurationError as error:
        yield Finding(code="tls_unusable", subject=str(listen.tls_key), detail=str(error))


# --- Kubernetes ---------------------------------------------------------------------------


def _of_kubernetes(chosen: Kubernetes | None) -> tuple[Check, ...]:
    if chosen is None:
        return ()

    async def run() -> Iterable[Finding]:
        # Loaded only when chosen.
        from rotator.adapters.identity.kubernetes import open_reviewer  # noqa: PLC0415

        try:
            reviewer = open_reviewer(**chosen.reviewer())
        except ConfigurationError as error:
            return (Finding(code="kubernetes_unusable", detail=str(error)),)
        try:
            await reviewer.review("rotator-doctor")  # No token: what counts is that it is answered.
        except IdentityAway as error:
            return (Finding(code="kubernetes_unusable", subject=error.code, detail=str(error)),)
        finally:
            await reviewer.close()
        return ()

    return (Check("Kubernetes", run),)


# --- the secrets manager ------------------------------------------------------------------


def _of_stores(
    stores: SecretStores,
    records: Records | None,
    loaded: Settings,
    parameters: Mapping[MasterName, KdfParameters],
) -> tuple[Check, ...]:
    known = records.clusters if records else ()
    epochs = masters.in_use(known)
    subject = Subject(
        clusters=tuple(sorted({*loaded.clusters, *(ClusterName(one.name) for one in known)})),
        initialised=frozenset(one.name for one in known if one.is_initialised),
        epochs=epochs,
    )

    async def usable() -> Iterable[Finding]:
        try:
            await stores.cookies.check()
        except SecretStoreError as error:
            detail = str(error)
            return (Finding(code="secrets_manager_unusable", subject=error.code, detail=detail),)
        return ()

    examiner = stores.examiner
    looks = examiner.checks(subject) if examiner else (Check("secrets manager", usable),)

    async def stretched() -> Iterable[Finding]:
        return await masters.stored(stores.masters, epochs, parameters)

    async def lost() -> Iterable[Finding]:
        read = partial(_read, loaded)
        found = await losses.standing(stores.cookies, subject.clusters, read=read)
        return _not_named_yet(found, kind=loaded.secret_store.kind)

    return (
        *looks,
        Check("masters' epochs", _told_once(looks[0], stretched)),
        Check("lost stores", _told_once(looks[0], lost)),
    )


def _told_once(
    usable: Check, run: Callable[[], Awaitable[Iterable[Finding]]]
) -> Callable[[], Awaitable[Iterable[Finding]]]:
    """Where a store cannot be used this finds nothing: that is said already."""

    async def told() -> Iterable[Finding]:
        try:
            return await run()
        except StateStoreError:
            return ()
        except SecretStoreError:
            if await usable.run():
                return ()
            raise

    return told


def _not_named_yet(found: Iterable[Finding], *, kind: str) -> Iterable[Finding]:
    """AWS's examiner names the very secrets that are missing."""
    return [one for one in found if kind != "aws" or one.code != "document_missing"]
