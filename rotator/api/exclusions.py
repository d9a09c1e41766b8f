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
    workloads = services.tokens.workloads
    accounts = () if workloads is None else workloads.covering(cluster)
    return [
        *(
            f"token {row.id} is for {row.nodes} and still covers a node that is excluded"
            for row in found.covering
        ),
        *(
            f"pods of the Kubernetes service account {one.namespace}/{one.account} speak for"
            f" {one.nodes}: the service cannot revoke that; delete the pod of a node that is excluded"
            for one in accounts
        ),
    ]
