"""Read models: what operators see, and what a node gets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from rotator.domain import adoption
from rotator.domain.departures import require_let_in
from rotator.domain.desired import DesiredState, desired_state
from rotator.domain.joining import pairs_of
from rotator.errors import NotFound, RotatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rotator.domain.cluster import Cluster
    from rotator.domain.document import ClusterDocument, StoredVersion
    from rotator.domain.ids import ClusterName, ClusterUid, NodeName, VersionNumber
    from rotator.domain.liveness import Crowd
    from rotator.domain.renewal import MasterStanding
    from rotator.ports.state_store import ClusterStates
    from rotator.services.crowds import Crowds
    from rotator.services.documents import Documents
    from rotator.services.heads import Heads
    from rotator.services.renewals import Renewals


class Changing(RotatorError):
    """The cluster's cookie is being replaced at this moment; ask again."""

    code: ClassVar[str] = "changing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterReport:
    """A cluster as operators see it."""

    crowd: Crowd
    state: str  #: uninitialised, initialising, stable, rotating, frozen or undeclared
    on_current: int  #: members proven to use current for themselves and for every pair
    master: MasterStanding | None = None  #: what its cookies come from


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """Desired state with the cookies that go with it."""

    desired: DesiredState
    uid: ClusterUid | None
    fingerprint_key: bytes | None = field(repr=False)
    versions: Mapping[VersionNumber, StoredVersion]
    pairs: Mapping[NodeName, VersionNumber]


class Queries:
    """Reads; changes nothing."""

    def __init__(
        self,
        *,
        states: ClusterStates,
        documents: Documents,
        heads: Heads,
        crowds: Crowds,
        renewals: Renewals | None = None,
    ) -> None:
        self.states = states
        self._heads = heads
        self._documents = documents
        self._crowds = crowds
        self._renewals = renewals

    async def crowd(self, name: ClusterName) -> Crowd:
        """The cluster and its members now; `NotFound`."""
        cluster = await self.states.load(name)
        if cluster is None:
            raise NotFound(f"there is no cluster {name}")
        return self._crowds.of(cluster, now=await self.states.now())

    async def cluster(self, name: ClusterName) -> ClusterReport:
        """One cluster; `NotFound`."""
        report = _report(await self.crowd(name))
        master = report.crowd.cluster.master
        if self._renewals is None or master is None:
            return report
        return replace(report, master=await self._renewals.standing(master))

    async def clusters(self, is_visible: Callable[[ClusterName], bool]) -> list[ClusterReport]:
        """All that the caller may see, by name."""
        names = [name for name in await self.states.names() if is_visible(name)]
        return [await self.cluster(name) for name in names]

    async def node_view(self, cluster: Cluster, node: NodeName) -> NodeView:
        """What *node* of this cluster gets; `Changing` while current is not where it should be.

        Also where this state store is an old copy: what it takes for current may be retired.
        `NodeShutOut` for a node that an emergency or a removal has shut out of it.
        """
        require_let_in(cluster, node)
        name = cluster.name
        crowd = self._crowds.of(cluster, now=await self.states.now())
        desired = desired_state(crowd)
        if desired.current is None:
            return await self._unknown_view(cluster, desired)
        if cluster.ahead is not None:
            raise Changing
        stored = await self._documents.holding(name, desired.current)
        trusted = _trusted(crowd, stored.document) if stored else {}
        if stored is None or desired.current not in trusted:
            raise Changing
        if await self._heads.knows_more(cluster, stored.document):
            raise Changing
        shown = (desired.current, desired.previous, desired.pending, *desired.refuse)
        return NodeView(
            desired=desired,
            uid=crowd.cluster.uid,
            fingerprint_key=stored.document.fingerprint_key,
            versions={n: trusted[n] for n in shown if n is not None and n in trusted},
            pairs=pairs_of(crowd.cluster, node),
        )

    async def _unknown_view(self, cluster: Cluster, desired: DesiredState) -> NodeView:
        """Of a cluster without a version: its document is read alone, where the state store is new.

        Nothing is decided by it; it is what the secrets manager has as current and previous.
        """
        stored = None
        if cluster.uid is None and cluster.is_declared:
            stored = await self._documents.read(cluster.name, max_age=1.0)
        if stored is None:
            return NodeView(desired=desired, uid=None, fingerprint_key=None, versions={}, pairs={})
        document = stored.document
        if cluster.ahead is not None and cluster.ahead.version > document.last_version:
            raise Changing
        shown = (document.current, *(() if document.previous is None else (document.previous,)))
        return NodeView(
            desired=replace(
                desired,
                generation=document.stamp.generation,
                adopt=document.current.number,
                current=document.current.number,
                previous=None if document.previous is None else document.previous.number,
            ),
            uid=document.cluster_uid,
            fingerprint_key=document.fingerprint_key,
            versions={version.number: version for version in shown},
            pairs={},
        )


def _trusted(crowd: Crowd, document: ClusterDocument) -> dict[VersionNumber, StoredVersion]:
    """The versions that are what was written: an edited cookie is not handed out."""
    if document.cluster_uid != crowd.cluster.uid:
        return {}
    fingerprints = document.fingerprints()
    on_record = crowd.cluster.versions
    return {
        version.number: version
        for version in document.versions()
        if version.number in on_record
        and on_record[version.number].fingerprint == fingerprints[version.number]
    }


def _report(crowd: Crowd) -> ClusterReport:
    cluster = crowd.cluster
    current = cluster.current
    members = crowd.awaited()
    proven = 0
    if current is not None:
        proven = sum(1 for member in members if adoption.is_on(crowd, member, current.number))
    return ClusterReport(crowd=crowd, state=_state(crowd), on_current=proven)


def _state(crowd: Crowd) -> str:
    cluster = crowd.cluster
    if not cluster.is_declared:
        return "undeclared"
    if any(standing.blocker.subject == "frozen" for standing in cluster.blockers):
        return "frozen"
    if cluster.uid is None:
        return "uninitialised"
    if not cluster.is_initialised:
        return "initialising"
    return "rotating" if cluster.rotation else "stable"
