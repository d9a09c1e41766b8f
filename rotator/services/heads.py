"""Whether a document carries a fact that the state store does not have: then that is an old copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rotator.domain.cluster import Cluster
    from rotator.domain.document import ClusterDocument, FactsHead
    from rotator.domain.ids import ClusterName
    from rotator.ports.state_store import ClusterStates


class Heads:
    """Looks documents' heads of facts up in the chains; one that is found is not looked up again."""

    def __init__(self, states: ClusterStates) -> None:
        self._states = states
        self._found: dict[ClusterName, FactsHead] = {}

    async def is_native(self, name: ClusterName, document: ClusterDocument) -> bool:
        """Whether the document's head of facts is a link of the cluster's own chain."""
        head = document.stamp.facts_head
        if self._found.get(name) == head:
            return True
        is_ours = await self._states.holds(name, head)
        if is_ours:
            self._found[name] = head
        return is_ours

    async def knows_more(self, cluster: Cluster, document: ClusterDocument) -> bool:
        """Whether this state store lacks what was written before the document was."""
        if document.stamp.facts_head == cluster.recovered_from:
            return False
        return not await self.is_native(cluster.name, document)
