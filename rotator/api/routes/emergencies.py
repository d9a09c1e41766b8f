"""Emergencies over many clusters at once."""

from __future__ import annotations

import json
from dataclasses import KW_ONLY, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Path, Request
from starlette.responses import Response

from rotator.api import bodies, exclusions, idempotency, mapping
from rotator.api.auth import Role
from rotator.api.dependencies import Asked, Asking, Route, Services, answered
from rotator.domain import commands as domain
from rotator.domain.ids import ClusterName, RotationId
from rotator.domain.rotation import Kind
from rotator.errors import Conflict, InputError, NotFound
from rotator.ports.state_store import Receipt
from rotator.protocol import v1
from rotator.services.commands import WHAT_STAYS, new_id
from rotator.services.fleet import FleetEmergency

if TYPE_CHECKING:
    from rotator.api.auth import Principal
    from rotator.api.idempotency import Key
    from rotator.domain.ids import NodeName
    from rotator.ports.state_store import EmergencyRow

_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An emergency as it was asked for, in the caller's scope."""

    clusters: tuple[ClusterName, ...]
    _: KW_ONLY
    exclude: tuple[NodeName, ...]
    reason: str
    force: bool


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
    wanted = _Wanted(tuple(names), exclude=exclude, reason=reason, force=body.force)
    key = await idempotency.key_of(request)
    if key is None:
        now = await services.queries.states.now()
        return await _run(services, principal, wanted, emergency_id=new_id(now))
    with idempotency.alone(request, key):
        emergency_id = await _of_key(services, key)
        begun = await services.emergencies.get(emergency_id)
        if begun is not None:
            return _answer(await _report(services, begun), {idempotency.REPLAYED: "true"})
        return await _run(services, principal, wanted, emergency_id=emergency_id)


async def _of_key(services: Services, key: Key) -> str:
    """The id that belongs to a key for its 24 hours; `KeyReused` for another request.

    It is kept before anything is done under it, so that an emergency that was interrupted, and has
    no row yet, goes on with the same one, and only for the same request.
    """
    states = services.queries.states
    now = await states.now()
    kept = await states.receipt(key.principal, key.text, now=now)
    if kept is not None:
        idempotency.require_same(key, kept.request_hash)
        return str(json.loads(kept.body)["id"])
    emergency_id = new_id(now)
    await states.keep(
        Receipt(
            principal=key.principal,
            key=key.text,
            request_hash=key.request_hash,
            status=HTTPStatus.ACCEPTED,
            body=json.dumps({"id": emergency_id}),
            at=now,
        )
    )
    return emergency_id


async def _shut_out(
    services: Services, principal: Principal, wanted: _Wanted, *, emergency_id: str
) -> list[str]:
    """Shut the excluded out of each cluster whose emergency will start, or has started."""
    warnings: list[str] = []
    for name in wanted.clusters if wanted.exclude else ():
        if await _is_refused(services, name, wanted, emergency_id=emergency_id):
            continue
        warnings += await exclusions.shut_out(
            services, principal, name, wanted.exclude, reason=wanted.reason
        )
    return list(dict.fromkeys(warnings))


async def _is_refused(
    services: Services, name: ClusterName, wanted: _Wanted, *, emergency_id: str
) -> bool:
    """Tried on paper first: what is refused must not have cost a node its token."""
    if await services.queries.states.rotations(name, emergency_id=emergency_id, limit=1):
        return False
    try:
        domain.why_not_start(await services.queries.crowd(name), Kind.EMERGENCY, force=wanted.force)
    except Conflict:
        return True
    return False


async def _run(
    services: Services, principal: Principal, wanted: _Wanted, *, emergency_id: str
) -> Response:
    warnings = await _shut_out(services, principal, wanted, emergency_id=emergency_id)
    row = await services.fleet.emergency(
        FleetEmergency(
            id=emergency_id,
            clusters=wanted.clusters,
            by=principal.id,
            reason=wanted.reason,
            exclude=wanted.exclude,
            force=wanted.force,
        )
    )
    return _answer(await _report(services, row, warnings=[*WHAT_STAYS, *warnings]), {})


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
