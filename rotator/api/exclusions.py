"""Nodes that an emergency excludes: they must exist, and their tokens go first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotator.api.dependencies import node_name
from rotator.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rotator.api.auth import Principal
    from rotator.api.dependencies import Services
    from rotator.domain.ids import ClusterName, NodeName


async def known(
    services: Services, clusters: Sequence[ClusterName], names: Sequence[str]
) -> tuple[NodeName, ...]:
    """The names, each of a member of one of the clusters; `InputError`."""
    wanted = tuple(node_name(name) for name in dict.fromkeys(names))
    members: set[NodeName] = set()
    if wanted:
        for cluster in clusters:
            members |= (await services.queries.crowd(cluster)).cluster.members.keys()
    if not members.issuperset(wanted):
        raise InputError("exclude: each name must be that of a member")
    return wanted


async def shut_out(
    services: Services,
    principal: Principal,
    cluster: ClusterName,
    names: tuple[NodeName, ...],
    *,
    reason: str,
) -> list[str]:
    """Revoke the nodes' tokens; returns warnings about those that still cover one of them."""
    if not names:
        return []
    found = await services.tokens.revoke_for_nodes(
        cluster, names, scope=principal.token.clusters, by=principal.id, reason=reason
    )
    return [
        *(
            f"token {row.id} is for {row.nodes}: the node that is excluded is refused with it, too,"
            " but whoever read it there may speak for others; issue a new one and revoke it"
            for row in found.covering
        ),
        *(
            f"pods of the Kubernetes service account {account} that speak for a node that is"
            " excluded are refused, new ones of the same name, too: `rotator readmit` ends it"
            for account in accounts(services, cluster)
        ),
    ]


def accounts(services: Services, cluster: ClusterName) -> list[str]:
    """Service accounts, ``namespace/name``, whose pods speak for nodes of the cluster."""
    workloads = services.tokens.workloads
    found = () if workloads is None else workloads.covering(cluster)
    return [f"{one.namespace}/{one.account}" for one in found]
