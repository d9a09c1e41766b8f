"""Clusters, and what a node of one shall do."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Request
from starlette.responses import Response

from rotator.api import auth, bodies, idempotency, longpoll, mapping
from rotator.api.auth import Role
from rotator.api.dependencies import (
    Asked,
    Asking,
    ClusterPath,
    Route,
    Services,
    answered,
    node_name,
    principal_of,
    services_of,
)
from rotator.domain.cookie import Cookie
from rotator.domain.departures import require_let_in
from rotator.domain.ids import ClusterName, Generation
from rotator.protocol import v1
from rotator.services.queries import Changing, ClusterReport

if TYPE_CHECKING:
    from rotator.api.throttle import Throttle
    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import NodeName
    from rotator.domain.rotation import Rotation
    from rotator.services.changes import ReceiptFor
    from rotator.services.queries import NodeView

#: For how long, and how long apart in seconds, a node's answer is tried while current is replaced.
_CHANGING_SECONDS: Final = 1.0
_CHANGING_PAUSE: Final = 0.05


async def list_clusters(services: Asked, principal: Asking) -> Response:
    """The clusters in the caller's scope, by name."""
    found = await services.queries.clusters(principal.may_see)
    return answered(v1.Clusters(clusters=[mapping.cluster(one) for one in found]))


async def show_cluster(cluster: ClusterPath, services: Asked) -> Response:
    """Versions without cookies, rotation and phase, adoption, what blocks and since when."""
    return answered(mapping.cluster(await services.queries.cluster(cluster)))


async def init(
    request: Request,
    cluster: ClusterPath,
    body: Annotated[v1.Reason, bodies.command(v1.Reason)],
    services: Asked,
    principal: Asking,
) -> Response:
    """Make version 1 of a cluster that has no cookie yet."""
    reason = bodies.reason(body.reason, required=False)
    crowd = await services.queries.crowd(cluster)

    def render(found: Cluster, _rotation: Rotation | None) -> v1.Cluster:
        asked = crowd.with_cluster(found)
        return mapping.cluster(ClusterReport(crowd=asked, state="initialising", on_current=0))

    async def act(receipt: ReceiptFor | None) -> v1.Cluster:
        made = await services.beginnings.init(
            cluster, by=principal.id, reason=reason, receipt=receipt
        )
        return render(made, None)

    return await idempotency.once(request, act=act, render=render, status=HTTPStatus.ACCEPTED)


async def import_cookie(
    cluster: ClusterPath,
    body: Annotated[v1.Import, bodies.command(v1.Import)],
    services: Asked,
    principal: Asking,
) -> Response:
    """Take the cookie that the cluster has as version 1: the one route that takes a cookie.

    201 if it was taken now, 200 if it was there; so it may be repeated, and an idempotency key
    is not looked at: a receipt would keep a hash of the cookie.
    """
    reason = bodies.reason(body.reason, required=False)
    _, is_new = await services.beginnings.import_(
        cluster, Cookie(body.cookie), by=principal.id, reason=reason
    )
    report = await services.queries.cluster(cluster)
    return answered(mapping.cluster(report), HTTPStatus.CREATED if is_new else HTTPStatus.OK)


async def show_cookie(request: Request) -> Response:
    """Desired state of one node, with the cookies that it may have; `ETag`, long poll."""
    services, principal = services_of(request), principal_of(request)
    name = ClusterName(request.path_params["cluster"])
    node = node_name(request.query_params.get("node", ""))
    principal.require_node(node)
    poll = longpoll.poll_of(request)

    async def still_allowed() -> None:
        again = await auth.authenticate(request, services.tokens)
        auth.require(request, again, frozenset({Role.NODE}))
        again.require_node(node)

    throttle: Throttle = request.app.state.throttle
    with throttle.waiting(principal.id, node, cluster=name) if poll.wait else nullcontext():
        cluster = await longpoll.wait_for_change(
            request, services, name, poll=poll, still_allowed=still_allowed
        )
    require_let_in(cluster, node)
    if poll.generation is not None and poll.generation > cluster.generation:
        await services.attestations.look_ahead(name, node, Generation(poll.generation))
    if longpoll.is_known(poll, name, cluster.generation):
        await still_allowed()
        known = {"etag": longpoll.etag(name, cluster.generation)}
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=known)
    view = await _view(services, cluster, node)
    # After the view: a node is shut out before its cluster has a new cookie, so whoever still
    # has their rights here was owed all that the view holds.
    await still_allowed()
    found = mapping.desired(name, view)
    return answered(found, etag=longpoll.etag(name, found.generation))


async def _view(services: Services, cluster: Cluster, node: NodeName) -> NodeView:
    """The node's view; between the two writes of a promotion there is none for a moment."""
    clock = asyncio.get_running_loop().time
    until = clock() + _CHANGING_SECONDS
    while True:
        try:
            return await services.queries.node_view(cluster, node)
        except Changing:
            # By time: a look at a secrets manager whose document is gone may take seconds itself.
            if clock() >= until:
                raise
        await asyncio.sleep(_CHANGING_PAUSE)
        cluster = (await services.queries.crowd(cluster.name)).cluster


_READERS: Final = (Role.AUDITOR, Role.OPERATOR)

ROUTES: Final = (
    Route("GET", "/v1/clusters", list_clusters, _READERS, v1.Clusters),
    # An admin sees what came of its `init`; it sees no cookie, here or anywhere.
    Route("GET", "/v1/clusters/{cluster}", show_cluster, (*_READERS, Role.ADMIN), v1.Cluster),
    Route(
        "POST",
        "/v1/clusters/{cluster}/init",
        init,
        (Role.ADMIN,),
        v1.Cluster,
        status=HTTPStatus.ACCEPTED,
        takes=v1.Reason,
    ),
    Route(
        "POST",
        "/v1/clusters/{cluster}/import",
        import_cookie,
        (Role.ADMIN,),
        v1.Cluster,
        status=HTTPStatus.CREATED,
        takes=v1.Import,
    ),
    Route(
        "GET",
        "/v1/clusters/{cluster}/cookie",
        show_cookie,
        (Role.NODE,),
        v1.Desired,
        is_plain=True,
        query=("node", "generation", "wait"),
    ),
)
