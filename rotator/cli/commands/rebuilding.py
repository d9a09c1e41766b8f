"""The server's side of `recover`, `rederive` and `master export`: both stores, opened directly."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator import bootstrap, settings
from rotator.adapters.secret_stores import recovery_file
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import ClusterName
from rotator.domain.recovery import BY, Need, fence_above
from rotator.errors import AnotherProcess, InputError, NotFound
from rotator.services.heads import Heads
from rotator.services.packing import Packing
from rotator.services.recovery import Recovered, Recovery
from rotator.services.rederiving import Outcome, Rederiving
from rotator.services.tokens import TokenService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from rotator.bootstrap import LocalParts
    from rotator.domain.document import ClusterDocument
    from rotator.domain.ids import Fence
    from rotator.domain.master import MasterSecret
    from rotator.services.recovery import Case
    from rotator.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `recover` has done, or would do."""

    clusters: tuple[Recovered, ...]
    revoked_tokens: int


def _names(loaded: Settings, wanted: Sequence[str]) -> list[ClusterName]:
    policies = loaded.policies()
    for name in wanted:
        if name not in policies:
            raise NotFound(f"no cluster {name} is declared in the configuration")
    return [name for name in policies if not wanted or name in wanted]


@asynccontextmanager
async def _leading(parts: LocalParts, above: Fence) -> AsyncIterator[Fence]:
    """Hold the lease, so that no service writes meanwhile; `AnotherProcess` if one runs.

    Where replicas share the database it is renewed before each thing that is done: `FenceLost` if
    one was started meanwhile and waited for long enough.
    """
    try:
        fence = await parts.state.lease.acquire(above=above)
    except AnotherProcess as error:
        raise AnotherProcess(f"stop the service first, every replica of it: {error}") from None
    try:
        yield fence
    finally:
        await parts.state.lease.release()


# --- recover ------------------------------------------------------------------------------


def recover(config: Path, wanted: Sequence[str], *, is_dry: bool, keeps_tokens: bool) -> Report:
    """Rebuild what is lost of the state store; with *is_dry* only say what would be done."""
    return asyncio.run(
        _recover(settings.load(config), wanted, is_dry=is_dry, keeps_tokens=keeps_tokens)
    )


async def _recover(
    loaded: Settings, wanted: Sequence[str], *, is_dry: bool, keeps_tokens: bool
) -> Report:
    names, policies = _names(loaded, wanted), loaded.policies()
    masters = {name: policies[name].master for name in names}
    async with bootstrap.local_parts(loaded) as parts:
        recovery = Recovery(
            states=parts.state.clusters,
            epochs=parts.state.epochs,
            cookies=parts.stores.cookies,
            masters=parts.stores.masters,
            keyring=parts.keyring,
            heads=Heads(parts.state.clusters),
        )
        cases = await recovery.look(masters)
        if is_dry:
            planned = tuple([await recovery.plan(case) for case in cases])
            return Report(
                clusters=planned, revoked_tokens=await _usable(parts, cases, keeps_tokens)
            )
        async with _leading(parts, fence_above(_documents(cases))) as fence:
            now = await parts.state.clusters.now()
            await parts.state.clusters.declare(list(policies), now=now)
            cases = await recovery.look(masters)
            revoked = await _revoke_tokens(parts, cases, keeps_tokens)
            done = []
            for case in cases:
                await parts.state.lease.renew()
                done.append(await recovery.recover(case, fence=fence))
    return Report(clusters=tuple(done), revoked_tokens=revoked)


def _documents(cases: Sequence[Case]) -> dict[str, ClusterDocument]:
    return {case.cluster.name: case.stored.document for case in cases if case.stored is not None}


def _is_old(cases: Sequence[Case]) -> bool:
    return any(case.finding.need is Need.REBUILD for case in cases)


async def _usable(parts: LocalParts, cases: Sequence[Case], keeps: bool) -> int:
    rows = await parts.state.tokens.all() if _is_old(cases) and not keeps else ()
    return sum(1 for row in rows if row.revoked_at is None)


async def _revoke_tokens(parts: LocalParts, cases: Sequence[Case], keeps: bool) -> int:
    """An old copy does not know which tokens were revoked since: all of them are."""
    count = await _usable(parts, cases, keeps)
    if count:
        service = TokenService(tokens=parts.state.tokens, states=parts.state.clusters)
        for row in await parts.state.tokens.all():
            if row.revoked_at is None:
                await service.revoke(row.id, by=BY, reason="the state store was an old copy")
    return count


# --- rederive -----------------------------------------------------------------------------


def rederive(
    config: Path,
    wanted: Sequence[str],
    *,
    file: Path | None,
    phrase: MasterSecret | None,
    is_dry: bool,
) -> list[Outcome]:
    """Write what the secrets manager lacks; with *is_dry* only say what that is."""
    return asyncio.run(
        _rederive(settings.load(config), wanted, file=file, phrase=phrase, is_dry=is_dry)
    )


async def _rederive(
    loaded: Settings,
    wanted: Sequence[str],
    *,
    file: Path | None,
    phrase: MasterSecret | None,
    is_dry: bool,
) -> list[Outcome]:
    names = _names(loaded, wanted)
    async with bootstrap.local_parts(loaded) as parts:
        kit = None
        if file is not None and phrase is not None:
            content = _content(file)
            kit = await recovery_file.unseal(content, phrase, stretcher=parts.stretcher)

        async def work(fence: Fence | None) -> list[Outcome]:
            rederiving = Rederiving(
                states=parts.state.clusters,
                epochs=parts.state.epochs,
                cookies=parts.stores.cookies,
                masters=parts.stores.masters,
                stretcher=parts.stretcher,
                heads=Heads(parts.state.clusters),
                kit=kit,
                fence=fence,
            )
            outcomes = await rederiving.epochs()
            for name in sorted(set(names) & set(await parts.state.clusters.names())):
                if fence is not None:
                    await parts.state.lease.renew()
                outcomes.append(await rederiving.document(name))
            return outcomes

        if is_dry:
            return await work(None)
        async with _leading(parts, fence_above({})) as fence:
            return await work(fence)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None


# --- export -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What a recovery file holds."""

    epochs: tuple[str, ...]  #: as ``default/2``
    clusters: tuple[str, ...]


def export(config: Path, file: Path, phrase: MasterSecret) -> Exported:
    """Write a recovery file, 0600, where none is; a fact tells of it before it is there."""
    return asyncio.run(_export(settings.load(config), file, phrase))


async def _export(loaded: Settings, file: Path, phrase: MasterSecret) -> Exported:
    async with bootstrap.local_parts(loaded) as parts:
        _require_new(file)
        kit = await Packing(
            states=parts.state.clusters,
            epochs=parts.state.epochs,
            cookies=parts.stores.cookies,
            masters=parts.stores.masters,
        ).pack(list(loaded.masters))
        content = await recovery_file.seal(kit, phrase, stretcher=parts.stretcher)
        epochs = tuple(f"{master}/{number}" for master, number in kit.epochs)
        exported = Exported(epochs=epochs, clusters=tuple(kit.clusters))
        details = {"epochs": list(exported.epochs), "clusters": list(exported.clusters)}
        fact = Fact(kind=FactKind.MASTER_EXPORTED, at=kit.made_at, by=BY, details=details)
        await parts.state.clusters.add_fact(fact)
        _write(file, content)
    return exported


def _require_new(file: Path) -> None:
    if file.exists() or file.is_symlink():
        raise InputError(f"{file} is there already; name a file that is not")


def _write(file: Path, content: bytes) -> None:
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
