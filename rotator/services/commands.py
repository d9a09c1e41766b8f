"""What operators ask for: a compare-and-set on the cluster, then a poke of the reconciler."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from rotator.domain import adoption, commands, invariants
from rotator.domain.actions import Line
from rotator.domain.cluster import Blocker, Change
from rotator.domain.commands import Request, Start
from rotator.domain.ids import ClusterUid, RotationId, VersionNumber
from rotator.domain.rotation import Kind, Phase
from rotator.domain.version import Origin
from rotator.errors import (
    AlreadyInitialised,
    Conflict,
    NotFound,
    NotInitialised,
    PhaseForbids,
    RevisionConflict,
    RotatorError,
    SecretStoreError,
    StateUnavailable,
    StoreConflict,
)
from rotator.ports.state_store import EmergencyRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from rotator.domain.cluster import Cluster
    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import ClusterName, Fence, NodeName
    from rotator.domain.liveness import Crowd
    from rotator.domain.rotation import Rotation
    from rotator.ports.state_store import ClusterStates, Emergencies, Receipt
    from rotator.ports.wakeups import Wakeups
    from rotator.services.crowds import Crowds
    from rotator.services.documents import Documents
    from rotator.services.executor import Executor
    from rotator.services.keyring import KeyRing

_AT_ONCE: Final = 16  #: clusters of one emergency
_ATTEMPTS: Final = 50  #: against others that change the same cluster at the same time
_FULL: Final = (
    Phase.STAGED,
    Phase.INSTALLING,
    Phase.PROMOTING,
    Phase.ROLLING_OUT,
    Phase.GRACE,
    Phase.RETIRING,
    Phase.COMPLETED,
)
_SHORT: Final = (Phase.LOCKING, Phase.PROMOTING, Phase.ROLLING_OUT, Phase.RETIRING, Phase.COMPLETED)


class ReceiptFor(Protocol):
    """Makes the answer that is stored in the same transaction as the change."""

    def __call__(self, cluster: Cluster, rotation: Rotation | None) -> Receipt:
        """The receipt for this outcome."""
        ...


class Poke(Protocol):
    """Tells the reconciler to look."""

    def __call__(self, cluster: ClusterName) -> None:
        """Look at this cluster at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a rotation would do if it were asked for now."""

    kind: Kind
    from_version: VersionNumber
    to_version: VersionNumber
    phases: tuple[Phase, ...]
    awaits: tuple[NodeName, ...]
    blockers: tuple[Blocker, ...]
    conflict: Conflict | None
    grace_window: timedelta
    warnings: tuple[str, ...]


def new_id(now: datetime) -> str:
    """An id that sorts by time: 12 hex digits of milliseconds, and 48 random bits."""
    return f"{int(now.timestamp() * 1000):012x}-{secrets.token_hex(6)}"


class Commands:
    """Intents of operators and admins. *by* names the principal, for the facts."""

    def __init__(
        self,
        *,
        states: ClusterStates,
        emergencies: Emergencies,
        documents: Documents,
        keyring: KeyRing,
        executor: Executor,
        crowds: Crowds,
        wakeups: Wakeups,
        poke: Poke,
        fence: Fence,
    ) -> None:
        self._states = states
        self._emergencies = emergencies
        self._documents = documents
        self._keyring = keyring
        self._executor = executor
        self._crowds = crowds
        self._wakeups = wakeups
        self._poke = poke
        self._fence = fence

    async def _crowd(self, name: ClusterName) -> Crowd:
        cluster = await self._states.load(name)
        if cluster is None:
            raise NotFound(f"there is no cluster {name}; is it in the configuration?")
        return self._crowds.of(cluster, now=await self._states.now())

    async def _change(
        self,
        name: ClusterName,
        decide: Callable[[Crowd], Change],
        *,
        line: Line | None = None,
        receipt: ReceiptFor | None = None,
    ) -> Cluster:
        for _ in range(_ATTEMPTS):
            crowd = await self._crowd(name)
            change = decide(crowd)
            invariants.check(crowd, change)
            answer = receipt(change.cluster, change.cluster.rotation) if receipt else None
            if not change.facts and answer is None:
                return crowd.cluster
            try:
                saved = await self._states.save(
                    crowd.cluster, change, line=line or "", receipt=answer
                )
            except RevisionConflict:
                continue
            finally:
                # Also after a lost answer: the reconciler looks, and wakes who waits.
                self._poke(name)
            await self._wakeups.notify(name)
            return saved
        raise StateUnavailable("too many changes of this cluster at the same time; try again")

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
        master = self._crowds.policy(name).master
        await self._crowd(name)
        epoch = await self._keyring.current_epoch(master)
        uid = ClusterUid(secrets.token_hex(16))

        def decide(crowd: Crowd) -> Change:
            request = Request(by=by, reason=reason, at=crowd.now)
            return commands.initialise(crowd, request, uid=uid, epoch=epoch, origin=origin)

        return await self._change(name, decide, line=Line.I1, receipt=receipt)

    async def import_(
        self, name: ClusterName, cookie: Cookie, *, by: str, reason: str
    ) -> tuple[Cluster, bool]:
        """Take a running cluster's cookie as version 1; whether it was done now.

        Repeating it with the same cookie is harmless, with another one `AlreadyInitialised`.
        The cookie goes to the secrets manager and nowhere else.
        """
        cluster = (await self._crowd(name)).cluster
        if cluster.uid is None:
            cluster = await self._initialise(name, Origin.IMPORTED, by=by, reason=reason)
        if cluster.is_initialised:
            await self._same_cookie(cluster, cookie)
            return cluster, False
        (first,) = cluster.versions.values()
        if first.origin is not Origin.IMPORTED:
            raise AlreadyInitialised("version 1 is being made just now")
        await self._put_imported(cluster, cookie)
        return await self._until_initialised(name), True

    async def _put_imported(self, cluster: Cluster, cookie: Cookie) -> None:
        if cluster.master is None or cluster.first_epoch is None:
            raise NotInitialised
        if not await self._keyring.is_open(cluster.master, cluster.first_epoch):
            await self._keyring.open(cluster.master, cluster.first_epoch, line=Line.KI1)
        document = await self._executor.first_document(cluster, cookie, fence=self._fence)
        try:
            await self._executor.create(cluster.name, document)
        except StoreConflict:
            await self._same_cookie(cluster, cookie)

    async def _same_cookie(self, cluster: Cluster, cookie: Cookie) -> None:
        stored = await self._documents.read(cluster.name)
        first = next(iter(sorted(cluster.versions)))
        if stored is not None and stored.document.cluster_uid == cluster.uid:
            document = stored.document
            fingerprint = cookie.fingerprint(document.fingerprint_key, document.cluster_uid)
            known = cluster.versions[first].fingerprint or document.fingerprints().get(first)
            if known == fingerprint:
                return
        raise AlreadyInitialised("the cluster has another cookie already; rotate it instead")

    async def _until_initialised(self, name: ClusterName) -> Cluster:
        """I2 is the reconciler's; wait for it, within bounds."""
        for _ in range(_ATTEMPTS):
            self._poke(name)
            cluster = (await self._crowd(name)).cluster
            if cluster.is_initialised:
                return cluster
            await self._wakeups.wait(name, seconds=0.1)
        raise StateUnavailable("the import is written and will be taken up; ask for the status")

    async def _last_used(self, name: ClusterName) -> VersionNumber:
        """The highest number in the secrets manager; 0 where it cannot be read just now.

        Then a number that was used already is found when it is to be written, and freezes.
        """
        try:
            stored = await self._documents.read(name, max_age=1.0)
        except SecretStoreError:
            stored = None
        return stored.document.last_version if stored else VersionNumber(0)

    async def plan(self, name: ClusterName, *, kind: Kind, force: bool) -> Plan:
        """A dry run: what `start` would do now. Writes nothing."""
        crowd = await self._crowd(name)
        cluster = crowd.cluster
        if cluster.current is None:
            raise NotInitialised
        conflict: Conflict | None = None
        try:
            commands.why_not_start(crowd, kind, force=force)
        except Conflict as reason:
            conflict = reason
        return Plan(
            kind=kind,
            from_version=cluster.current.number,
            to_version=commands.next_number(cluster, await self._last_used(name)),
            phases=_SHORT if kind is Kind.EMERGENCY else _FULL,
            awaits=tuple(member.name for member in crowd.awaited()),
            blockers=(*adoption.unknown_cookies(crowd), *adoption.absent(crowd)),
            conflict=conflict,
            grace_window=crowd.policy.grace_window,
            warnings=_warnings(crowd, kind),
        )

    async def start(
        self,
        name: ClusterName,
        *,
        kind: Kind,
        by: str,
        reason: str,
        exclude: tuple[NodeName, ...] = (),
        force: bool = False,
        emergency_id: str | None = None,
        receipt: ReceiptFor | None = None,
    ) -> Rotation:
        """S1, or E1 for an emergency: begin a rotation."""
        crowd = await self._crowd(name)
        commands.why_not_start(crowd, kind, force=force)
        rotation_id = RotationId(new_id(crowd.now))
        master = crowd.cluster.master or crowd.policy.master
        if kind is Kind.EMERGENCY:
            epoch = await self._keyring.next_epoch(master, emergency_id or rotation_id)
        else:
            epoch = await self._keyring.current_epoch(master)
        wanted = Start(
            id=rotation_id,
            kind=kind,
            epoch=epoch,
            excludes=exclude,
            force=force,
            emergency_id=emergency_id,
        )

        last_used = await self._last_used(name)

        def decide(crowd: Crowd) -> Change:
            request = Request(by=by, reason=reason, at=crowd.now)
            return commands.start(crowd, request, wanted, last_used=last_used)

        line = Line.E1 if kind is Kind.EMERGENCY else Line.S1
        cluster = await self._change(name, decide, line=line, receipt=receipt)
        if cluster.rotation is None:
            raise PhaseForbids("the rotation has ended at once")
        return cluster.rotation

    async def emergency(
        self,
        names: Sequence[ClusterName],
        *,
        by: str,
        reason: str,
        exclude: tuple[NodeName, ...],
        force: bool,
        emergency_id: str,
    ) -> EmergencyRow:
        """Many clusters at once, with one new epoch per master; a row for each.

        Repeating it with the same id goes on where it was interrupted.
        """
        slots = asyncio.Semaphore(_AT_ONCE)

        async def begin(name: ClusterName) -> dict[str, str]:
            async with slots:
                return await self._begin_one(
                    name,
                    by=by,
                    reason=reason,
                    exclude=exclude,
                    force=force,
                    emergency_id=emergency_id,
                )

        rows = await asyncio.gather(*map(begin, names))
        row = EmergencyRow(
            id=emergency_id, at=await self._states.now(), by=by, reason=reason, rows=tuple(rows)
        )
        await self._emergencies.add(row)
        return row

    async def _begin_one(
        self,
        name: ClusterName,
        *,
        by: str,
        reason: str,
        exclude: tuple[NodeName, ...],
        force: bool,
        emergency_id: str,
    ) -> dict[str, str]:
        begun = await self._states.rotations(name, emergency_id=emergency_id, limit=1)
        if begun:
            return {"cluster": name, "rotation": begun[0].id}
        try:
            rotation = await self.start(
                name,
                kind=Kind.EMERGENCY,
                by=by,
                reason=reason,
                exclude=exclude,
                force=force,
                emergency_id=emergency_id,
            )
        except RotatorError as error:
            return {"cluster": name, "error": error.code, "detail": str(error)}
        return {"cluster": name, "rotation": rotation.id}

    async def _on_rotation(
        self,
        rotation_id: RotationId,
        decide: Callable[[Crowd, Request], Change],
        *,
        by: str,
        reason: str,
        line: Line | None = None,
        receipt: ReceiptFor | None = None,
    ) -> Rotation:
        rotation = await self._states.rotation(rotation_id)
        if rotation is None:
            raise NotFound("there is no such rotation")

        def decide_now(crowd: Crowd) -> Change:
            return decide(crowd, Request(by=by, reason=reason, at=crowd.now))

        cluster = await self._change(rotation.cluster, decide_now, line=line, receipt=receipt)
        return cluster.rotation or rotation

    async def hold(
        self, rotation_id: RotationId, *, by: str, reason: str, receipt: ReceiptFor | None = None
    ) -> Rotation:
        """Let it pass no gate until it is released."""
        return await self._on_rotation(
            rotation_id,
            lambda crowd, request: commands.hold(crowd.cluster, rotation_id, request),
            by=by,
            reason=reason,
            receipt=receipt,
        )

    async def release(
        self, rotation_id: RotationId, *, by: str, reason: str, receipt: ReceiptFor | None = None
    ) -> Rotation:
        """Let a held rotation go on."""
        return await self._on_rotation(
            rotation_id,
            lambda crowd, request: commands.release(crowd.cluster, rotation_id, request),
            by=by,
            reason=reason,
            receipt=receipt,
        )

    async def abort(
        self, rotation_id: RotationId, *, by: str, reason: str, receipt: ReceiptFor | None = None
    ) -> Rotation:
        """A1: give it up before it is promoted."""
        return await self._on_rotation(
            rotation_id,
            lambda crowd, request: commands.abort(crowd.cluster, rotation_id, request),
            by=by,
            reason=reason,
            line=Line.A1,
            receipt=receipt,
        )

    async def roll_back(
        self, rotation_id: RotationId, *, by: str, reason: str, receipt: ReceiptFor | None = None
    ) -> Rotation:
        """R1: go back to the former version."""
        return await self._on_rotation(
            rotation_id,
            lambda crowd, request: commands.roll_back(crowd.cluster, rotation_id, request),
            by=by,
            reason=reason,
            line=Line.R1,
            receipt=receipt,
        )

    async def extend_grace(
        self,
        rotation_id: RotationId,
        *,
        window: timedelta,
        by: str,
        reason: str,
        receipt: ReceiptFor | None = None,
    ) -> Rotation:
        """Keep the way back open for *window* longer."""

        def decide(crowd: Crowd, request: Request) -> Change:
            rotation = crowd.cluster.rotation
            ends_at = (rotation and rotation.ends_at) or crowd.now
            later = max(ends_at, crowd.now) + window
            return commands.end_grace_at(crowd.cluster, rotation_id, request, ends_at=later)

        return await self._on_rotation(rotation_id, decide, by=by, reason=reason, receipt=receipt)

    async def end_grace(
        self, rotation_id: RotationId, *, by: str, reason: str, receipt: ReceiptFor | None = None
    ) -> Rotation:
        """Close the window now; whatever else the gate waits for, it goes on waiting for."""
        return await self._on_rotation(
            rotation_id,
            lambda crowd, request: commands.end_grace_at(
                crowd.cluster, rotation_id, request, ends_at=crowd.now
            ),
            by=by,
            reason=reason,
            receipt=receipt,
        )

    async def excuse(
        self,
        name: ClusterName,
        node: NodeName,
        *,
        by: str,
        reason: str,
        force: bool,
        receipt: ReceiptFor | None = None,
    ) -> Cluster:
        """No longer wait for a member."""
        return await self._change(
            name,
            lambda crowd: commands.excuse(
                crowd, node, Request(by=by, reason=reason, at=crowd.now), force=force
            ),
            receipt=receipt,
        )

    async def leave(self, name: ClusterName, node: NodeName, *, by: str, reason: str) -> Cluster:
        """A node leaves in good order."""
        return await self._change(
            name,
            lambda crowd: commands.leave(
                crowd.cluster, node, Request(by=by, reason=reason, at=crowd.now)
            ),
        )

    async def remove(
        self,
        name: ClusterName,
        node: NodeName,
        *,
        by: str,
        reason: str,
        force: bool,
        receipt: ReceiptFor | None = None,
    ) -> Cluster:
        """Forget a member for good; its credentials are revoked before (the caller's)."""
        return await self._change(
            name,
            lambda crowd: commands.remove(
                crowd, node, Request(by=by, reason=reason, at=crowd.now), force=force
            ),
            receipt=receipt,
        )


def _warnings(crowd: Crowd, kind: Kind) -> tuple[str, ...]:
    found = []
    if not crowd.policy.expects_members and not crowd.cluster.members:
        found.append("no members are expected: it goes by the clock alone, nothing is proven")
    if kind is Kind.EMERGENCY:
        found.append("code that already runs inside a node ends only with that node")
    elif not crowd.policy.grace_window:
        found.append("the grace window is 0: there is no way back once every node has adopted")
    return tuple(found)
