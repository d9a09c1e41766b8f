"""Members of a cluster: what they report, and when they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Request
from starlette.responses import Response

from rotator.api import bodies, exclusions, idempotency, mapping, reports
from rotator.api.auth import Role
from rotator.api.dependencies import (
    Asked,
    Asking,
    ClusterPath,
    NodePath,
    Route,
    answered,
    node_name,
    services_of,
)
from rotator.domain import departures
from rotator.domain.commands import Request as Asks
from rotator.domain.ids import ClusterName
from rotator.errors import NotFound
from rotator.protocol import v1

if TYPE_CHECKING:
    from rotator.domain.cluster import Cluster
    from rotator.domain.rotation import Rotation
    from rotator.services.changes import ReceiptFor


async def attest(request: Request) -> Response:
    """A node's report with evidence; also the heartbeat. Unknown fields are ignored."""
    node = node_name(request.path_params["node"])
    said = reports.attestation(bodies.parse(await bodies.read(request)))
    name = ClusterName(request.path_params["cluster"])
    answer = await services_of(request).attestations.take(name, node, said)
    return answered(
        v1.Attested(
            generation=answer.generation,
            heartbeat_seconds=answer.heartbeat.total_seconds(),
            join=answer.join,
            on_drift=answer.on_drift,
            adoption=answer.adoption,
        )
    )


async def list_nodes(cluster: ClusterPath, services: Asked) -> Response:
    """Every member that the cluster has, those that left included."""
    crowd = await services.queries.crowd(cluster)
    found = [crowd.cluster.members[name] for name in sorted(crowd.cluster.members)]
    return answered(v1.Members(nodes=[mapping.member(crowd, member) for member in found]))


async def show_node(cluster: ClusterPath, node: NodePath, services: Asked) -> Response:
    """One member; a node may see itself."""
    crowd = await services.queries.crowd(cluster)
    member = crowd.cluster.members.get(node)
    if member is None:
        raise NotFound
    return answered(mapping.member(crowd, member))


async def leave(
    cluster: ClusterPath,
    node: NodePath,
    body: Annotated[v1.Reason, bodies.command(v1.Reason)],
    services: Asked,
    principal: Asking,
) -> Response:
    """The node leaves in good order: nobody waits for it any more."""
    reason = bodies.reason(body.reason, required=False)
    found = await services.commands.leave(cluster, node, by=principal.id, reason=reason)
    crowd = (await services.queries.crowd(cluster)).with_cluster(found)
    return answered(mapping.member(crowd, found.members[node]))


async def excuse(
    *,
    request: Request,
    cluster: ClusterPath,
    node: NodePath,
    body: Annotated[v1.Reason, bodies.command(v1.Reason)],
    services: Asked,
    principal: Asking,
) -> Response:
    """No longer wait for a member; one that is live needs `force`, for it may still use previous."""
    reason = bodies.reason(body.reason, required=True)
    name = node_name(node)
    crowd = await services.queries.crowd(cluster)

    def render(found: Cluster, _rotation: Rotation | None) -> v1.Member:
        return mapping.member(crowd.with_cluster(found), found.members[name])

    async def act(receipt: ReceiptFor | None) -> v1.Member:
        found = await services.commands.excuse(
            cluster, name, by=principal.id, reason=reason, force=body.force, receipt=receipt
        )
        return render(found, None)

    return await idempotency.once(request, act=act, render=render)


async def remove(
    cluster: ClusterPath,
    node: NodePath,
    body: Annotated[v1.Reason, bodies.command(v1.Reason)],
    services: Asked,
    principal: Asking,
) -> Response:
    """A member is gone for good: its tokens first, so that it cannot come back meanwhile."""
    reason = bodies.reason(body.reason, required=True)
    name = node_name(node)
    crowd = await services.queries.crowd(cluster)
    # Tried on paper first: what is refused must not have cost the node its token.
    request = Asks(by=principal.id, reason=reason, at=crowd.now)
    departures.remove(crowd, name, request, force=body.force)
    tokens = await services.tokens.revoke_for_nodes(
        cluster, [name], scope=principal.token.clusters, by=principal.id, reason=reason
    )
    await services.commands.remove(cluster, name, by=principal.id, reason=reason, force=body.force)
    return answered(
        v1.Removed(
            cluster=cluster,
            node=name,
            revoked_tokens=list(tokens.revoked),
            covering_tokens=[row.id for row in tokens.covering],
            covering_accounts=exclusions.accounts(services, cluster),
        )
    )


async def readmit(
    cluster: ClusterPath,
    node: NodePath,
    body: Annotated[v1.Reason, bodies.command(v1.Reason)],
    services: Asked,
    principal: Asking,
) -> Response:
    """A node that an emergency or a removal has shut out may join again; it needs a token."""
    reason = bodies.reason(body.reason, required=True)
    name = node_name(node)
    await services.commands.readmit(cluster, name, by=principal.id, reason=reason)
    return answered(v1.Readmitted(cluster=cluster, node=name))


_READERS: Final = (Role.AUDITOR, Role.OPERATOR)
_NODES: Final = "/v1/clusters/{cluster}/nodes"
_NODE: Final = f"{_NODES}/{{node}}"

ROUTES: Final = (
    Route("PUT", _NODE, attest, (Role.NODE,), v1.Attested, takes=v1.Attestation, is_plain=True),
    Route("GET", _NODES, list_nodes, _READERS, v1.Members),
    Route("GET", _NODE, show_node, (*_READERS, Role.NODE), v1.Member),
    Route("POST", f"{_NODE}/leave", leave, (Role.NODE,), v1.Member, takes=v1.Reason),
    Route("POST", f"{_NODE}/excuse", excuse, (Role.OPERATOR,), v1.Member, takes=v1.Reason),
    Route("POST", f"{_NODE}/readmit", readmit, (Role.OPERATOR,), v1.Readmitted, takes=v1.Reason),
    Route("DELETE", _NODE, remove, (Role.OPERATOR,), v1.Removed, takes=v1.Reason),
)
