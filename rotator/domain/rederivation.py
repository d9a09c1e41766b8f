"""What a cluster's document has to hold, as the state store alone says: for one that was lost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from rotator.domain import agreement
from rotator.domain.ids import VersionNumber
from rotator.domain.version import Stage

if TYPE_CHECKING:
    from rotator.domain.agreement import DocumentView
    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import Fence
    from rotator.domain.version import Version


class Need(StrEnum):
    """What a document needs of `rederive`."""

    NOTHING = "nothing"
    WRITING = "writing"  #: it is gone, or one of ours from an earlier time
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one document needs, and why."""

    need: Need
    why: str


_OLDER: Final = "the document is one of ours, from an earlier time"


def find(cluster: Cluster, document: DocumentView | None, *, fence: Fence) -> Finding:
    """What the cluster's document needs, by the state store's record."""
    if not cluster.is_initialised:
        return Finding(need=Need.NOTHING, why="it is not initialised")
    if cluster.ahead is not None:
        why = f"both_stores_behind: {agreement.nodes_know_more(cluster.ahead)}"
        return Finding(need=Need.REFUSED, why=why)
    if document is None:
        return Finding(need=Need.WRITING, why="the document is gone")
    wrong = agreement.disagreement(cluster, document, fence=fence)
    if wrong is None:
        return Finding(need=Need.NOTHING, why="both stores agree")
    (blocker,) = wrong.blockers
    if blocker.code == "reverted_document":
        return Finding(need=Need.WRITING, why=_OLDER)
    hint = ": rotator recover" if blocker.code == "state_store_behind" else ""
    return Finding(need=Need.REFUSED, why=f"{blocker.code}: {blocker.detail}{hint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The versions that the document has to hold."""

    current: Version
    previous: Version | None
    pending: Version | None
    last_version: VersionNumber

    def versions(self) -> tuple[Version, ...]:
        """Those that are there."""
        return tuple(v for v in (self.current, self.previous, self.pending) if v is not None)


def slots(cluster: Cluster) -> Slots | None:
    """The slots by the versions' stages; None before there is a current one.

    A pending version without a fingerprint waits for K1 or KE2, which writes it: its number is
    not used yet.
    """
    current = cluster.current
    if current is None:
        return None
    pending = cluster.at_stage(Stage.PENDING)
    waits = pending is not None and pending.fingerprint is None
    used = [
        version.number
        for version in cluster.versions.values()
        if not (waits and version is pending)
    ]
    return Slots(
        current=current,
        previous=cluster.at_stage(Stage.PREVIOUS),
        pending=None if waits else pending,
        last_version=VersionNumber(max(used)),
    )
