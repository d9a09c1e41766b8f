"""Rotations: begin one, look at them, and decide about one that is under way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Query, Request
from starlette.responses import Response

from rotator.api import bodies, exclusions, idempotency, mapping
from rotator.api.auth import Role
from rotator.api.dependencies import (
    Asked,
    Asking,
    ClusterPath,
    RotationPath,
    Route,
    answered,
)
from rotator.domain import orders
from rotator.domain.rotation import Kind
from rotator.errors import InputError, InvariantViolated, NotFound
from rotator.protocol import v1

if TYPE_CHECKING:
    from rotator.api.dependencies import Services
    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import ClusterName, RotationId
    from rotator.domain.rotation import Rotation
    from rotator.services.changes import ReceiptFor
    from rotator.services.commands import Order

_MAX_EXTENSION: Final = timedelta(days=7)
_FACTS_OF_ONE: Final = 500
_OPERATOR: Final = (Role.OPERATOR,)
_READERS: Final = (Role.AUDITOR, Role.OPERATOR, Role.ORCHESTRATOR)
_ALL: Final = "/v1/clusters/{cluster}/rotations"
_ONE: Final = f"{_ALL}/{{rotation}}"

_ReasonBody = Annotated[v1.Reason, bodies.command(v1.Reason)]
_Act = Callable[["ReceiptFor | None"], Awaitable["Rotation"]]


def _kind(text: str) -> Kind:
    if text not in {Kind.MANUAL, Kind.EMERGENCY}:
        raise InputError("kind: manual or emergency is wanted")
    return Kind(text)


async def start(
    request: Request,
    cluster: ClusterPath,
    body: Annotated[v1.StartRotation, bodies.command(v1.StartRotation)],
    services: Asked,
    principal: Asking,
) -> Response:
    """Begin a rotation, or with `dry_run` say what it would do."""
    kind = _kind(body.kind)
    is_emergency = kind is Kind.EMERGENCY
    reason = bodies.reason(body.reason, required=is_emergency and not body.dry_run)
    if body.exclude and not is_emergency:
        raise InputError("exclude: only an emergency excludes nodes")
    exclude = await exclusions.known(services, [cluster], body.exclude)
    if body.dry_run:
        return await _plan(services, cluster, kind, force=body.force)
    warnings: list[str] = []

    def render(_cluster: Cluster, rotation: Rotation | None) -> v1.Rotation:
        return mapping.rotation(_there(rotation), warnings=warnings)

    async def act(receipt: ReceiptFor | None) -> v1.Rotation:
        plan = await services.commands.plan(cluster, kind=kind, force=body.force)
        if plan.conflict is not None:
            raise plan.conflict
        warnings.extend(plan.warnings)
        warnings.extend(
            await exclusions.shut_out(services, principal, cluster, exclude, reason=reason)
        )
        rotation = await services.commands.start(
            cluster,
            kind=kind,
            by=principal.id,
            reason=reason,
            exclude=exclude,
            force=body.force,
            receipt=receipt,
        )
        return mapping.rotation(rotation, warnings=warnings)

    return await idempotency.once(
        request,
        act=act,
        render=render,
        status=HTTPStatus.ACCEPTED,
        location=lambda found: f"/v1/clusters/{cluster}/rotations/{found['id']}",
    )


def _there(rotation: Rotation | None) -> Rotation:
    if rotation is None:
        raise InvariantViolated("a command about a rotation left none")
    return rotation


async def _plan(services: Services, cluster: ClusterName, kind: Kind, *, force: bool) -> Response:
    found = await services.commands.plan(cluster, kind=kind, force=force)
    now = await services.queries.states.now()
    return answered(mapping.plan(cluster, found, now=now))


async def list_rotations(
    cluster: ClusterPath,
    services: Asked,
    before: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """The cluster's rotations, newest first; `next` is what `before` is for the page after."""
    await services.queries.crowd(cluster)
    found = await services.queries.states.rotations(cluster, before=before, limit=limit + 1)
    page = found[:limit]
    following = str(page[-1].id) if len(found) > limit else None
    return answered(v1.Rotations(rotations=[mapping.rotation(one) for one in page], next=following))


async def _named(services: Services, cluster: ClusterName, rotation: RotationId) -> Rotation:
    """The rotation, if it is one of this cluster; `NotFound`."""
    found = await services.queries.states.rotation(rotation)
    if found is None or found.cluster != cluster:
        raise NotFound
    return found


async def show_rotation(cluster: ClusterPath, rotation: RotationPath, services: Asked) -> Response:
    """One rotation with its facts."""
    found = await _named(services, cluster, rotation)
    facts = await services.queries.states.facts(cluster, rotation=rotation, limit=_FACTS_OF_ONE)
    return answered(mapping.rotation(found, facts))


async def _decide(request: Request, act: _Act, *, status: int = HTTPStatus.OK) -> Response:
    """A decision about one rotation, done once under its key."""

    async def act_and_map(receipt: ReceiptFor | None) -> v1.Rotation:
        return mapping.rotation(await act(receipt))

    def render(_cluster: Cluster, rotation: Rotation | None) -> v1.Rotation:
        return mapping.rotation(_there(rotation))

    return await idempotency.once(request, act=act_and_map, render=render, status=status)


@dataclass(frozen=True, slots=True)
class _Order:
    """A decision with nothing but a reason: one line of the table below."""

    path: str
    name: str
    order: Order
    text: str
    status: int = HTTPStatus.OK
    needs_reason: bool = False

    def route(self) -> Route:
        """Its route."""

        async def endpoint(
            *,
            request: Request,
            cluster: ClusterPath,
            rotation: RotationPath,
            body: _ReasonBody,
            services: Asked,
            principal: Asking,
        ) -> Response:
            await _named(services, cluster, rotation)
            reason = bodies.reason(body.reason, required=self.needs_reason)
            return await _decide(
                request,
                lambda receipt: services.commands.decide(
                    rotation, self.order, by=principal.id, reason=reason, receipt=receipt
                ),
                status=self.status,
            )

        endpoint.__name__, endpoint.__doc__ = self.name, self.text
        return Route(
            "POST",
            f"{_ONE}/{self.path}",
            endpoint,
            _OPERATOR,
            v1.Rotation,
            status=self.status,
            takes=v1.Reason,
        )


async def extend_grace(
    *,
    request: Request,
    cluster: ClusterPath,
    rotation: RotationPath,
    body: Annotated[v1.ExtendGrace, bodies.command(v1.ExtendGrace)],
    services: Asked,
    principal: Asking,
) -> Response:
    """Keep the way back open for longer."""
    await _named(services, cluster, rotation)
    if not 0 < body.seconds <= _MAX_EXTENSION.total_seconds():
        raise InputError("seconds: more than 0 and at most 7 days are wanted")
    reason = bodies.reason(body.reason, required=False)
    order = partial(orders.extend_grace, window=timedelta(seconds=body.seconds))
    return await _decide(
        request,
        lambda receipt: services.commands.decide(
            rotation, order, by=principal.id, reason=reason, receipt=receipt
        ),
    )


_ACCEPTED: Final = HTTPStatus.ACCEPTED
_ORDERS: Final = (
    _Order("hold", "hold", orders.hold, "Let it pass no gate until it is released."),
    _Order("release", "release", orders.release, "Let a held rotation go on."),
    _Order("abort", "abort", orders.abort, "Give it up before it is promoted.", _ACCEPTED),
    _Order(
        "rollback",
        "roll_back",
        orders.roll_back,
        "Go back to the former version while it is still stored.",
        _ACCEPTED,
        needs_reason=True,
    ),
    _Order("end-grace", "end_grace", orders.end_grace, "Close the grace window now."),
)

ROUTES: Final = (
    Route("POST", _ALL, start, _OPERATOR, v1.Rotation, status=_ACCEPTED, takes=v1.StartRotation),
    Route("GET", _ALL, list_rotations, _READERS, v1.Rotations),
    Route("GET", _ONE, show_rotation, _READERS, v1.Rotation),
    *(order.route() for order in _ORDERS),
    Route(
        "POST", f"{_ONE}/extend-grace", extend_grace, _OPERATOR, v1.Rotation, takes=v1.ExtendGrace
    ),
)
