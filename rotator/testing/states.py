"""The state store in memory, for unit tests and for simulations of years.

It outlives the services that use it, as a database outlives a process. Compare-and-set, fencing,
facts that are written once and failpoints are as the ports promise; a chain is numbered, not hashed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rotator import failpoints
from rotator.domain.cluster import Change, Cluster
from rotator.domain.document import FactsHead
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import EpochNumber, Fence
from rotator.errors import FenceLost, InvariantViolated, RevisionConflict, StateUnavailable
from rotator.ports.state_store import ChainedFact, EpochRow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from rotator.domain.ids import ClusterName, MasterName, NodeName, RotationId
    from rotator.domain.rotation import Rotation
    from rotator.ports.state_store import Receipt


class MemoryClusterStates:
    """`ports.state_store.ClusterStates`; *now* is the clock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._fence = Fence(0)
        self._clusters: dict[ClusterName, Cluster] = {}
        self._rotations: dict[RotationId, Rotation] = {}
        self._facts: list[ChainedFact] = []
        self._by_cluster: dict[ClusterName | None, list[ChainedFact]] = {}
        self._once: set[tuple[ClusterName | None, str]] = set()
        self._receipts: dict[tuple[str, str], Receipt] = {}

    async def acquire(self) -> Fence:
        """The fencing token of a new leader; the former one is shut out."""
        self._fence = Fence(self._fence + 1)
        return self._fence

    async def declare(self, names: Collection[ClusterName], *, now: datetime) -> None:
        """See the port."""
        for name in {*names, *self._clusters}:
            cluster = self._clusters.setdefault(name, Cluster(name=name, is_declared=False))
            if cluster.is_declared != (name in names):
                is_new = name in names
                kind = FactKind.CLUSTER_DECLARED if is_new else FactKind.CLUSTER_UNDECLARED
                declared = replace(cluster, is_declared=is_new)
                fact = Fact(kind=kind, at=now, by="configuration")
                await self.save(cluster, Change(cluster=declared, facts=(fact,)))

    async def names(self) -> tuple[ClusterName, ...]:
        """See the port."""
        return tuple(sorted(self._clusters))

    async def load(self, name: ClusterName) -> Cluster | None:
        """See the port."""
        return self._clusters.get(name)

    async def save(
        self,
        before: Cluster,
        change: Change,
        *,
        line: str = "",
        fence: Fence | None = None,
        receipt: Receipt | None = None,
    ) -> Cluster:
        """See the port."""
        try:
            if line:
                failpoints.hit(line, "before")
            saved = self._save(before, change, fence=fence)
            if receipt is not None:
                await self.keep(receipt)
            if line:
                failpoints.hit(line, "after")
                failpoints.hit(line, "lost")
        except failpoints.AnswerLost as lost:
            raise StateUnavailable(str(lost)) from None
        return saved

    def _save(self, before: Cluster, change: Change, *, fence: Fence | None) -> Cluster:
        there = self._clusters[before.name]
        if fence is not None and fence != self._fence:
            raise FenceLost
        if there.revision != before.revision:
            raise RevisionConflict
        self._require_one_unfinished(there, change)
        for fact in change.facts:
            self._append(before.name, fact)
        chain = self._by_cluster.get(before.name, [])
        head = FactsHead(seq=len(chain), hash=chain[-1].hash) if chain else there.facts_head
        saved = replace(change.cluster, revision=before.revision + 1, facts_head=head)
        for rotation in change.rotations:
            self._rotations[rotation.id] = rotation
        if saved.rotation is not None:
            self._rotations[saved.rotation.id] = saved.rotation
        self._clusters[before.name] = saved
        return saved

    def _require_one_unfinished(self, there: Cluster, change: Change) -> None:
        was, kept = there.rotation, change.cluster.rotation
        ended = {rotation.id for rotation in change.rotations if rotation.is_finished}
        if was is not None and (kept is None or kept.id != was.id) and was.id not in ended:
            raise InvariantViolated(f"rotation {was.id} would be left without an end")

    def _append(self, cluster: ClusterName | None, fact: Fact) -> None:
        if fact.once_key is not None and (cluster, fact.once_key) in self._once:
            return
        if fact.once_key is not None:
            self._once.add((cluster, fact.once_key))
        chain = self._by_cluster.setdefault(cluster, [])
        seq, position = len(chain) + 1, len(self._facts) + 1
        link = ChainedFact(
            cluster=cluster, seq=seq, position=position, fact=fact, hash=f"{position:064x}"
        )
        chain.append(link)
        self._facts.append(link)

    async def touch(self, seen: Mapping[ClusterName, Mapping[NodeName, datetime]]) -> None:
        """See the port."""
        for name, nodes in seen.items():
            for node, at in nodes.items():
                cluster = self._clusters[name]
                member = cluster.members.get(node)
                if member is not None and member.last_seen < at:
                    self._clusters[name] = cluster.with_member(replace(member, last_seen=at))

    async def stand(self, cluster: Cluster, *, fence: Fence | None = None) -> None:
        """See the port."""
        if fence is not None and fence != self._fence:
            raise FenceLost
        there = self._clusters[cluster.name]
        if there.revision == cluster.revision:
            self._clusters[cluster.name] = replace(there, blockers=cluster.blockers)

    async def rotation(self, rotation_id: RotationId) -> Rotation | None:
        """See the port."""
        return self._rotations.get(rotation_id)

    async def rotations(
        self,
        cluster: ClusterName | None,
        *,
        before: str | None = None,
        limit: int = 50,
        emergency_id: str | None = None,
    ) -> tuple[Rotation, ...]:
        """See the port."""
        found = sorted(self._rotations.values(), key=lambda one: one.started_at, reverse=True)
        ids = [one.id for one in found]
        found = found[ids.index(before) + 1 :] if before in ids else found  # type: ignore[arg-type]
        return tuple(
            one
            for one in found
            if cluster in {None, one.cluster} and emergency_id in {None, one.emergency_id}
        )[:limit]

    async def facts(
        self,
        cluster: ClusterName | None,
        *,
        after: int = 0,
        limit: int = 100,
        rotation: RotationId | None = None,
        newest_first: bool = False,
    ) -> tuple[ChainedFact, ...]:
        """See the port."""
        found = self._facts if cluster is None else self._by_cluster.get(cluster, [])
        wanted = [one for one in found if rotation in {None, one.fact.rotation}]
        if newest_first:
            wanted = [one for one in reversed(wanted) if not after or one.position < after]
            return tuple(wanted[:limit])
        return tuple(one for one in wanted if one.position > after)[:limit]

    async def holds(self, cluster: ClusterName, head: FactsHead) -> bool:
        """See the port."""
        chain = self._by_cluster.get(cluster, [])
        return head.seq == 0 or (
            0 < head.seq <= len(chain) and chain[head.seq - 1].hash == head.hash
        )

    async def add_fact(self, fact: Fact, *, cluster: ClusterName | None = None) -> None:
        """See the port."""
        self._append(cluster, fact)

    async def keep(self, receipt: Receipt) -> None:
        """See the port."""
        if self._receipts.setdefault((receipt.principal, receipt.key), receipt) is not receipt:
            raise StateUnavailable("this idempotency key is in use")

    async def receipt(self, principal: str, key: str, *, now: datetime) -> Receipt | None:  # noqa: ARG002 - as the port
        """See the port; nothing is forgotten."""
        return self._receipts.get((principal, key))

    async def now(self) -> datetime:
        """See the port."""
        return self._now()


class MemoryEpochs:
    """`ports.state_store.Epochs`."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._rows: dict[MasterName, list[EpochRow]] = {}
        self.facts: list[Fact] = []

    async def allocate(self, master: MasterName, opened_for: str) -> EpochNumber:
        """See the port."""
        rows = self._rows.setdefault(master, [])
        known = next((row.number for row in rows if row.opened_for == opened_for), None)
        if known is not None:
            return known
        number = EpochNumber(max((row.number for row in rows), default=0) + 1)
        rows.append(EpochRow(master=master, number=number, opened_for=opened_for, is_open=False))
        return number

    async def newest(self, master: MasterName) -> EpochRow | None:
        """See the port."""
        rows = [row for row in self._rows.get(master, []) if row.is_open]
        return rows[-1] if rows else None

    async def get(self, master: MasterName, number: EpochNumber) -> EpochRow | None:
        """See the port."""
        return next((row for row in self._rows.get(master, []) if row.number == number), None)

    async def mark_open(
        self, master: MasterName, number: EpochNumber, *, fact: Fact | None = None
    ) -> None:
        """See the port."""
        rows = self._rows.get(master, [])
        for place, row in enumerate(rows):
            if row.number == number and not row.is_open:
                rows[place] = replace(row, is_open=True, opened_at=self._now())
                self.facts += () if fact is None else (fact,)

    async def take_up(self, row: EpochRow) -> None:
        """See the port."""
        rows = [
            one
            for one in self._rows.get(row.master, [])
            if one.number != row.number and one.opened_for != row.opened_for
        ]
        self._rows[row.master] = sorted([*rows, row], key=lambda one: one.number)
