"""Look into Vault or OpenBao as the service would use it; nothing is written but a login."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from rotator.adapters.secret_stores.examining import Reach, compare_clocks, system_clock
from rotator.adapters.secret_stores.places import one_step
from rotator.adapters.secret_stores.vault import rights
from rotator.adapters.secret_stores.vault.connection import THREADS
from rotator.adapters.secret_stores.vault.kv import SAFE, KvDocuments
from rotator.adapters.secret_stores.vault.wire import NotThere
from rotator.domain.findings import Finding
from rotator.errors import (
    SecretStoreError,
    StoreForbidden,
    StoreKvVersion1,
)
from rotator.ports.examiner import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rotator.adapters.secret_stores.vault.connection import Ask, VaultConnection
    from rotator.ports.examiner import Subject

_AT_ONCE: Final = 200  #: paths in one question


class VaultExaminer:
    """`ports.examiner.StoreExaminer`."""

    def __init__(
        self,
        connection: VaultConnection,
        *,
        mount: str,
        prefix: str,
        method: str,
        now: Callable[[], datetime] = system_clock,
    ) -> None:
        self._connection = connection
        self._mount = mount.strip("/")
        self._prefix = prefix.strip("/")
        self._method = method
        self._now = now
        self._reach = Reach(self._try_to_reach)

    def checks(self, subject: Subject) -> Sequence[Check]:
        """See the port."""
        return (
            Check("secrets manager", self._reach.findings),
            Check("rights in the secrets manager", self._reach.first(self._rights, subject)),
            Check("documents' settings", self._reach.first(self._documents, subject)),
            Check("token of the secrets manager", self._reach.first(self._token, subject)),
            Check("clock of the secrets manager", self._reach.first(self._clock, subject)),
        )

    async def _try_to_reach(self) -> tuple[Finding, ...]:
        path = f"{self._prefix}/clusters/readiness"
        try:
            await self._connection.run(lambda ask: KvDocuments(self._mount).check(ask, path))
        except StoreKvVersion1:
            return (Finding(code="kv_version_1", subject=self._mount),)
        except SecretStoreError as error:
            found = Finding(code="secrets_manager_unusable", subject=error.code, detail=str(error))
            return (found,)
        return ()

    async def _rights(self, subject: Subject) -> Iterable[Finding]:
        paths = rights.wanted(subject, mount=self._mount, prefix=self._prefix)
        found: dict[str, list[str]] = {}
        names = list(paths)
        try:
            for start in range(0, len(names), _AT_ONCE):
                found |= await self._connection.run(_capabilities(names[start : start + _AT_ONCE]))
        except StoreForbidden:
            return (Finding(code="rights_unknown", subject="sys/capabilities-self"),)
        return tuple(rights.compare(paths, found))

    async def _documents(self, subject: Subject) -> Iterable[Finding]:
        # A call's time begins before it has a thread: no more of them than threads.
        slots = asyncio.Semaphore(THREADS)

        async def look(cluster: str) -> Iterable[Finding]:
            async with slots:
                return await self._document(cluster)

        looks = (look(one_step(cluster)) for cluster in subject.clusters)
        return [one for found in await asyncio.gather(*looks) for one in found]

    async def _document(self, cluster: str) -> Iterable[Finding]:
        path = f"{self._mount}/metadata/{self._prefix}/clusters/{cluster}"
        try:
            about = (await self._connection.run(lambda ask: ask("GET", path))).get("data") or {}
        except (NotThere, StoreForbidden):
            return ()  # not made yet; or a right is missing, which is a finding of its own
        return tuple(_unsafe(cluster, about))

    async def _token(self, _subject: Subject) -> Iterable[Finding]:
        answer = await self._connection.run(lambda ask: ask("GET", "auth/token/lookup-self"))
        about = answer.get("data") or {}
        return tuple(_about_token(about, is_ours_to_renew=self._method == "token"))

    async def _clock(self, _subject: Subject) -> Iterable[Finding]:
        return await compare_clocks(self._connection.clock, now=self._now)

    async def leave(self) -> None:
        """Give back the token that a login has made; one from a file is somebody else's."""
        is_login = self._method != "token" and self._reach.was_tried
        if is_login and not await self._reach.findings():
            with suppress(SecretStoreError):
                await self._connection.run(lambda ask: ask("POST", "auth/token/revoke-self", {}))


def _capabilities(paths: list[str]) -> Callable[[Ask], dict[str, list[str]]]:
    def asked(ask: Ask) -> dict[str, list[str]]:
        answer = ask("POST", "sys/capabilities-self", {"paths": paths})
        about = answer.get("data") or {}
        return {path: about.get(path) or [] for path in paths}

    return asked


def _unsafe(cluster: str, about: dict[str, Any]) -> Iterable[Finding]:
    wrong = [
        f"{name}={about.get(name)}" for name, value in SAFE.items() if about.get(name) != value
    ]
    if wrong:
        yield Finding(code="document_unsafe", subject=cluster, detail=", ".join(wrong).lower())
    if about.get("delete_version_after") not in {None, "", "0s"}:
        yield Finding(code="document_expires", subject=cluster)
    versions = (about.get("versions") or {}).values()
    readable = [
        one for one in versions if not one.get("deletion_time") and not one.get("destroyed")
    ]
    if len(readable) > 1:
        detail = f"{len(readable)} versions can be read"
        yield Finding(code="document_has_history", subject=cluster, detail=detail)


def _about_token(about: dict[str, Any], *, is_ours_to_renew: bool) -> Iterable[Finding]:
    if "root" in (about.get("policies") or ()):
        yield Finding(code="store_token_root")
    if about.get("num_uses"):
        yield Finding(code="store_token_uses", detail=f"{about['num_uses']} left")
    ttl = int(about.get("ttl") or 0)
    limit = int(about.get("explicit_max_ttl") or 0)
    # Who logs in gets another token when this one ends.
    if is_ours_to_renew and ttl and (limit or not about.get("renewable")):
        left = timedelta(seconds=ttl)
        if limit and about.get("renewable"):
            detail = f"at the latest {timedelta(seconds=limit)} after it was made; {left} left now"
        else:
            detail = f"in {left}; it is not renewable"
        yield Finding(code="store_token_ends", detail=detail)
