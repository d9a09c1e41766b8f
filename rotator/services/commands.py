"""What operators ask for: begin a rotation, decide about one, let members go."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from rotator.domain import adoption, agentless, commands, departures, drift, meaning, orders
from rotator.domain.actions import Line
from rotator.domain.commands import Request, Start
from rotator.domain.ids import Generation, RotationId, VersionNumber
from rotator.domain.rotation import Kind, Phase
from rotator.errors import Conflict, NotFound, PhaseForbids, SecretStoreError

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from rotator.domain.cluster import Blocker, Change, Cluster
    from rotator.domain.ids import ClusterName, NodeName
    from rotator.domain.liveness import Crowd
    from rotator.domain.rotation import Rotation
    from rotator.services.changes import Changes, ReceiptFor
    from rotator.services.documents import Documents
    from rotator.services.keyring import KeyRing

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


class Order(Protocol):
    """A decision about a rotation under way; see `rotator.domain.orders`."""

    def __call__(self, cluster: Cluster, rotation_id: RotationId, request: Request, /) -> Change:
        """The change, or a `Conflict`."""
        ...


class ScheduleOrder(Protocol):
    """A decision about a cluster's schedule; see `rotator.domain.schedule_steps`."""

    def __call__(self, crowd: Crowd, request: Request, /) -> Change:
        """The change, or a `Conflict`."""
        ...


#: Orders that are a line of the order of writes.
_LINES: Final[dict[Order, Line]] = {orders.abort: Line.A1, orders.roll_back: Line.R1}

#: What no emergency ends by itself.
WHAT_STAYS: Final = (
    "code that already runs inside a node ends only with that node",
    "node tokens that an intruder may have read stay valid: issue new ones",
)


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
    """Intents of operators. *by* names the principal, for the facts."""

    def __init__(self, *, changes: Changes, documents: Documents, keyring: KeyRing) -> None:
        self._changes = changes
        self._documents = documents
        self._keyring = keyring

    async def _marks(self, name: ClusterName) -> tuple[VersionNumber, Generation]:
        """The highest number in the secrets manager, and the generation that it was written at.

        0 where it cannot be read just now: then a number that was used already is found when it is
        to be written, and freezes.
        """
        try:
            stored = await self._documents.read(name, max_age=1.0)
        except SecretStoreError:
            stored = None
        if stored is None:
            return VersionNumber(0), Generation(0)
        return stored.document.last_version, stored.document.stamp.generation

    async def plan(self, name: ClusterName, *, kind: Kind, force: bool) -> Plan:
        """A dry run: what `start` would do now. Writes nothing."""
        crowd = await self._changes.crowd(name)
        cluster = crowd.cluster
        if cluster.current is None:
            raise commands.without_version(cluster)
        conflict: Conflict | None = None
        try:
            commands.why_not_start(crowd, kind, force=force)
        except Conflict as reason:
            conflict = reason
        last_used, _ = await self._marks(name)
        return Plan(
            kind=kind,
            from_version=cluster.current.number,
            to_version=commands.next_number(cluster, last_used),
            phases=_SHORT if kind is Kind.EMERGENCY else _FULL,
            awaits=(*(member.name for member in crowd.awaited()), *_words(crowd, kind)),
            blockers=(*drift.drifters(crowd), *adoption.absent(crowd)),
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
        crowd = await self._changes.crowd(name)
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
        last_used, seen = await self._marks(name)

        def decide(crowd: Crowd) -> Change:
            request = Request(by=by, reason=reason, at=crowd.now)
            return commands.start(crowd, request, wanted, last_used=last_used, seen=seen)

        line = Line.E1 if kind is Kind.EMERGENCY else Line.S1
        cluster = await self._changes.make(name, decide, line=line, receipt=receipt)
        if cluster.rotation is None:
            raise PhaseForbids("the rotation has ended at once")
        return cluster.rotation

    async def decide(
        self,
        rotation_id: RotationId,
        order: Order,
        *,
        by: str,
        reason: str,
        receipt: ReceiptFor | None = None,
    ) -> Rotation:
        """Carry out one of `rotator.domain.orders`; the rotation after it."""
        rotation = await self._changes.states.rotation(rotation_id)
        if rotation is None:
            raise NotFound("there is no such rotation")

        def decide(crowd: Crowd) -> Change:
            request = Request(by=by, reason=reason, at=crowd.now)
            return order(crowd.cluster, rotation_id, request)

        line = _LINES.get(order)
        cluster = await self._changes.make(rotation.cluster, decide, line=line, receipt=receipt)
        return cluster.rotation or rotation

    async def order_schedule(
        self,
        name: ClusterName,
        order: ScheduleOrder,
        *,
        by: str,
        reason: str,
        receipt: ReceiptFor | None = None,
    ) -> Cluster:
        """Pause or resume the cluster's schedule; the cluster after it."""

        def decide(crowd: Crowd) -> Change:
            return order(crowd, Request(by=by, reason=reason, at=crowd.now))

        return await self._changes.make(name, decide, receipt=receipt)

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

        def decide(crowd: Crowd) -> Change:
            request = Request(by=by, reason=reason, at=crowd.now)
            return departures.excuse(crowd, node, request, force=force)

        return await self._changes.make(name, decide, receipt=receipt)

    async def leave(self, name: ClusterName, node: NodeName, *, by: str, reason: str) -> Cluster:
        """A node leaves in good order."""

        def decide(crowd: Crowd) -> Change:
            request = Request(by=by, reason=reason, at=crowd.now)
            return departures.leave(crowd.cluster, node, request)

        return await self._changes.make(name, decide)

    async def remove(
        self, name: ClusterName, node: NodeName, *, by: str, reason: str, force: bool
    ) -> Cluster:
        """A member is gone for good; its credentials are revoked before (the caller's)."""

        def decide(crowd: Crowd) -> Change:
            request = Request(by=by, reason=reason, at=crowd.now)
            return departures.remove(crowd, node, request, force=force)

        return await self._changes.make(name, decide)

    async def readmit(self, name: ClusterName, node: NodeName, *, by: str, reason: str) -> Cluster:
        """Let a node that was shut out join again, as any that is new."""

        def decide(crowd: Crowd) -> Change:
            request = Request(by=by, reason=reason, at=crowd.now)
            return departures.readmit(crowd.cluster, node, request)

        return await self._changes.make(name, decide)


def _words(crowd: Crowd, kind: Kind) -> tuple[NodeName, ...]:
    """Nodes without an agent; an emergency waits for none of them."""
    return () if kind is Kind.EMERGENCY else agentless.names(crowd)


def _by_restart(crowd: Crowd) -> str:
    members, most = len(crowd.awaited()), crowd.policy.rollout.max_unavailable
    return (
        f"{members} members take the new version at their next start: an orchestrator restarts"
        f" them, at most {most} at once"
    )


def _warnings(crowd: Crowd, kind: Kind) -> tuple[str, ...]:
    found = []
    is_emergency = kind is Kind.EMERGENCY
    if not crowd.policy.expects_members and not crowd.cluster.members:
        words = agentless.names(crowd) and not is_emergency
        goes = "by the word of who restarts its nodes" if words else "by the clock alone"
        found.append(f"no members are expected: it goes {goes}, nothing is proven")
    elif crowd.policy.restarts and not is_emergency and crowd.awaited():
        found.append(_by_restart(crowd))
    found.extend(meaning.untouched(crowd) if is_emergency else meaning.notes(crowd))
    if is_emergency:
        found.extend(WHAT_STAYS)
    elif not crowd.policy.grace_window:
        found.append("the grace window is 0: there is no way back once every node has adopted")
    return tuple(found)
