"""Hand out, renew and complete claims on restarts; say what may restart next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.domain import claims, rollout
from rotator.domain.ids import ClaimId
from rotator.services.commands import new_id

if TYPE_CHECKING:
    from rotator.domain.claim import Claim
    from rotator.domain.claims import Word
    from rotator.domain.cluster import Change, Cluster
    from rotator.domain.ids import ClusterName, NodeName
    from rotator.domain.liveness import Crowd
    from rotator.domain.rollout import Outlook
    from rotator.services.changes import Changes, ReceiptFor


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an orchestrator asks for."""

    ids: tuple[ClaimId, ...]  #: of the claims, as many as it takes at most
    holder: str
    among: frozenset[NodeName] | None  #: None: any node

    def taken(self, cluster: Cluster) -> tuple[Claim, ...]:
        """Those that were handed out, in order."""
        return tuple(cluster.claims[key] for key in self.ids if key in cluster.claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutReport:
    """The rollout of a cluster as orchestrators see it."""

    crowd: Crowd
    outlook: Outlook


class Claims:
    """Claims by compare-and-set on the cluster's revision: of two who ask, one gets it."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def report(self, name: ClusterName) -> RolloutReport:
        """What may restart now, and what waits for what; `NotFound`."""
        crowd = await self._changes.crowd(name)
        return RolloutReport(crowd=crowd, outlook=rollout.outlook(crowd))

    async def wanted(
        self, *, most: int, holder: str, among: frozenset[NodeName] | None = None
    ) -> Wanted:
        """The ids are made first, so that an answer can be kept with what it tells of."""
        now = await self._changes.states.now()
        ids = tuple(ClaimId(new_id(now)) for _ in range(most))
        return Wanted(ids=ids, holder=holder, among=among)

    async def take(
        self, name: ClusterName, wanted: Wanted, *, by: str, receipt: ReceiptFor | None = None
    ) -> tuple[Claim, ...]:
        """Claims on what may restart now; none is no error, and keeps no receipt."""

        def decide(crowd: Crowd) -> Change:
            return claims.take(
                crowd, by=by, holder=wanted.holder, ids=wanted.ids, among=wanted.among
            )

        if not decide(await self._changes.crowd(name)).facts:
            return ()
        return wanted.taken(await self._changes.make(name, decide, receipt=receipt))

    async def change(self, name: ClusterName, claim: ClaimId, word: Word, *, by: str) -> Claim:
        """What its holder says of a claim; `ClaimLost`, `RolloutPaused`, `NotFound`."""

        def decide(crowd: Crowd) -> Change:
            return claims.change(crowd, claim, word, by=by)

        return (await self._changes.make(name, decide)).claims[claim]
