"""Pause and resume what begins by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Request
from starlette.responses import Response

from rotator.api import bodies, idempotency, mapping
from rotator.api.auth import Role
from rotator.api.dependencies import ClusterPath, Route, principal_of, services_of
from rotator.domain import schedule_steps
from rotator.protocol import v1

if TYPE_CHECKING:
    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import ClusterName
    from rotator.domain.rotation import Rotation
    from rotator.services.changes import ReceiptFor
    from rotator.services.commands import ScheduleOrder


async def _order(
    request: Request, cluster: ClusterName, order: ScheduleOrder, *, reason: str
) -> Response:
    services, principal = services_of(request), principal_of(request)
    report = await services.queries.cluster(cluster)

    def render(found: Cluster, _rotation: Rotation | None) -> v1.Cluster:
        return mapping.cluster(replace(report, crowd=report.crowd.with_cluster(found)))

    async def act(receipt: ReceiptFor | None) -> v1.Cluster:
        found = await services.commands.order_schedule(
            cluster, order, by=principal.id, reason=reason, receipt=receipt
        )
        return render(found, None)

    return await idempotency.once(request, act=act, render=render)


async def pause(
    request: Request, cluster: ClusterPath, body: Annotated[v1.Reason, bodies.command(v1.Reason)]
) -> Response:
    """Begin no rotation by the schedule until it is resumed; one under way goes on."""
    reason = bodies.reason(body.reason, required=False)
    return await _order(request, cluster, schedule_steps.pause, reason=reason)


async def resume(
    request: Request, cluster: ClusterPath, body: Annotated[v1.Reason, bodies.command(v1.Reason)]
) -> Response:
    """Go on with the next slot; those that went by while it was paused are passed over."""
    reason = bodies.reason(body.reason, required=False)
    return await _order(request, cluster, schedule_steps.resume, reason=reason)


_OPERATOR: Final = (Role.OPERATOR,)
ROUTES: Final = tuple(
    Route(
        "POST",
        f"/v1/clusters/{{cluster}}/{endpoint.__name__}",
        endpoint,
        _OPERATOR,
        v1.Cluster,
        takes=v1.Reason,
    )
    for endpoint in (pause, resume)
)
