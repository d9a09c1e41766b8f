"""Whether a document carries a fact that the state store does not have: then that is an old copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotator.domain import agreement

if TYPE_CHECKING:
    from rotator.domain.agreement import DocumentView
    from rotator.domain.cluster import Cluster
    from rotator.domain.document import ClusterDocument, FactsHead
    from rotator.domain.ids import ClusterName
    from rotator.ports.state_store import ClusterStates


class Heads:
    """Looks documents' heads of facts up in the chains.

    One that was found in a chain is not looked up again while that chain has the same end: its
    hash stands for all that is before it. A database can be put back under a running service.
    """

    def __init__(self, states: ClusterStates) -> None:
        self._states = states
        self._found: dict[ClusterName, tuple[FactsHead, FactsHead]] = {}

    async def is_native(self, cluster: Cluster, document: ClusterDocument) -> bool:
        """Whether the document's head of facts is a link of the cluster's own chain."""
        head = document.stamp.facts_head
        found = (head, cluster.facts_head)
        if self._found.get(cluster.name) == found:
            return True
        is_ours = await self._states.holds(cluster.name, head)
        if is_ours:
            self._found[cluster.name] = found
        return is_ours

    async def knows_more(self, cluster: Cluster, document: ClusterDocument) -> bool:
        """Whether this state store lacks what was written before the document was."""
        if document.stamp.facts_head == cluster.recovered_from:
            return False
        return not await self.is_native(cluster, document)

    async def view(self, cluster: Cluster, document: ClusterDocument) -> DocumentView:
        """The document held against what is on record."""
        knows_more = await self.knows_more(cluster, document)
        return agreement.view(document, cluster, knows_more=knows_more)
