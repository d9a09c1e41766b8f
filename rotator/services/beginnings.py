"""The first version of a cluster: made, or taken over from what runs already."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from rotator.domain import commands
from rotator.domain.actions import Line
from rotator.domain.commands import Request
from rotator.domain.ids import ClusterUid
from rotator.domain.version import Origin
from rotator.errors import (
    AlreadyInitialised,
    ClusterFrozen,
    NotInitialised,
    SecretStoreError,
    StateUnavailable,
    StoreConflict,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rotator.domain.cluster import Change, Cluster
    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import ClusterName, Fence
    from rotator.domain.liveness import Crowd
    from rotator.services.changes import Changes, ReceiptFor
    from rotator.services.documents import Documents
    from rotator.services.executor import Executor
    from rotator.services.keyring import KeyRing


class Beginnings:
    """`init` and `import`. *by* names the principal, for the facts.

    *fence* gives the newest fencing token, which the first document carries: any replica may write
    that one, since it replaces nothing.
    """

    def __init__(
        self,
        *,
        changes: Changes,
        documents: Documents,
        keyring: KeyRing,
        executor: Executor,
        fence: Callable[[], Awaitable[Fence]],
    ) -> None:
        self._changes = changes
        self._documents = documents
        self._keyring = keyring
        self._executor = executor
        self._fence = fence

    async def init(
        self, name: ClusterName, *, by: str, reason: str, receipt: ReceiptFor | None = None
    ) -> Cluster:
        """I1: ask for version 1 of a cluster that has none. The reconciler makes it."""
        return await self._initialise(name, Origin.DERIVED, by=by, reason=reason, receipt=receipt)

    async def _initialise(
        self,
        name: ClusterName,
        origin: Origin,
        *,
        by: str,
        reason: str,
        receipt: ReceiptFor | None = None,
    ) -> Cluster:
        policy = (await self._changes.crowd(name)).policy
        await self._require_no_document(name)
        epoch = await self._keyring.current_epoch(policy.master)
        uid = ClusterUid(secrets.token_hex(16))

        def decide(crowd: Crowd) -> Change:
            request = Request(by=by, reason=reason, at=crowd.now)
            return commands.initialise(crowd, request, uid=uid, epoch=epoch, origin=origin)

        return await self._changes.make(name, decide, line=Line.I1, receipt=receipt)

    async def _require_no_document(self, name: ClusterName) -> None:
        """A document that is there before its cluster: the state store is new, and the old one lost.

        Where it cannot be read just now, the first write finds it.
        """
        try:
            stored = await self._documents.read(name)
        except SecretStoreError:
            return
        if stored is not None and (await self._changes.crowd(name)).cluster.uid is None:
            raise ClusterFrozen(
                "the secrets manager has a document of this cluster already; if it is yours, stop"
                " the service and run: rotator recover"
            )

    async def import_(
        self, name: ClusterName, cookie: Cookie, *, by: str, reason: str
    ) -> tuple[Cluster, bool]:
        """Take a running cluster's cookie as version 1; whether it was done now.

        Repeating it with the same cookie is harmless, with another one `AlreadyInitialised`.
        The cookie goes to the secrets manager and nowhere else.
        """
        cluster = (await self._changes.crowd(name)).cluster
        if cluster.uid is None:
            cluster = await self._initialise(name, Origin.IMPORTED, by=by, reason=reason)
        if cluster.is_initialised:
            await self._require_same(cluster, cookie)
            return cluster, False
        (first,) = cluster.versions.values()
        if first.origin is not Origin.IMPORTED:
            raise AlreadyInitialised("version 1 is being made just now")
        await self._put(cluster, cookie)
        # I2 is the reconciler's.
        initialised = await self._changes.until(name, lambda found: found.is_initialised)
        if initialised is None:
            raise StateUnavailable("the import is written and will be taken up; ask for the status")
        return initialised, True

    async def _put(self, cluster: Cluster, cookie: Cookie) -> None:
        if cluster.master is None or cluster.first_epoch is None:
            raise NotInitialised
        if not await self._keyring.is_open(cluster.master, cluster.first_epoch):
            await self._keyring.open(cluster.master, cluster.first_epoch, line=Line.KI1)
        document = await self._executor.first_document(cluster, cookie, fence=await self._fence())
        try:
            await self._executor.create(cluster.name, document)
        except StoreConflict:
            await self._require_same(cluster, cookie)

    async def _require_same(self, cluster: Cluster, cookie: Cookie) -> None:
        stored = await self._documents.read(cluster.name)
        first = next(iter(sorted(cluster.versions)))
        if stored is not None and stored.document.cluster_uid == cluster.uid:
            document = stored.document
            fingerprint = cookie.fingerprint(document.fingerprint_key, document.cluster_uid)
            known = cluster.versions[first].fingerprint or document.fingerprints().get(first)
            if known == fingerprint:
                return
        raise AlreadyInitialised("the cluster has another cookie already; rotate it instead")
