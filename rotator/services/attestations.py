"""Take a node's report; what is stale or false is refused, and that is a fact.

One fact for each node and kind of refusal, until the node reports well again: an agent that
repeats itself must not fill the database.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rotator.domain import invariants, membership
from rotator.domain.cluster import Attestation, ReadFrom
from rotator.domain.facts import FactKind
from rotator.errors import (
    NotFound,
    RevisionConflict,
    StaleGeneration,
    StateUnavailable,
    WrongFingerprint,
)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import ClusterName, Generation, NodeName
    from rotator.domain.liveness import Crowd
    from rotator.domain.membership import Taken
    from rotator.domain.policy import Adoption, OnDrift
    from rotator.ports.state_store import ClusterStates
    from rotator.ports.wakeups import Wakeups
    from rotator.services.changes import Poke
    from rotator.services.crowds import Crowds
    from rotator.services.turns import Turns

_ATTEMPTS: Final = 50
_LINKS_EVERY: Final = 3600.0  #: seconds between facts about a member's foreign links
_NONE: Final = ReadFrom.NONE
_REFUSALS: Final = (FactKind.WRONG_FINGERPRINT_REFUSED, FactKind.STALE_GENERATION_REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the node is told."""

    generation: Generation
    heartbeat: timedelta
    join: bool
    on_drift: OnDrift
    adoption: Adoption


class Attestations:
    """Takes reports. What a decision depends on is durable before the answer is given."""

    def __init__(
        self,
        *,
        states: ClusterStates,
        crowds: Crowds,
        wakeups: Wakeups,
        poke: Poke,
        turns: Turns,
    ) -> None:
        self._turns = turns
        self._states = states
        self._crowds = crowds
        self._wakeups = wakeups
        self._poke = poke
        self._links_named_at: dict[tuple[ClusterName, NodeName], float] = {}
        self._refused: dict[ClusterName, set[tuple[NodeName, FactKind]]] = {}

    async def take(self, name: ClusterName, node: NodeName, said: Attestation) -> Answer:
        """Take one; `StaleGeneration`, `WrongFingerprint`, `TooManyMembers` or `NodeShutOut`."""
        async with self._turns.of(name):
            return await self._take(name, node, said)

    async def _take(self, name: ClusterName, node: NodeName, said: Attestation) -> Answer:
        for _ in range(_ATTEMPTS):
            cluster = await self._states.load(name)
            if cluster is None:
                raise NotFound(f"there is no cluster {name}")
            now = await self._states.now()
            crowd = self._crowds.of(cluster, now=now)
            try:
                taken = membership.attest(
                    crowd, node, said, may_name_links=self._may_name_links(name, node)
                )
            except (StaleGeneration, WrongFingerprint) as error:
                try:
                    await self._note_ahead(cluster, node, said)
                except RevisionConflict:
                    continue
                await self._refuse(cluster, node, error, now)
                raise
            try:
                generation = await self._store(crowd, taken)
            except RevisionConflict:
                continue
            self._note_links(name, node, taken)
            if said.read_from is not ReadFrom.NONE:
                self._crowds.heard(name, node, at=now)
            self._refused.get(name, set()).difference_update((node, kind) for kind in _REFUSALS)
            return Answer(
                generation=generation,
                heartbeat=crowd.policy.heartbeat,
                join=taken.may_boot,
                on_drift=crowd.policy.on_drift,
                adoption=crowd.policy.adoption,
            )
        raise StateUnavailable("too many changes of this cluster at the same time; try again")

    def _may_name_links(self, name: ClusterName, node: NodeName) -> bool:
        """Tools link up under a random name at each call: one fact an hour says that they do."""
        named_at = self._links_named_at.get((name, node))
        return named_at is None or time.monotonic() - named_at >= _LINKS_EVERY

    def _note_links(self, name: ClusterName, node: NodeName, taken: Taken) -> None:
        facts = taken.change.facts if taken.change else ()
        if any(fact.kind is FactKind.FOREIGN_LINK_SEEN for fact in facts):
            self._links_named_at[name, node] = time.monotonic()

    async def _store(self, crowd: Crowd, taken: Taken) -> Generation:
        if taken.change is None:
            return crowd.cluster.generation
        invariants.check(crowd, taken.change)
        saved = await self._states.save(crowd.cluster, taken.change)
        self._poke(saved.name)
        if saved.generation != crowd.cluster.generation:
            await self._wakeups.notify(saved.name)
        return saved.generation

    async def look_ahead(self, name: ClusterName, node: NodeName, generation: Generation) -> None:
        """A node that asks knows this generation already; `StaleGeneration` if it is none of ours."""
        said = Attestation(generation=generation, at=await self._states.now(), read_from=_NONE)
        for _ in range(_ATTEMPTS):
            cluster = await self._states.load(name)
            if cluster is None or cluster.uid is None or cluster.generation >= generation:
                return
            try:
                await self._note_ahead(cluster, node, said)
            except RevisionConflict:
                continue
            raise StaleGeneration(
                f"generation {generation} is newer than this state store: it is an old copy"
            )

    async def _note_ahead(self, cluster: Cluster, node: NodeName, said: Attestation) -> None:
        """What the report says of a loss is durable before it is refused."""
        ahead = membership.ahead_of(cluster, node, said)
        if ahead is None:
            return
        change = membership.note_ahead(cluster, ahead, now=await self._states.now())
        if change is None:
            return
        await self._states.save(cluster, change)
        self._poke(cluster.name)
        await self._wakeups.notify(cluster.name)

    async def _refuse(
        self,
        cluster: Cluster,
        node: NodeName,
        error: StaleGeneration | WrongFingerprint,
        now: datetime,
    ) -> None:
        kind = (
            FactKind.WRONG_FINGERPRINT_REFUSED
            if isinstance(error, WrongFingerprint)
            else FactKind.STALE_GENERATION_REFUSED
        )
        refused = self._refused.setdefault(cluster.name, set())
        # Names that are no members can be made up without end; those of members cannot.
        is_enough = node not in cluster.members and len(refused) >= membership.MAX_MEMBERS
        if is_enough or (node, kind) in refused:
            return
        refused.add((node, kind))
        try:
            fact = membership.refused(node, kind, now=now)
            await self._states.add_fact(fact, cluster=cluster.name)
        except BaseException:
            refused.discard((node, kind))
            raise
