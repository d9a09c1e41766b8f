"""Emergencies over many clusters at once."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Path, Request
from starlette.responses import Response

from rotator.api import bodies, exclusions, idempotency, mapping
from rotator.api.auth import Role
from rotator.api.dependencies import Asked, Asking, Route, Services, answered
from rotator.api.problems import KeyReused
from rotator.domain.ids import ClusterName, RotationId
from rotator.errors import InputError, NotFound
from rotator.protocol import v1
from rotator.services.commands import new_id

if TYPE_CHECKING:
    from rotator.api.auth import Principal
    from rotator.api.idempotency import Key
    from rotator.domain.ids import NodeName
    from rotator.ports.state_store import EmergencyRow

_ANY: Final = "*"
_KEPT: Final = timedelta(hours=24)


async def _wanted(services: Services, principal: Principal, named: list[str]) -> list[ClusterName]:
    """The clusters, all of them in scope; `NotFound` is the same for unknown and out of scope."""
    visible = [name for name in await services.queries.states.names() if principal.may_see(name)]
    if named == [_ANY]:
        return visible
    if not named:
        raise InputError('clusters: names are wanted, or "*"')
    if not set(visible).issuperset(named):
        raise NotFound
    return [ClusterName(name) for name in dict.fromkeys(named)]


async def start(
    request: Request,
    body: Annotated[v1.Emergency, bodies.command(v1.Emergency)],
    services: Asked,
    principal: Asking,
) -> Response:
    """Rotate many clusters at once, with one new epoch per master; a row for each."""
    reason = bodies.reason(body.reason, required=True)
    names = await _wanted(services, principal, body.clusters)
    exclude = await exclusions.known(services, names, body.exclude)
    key = await idempotency.key_of(request)
    if key is None:
        now = await services.queries.states.now()
        return await _run(
            services,
            principal,
            names=names,
            exclude=exclude,
            reason=reason,
            force=body.force,
            emergency_id=new_id(now),
        )
    with idempotency.alone(request, key):
        emergency_id, begun = await _of_key(services, key)
        if begun is not None:
            return await _again(services, begun, names, reason)
        return await _run(
            services,
            principal,
            names=names,
            exclude=exclude,
            reason=reason,
            force=body.force,
            emergency_id=emergency_id,
        )


async def _of_key(services: Services, key: Key) -> tuple[str, EmergencyRow | None]:
    """The emergency that belongs to a key, so that one that was interrupted goes on.

    Its id is made of the key; once a key is forgotten, also of when it was used before.
    """
    emergency_id = key.digest("emergency")[:24]
    now = await services.queries.states.now()
    while (begun := await services.emergencies.get(emergency_id)) is not None:
        if now - begun.at < _KEPT:
            return emergency_id, begun
        emergency_id = key.digest(f"emergency after {mapping.instant(begun.at)}")[:24]
    return emergency_id, None


async def _again(
    services: Services, begun: EmergencyRow, names: list[ClusterName], reason: str
) -> Response:
    if begun.reason != reason or {row["cluster"] for row in begun.rows} != set(names):
        raise KeyReused
    return _answer(await _report(services, begun), {idempotency.REPLAYED: "true"})


async def _run(
    services: Services,
    principal: Principal,
    *,
    names: list[ClusterName],
    exclude: tuple[NodeName, ...],
    reason: str,
    force: bool,
    emergency_id: str,
) -> Response:
    warnings: list[str] = []
    for name in names:
        warnings += await exclusions.shut_out(services, principal, name, exclude, reason=reason)
    row = await services.commands.emergency(
        names,
        by=principal.id,
        reason=reason,
        exclude=exclude,
        force=force,
        emergency_id=emergency_id,
    )
    return _answer(await _report(services, row, warnings=list(dict.fromkeys(warnings))), {})


def _answer(report: v1.EmergencyReport, headers: dict[str, str]) -> Response:
    location = f"/v1/emergencies/{report.id}"
    return answered(report, HTTPStatus.ACCEPTED, location=location, **headers)


async def _report(
    services: Services,
    row: EmergencyRow,
    principal: Principal | None = None,
    *,
    warnings: list[str] | None = None,
) -> v1.EmergencyReport:
    """The emergency with its rotations' phases now; with *principal*, what is in its scope."""
    phases = {}
    for one in row.rows:
        if one.get("rotation"):
            found = await services.queries.states.rotation(RotationId(one["rotation"]))
            if found is not None:
                phases[str(found.id)] = str(found.phase)
    report = mapping.emergency(row, phases, warnings or [])
    if principal is None:
        return report
    seen = [one for one in report.clusters if principal.may_see(one.cluster)]
    if not seen:
        raise NotFound
    return v1.EmergencyReport(
        id=report.id, at=report.at, by=report.by, reason=report.reason, clusters=seen
    )


async def show(
    emergency: Annotated[str, Path(max_length=64)], services: Asked, principal: Asking
) -> Response:
    """One emergency, a row for each cluster in scope."""
    row = await services.emergencies.get(emergency)
    if row is None:
        raise NotFound
    return answered(await _report(services, row, principal))


ROUTES: Final = (
    Route(
        "POST",
        "/v1/emergency",
        start,
        (Role.OPERATOR,),
        v1.EmergencyReport,
        status=HTTPStatus.ACCEPTED,
        takes=v1.Emergency,
    ),
    Route(
        "GET",
        "/v1/emergencies/{emergency}",
        show,
        (Role.OPERATOR, Role.AUDITOR),
        v1.EmergencyReport,
    ),
)
