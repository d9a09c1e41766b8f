"""Pages of history, as statements. A page begins behind the last row of the page before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, tuple_

from rotator.adapters.state import tables as t

if TYPE_CHECKING:
    from sqlalchemy import Select

    from rotator.domain.ids import ClusterName, RotationId


def rotations(
    cluster: ClusterName | None, *, before: str | None, limit: int, emergency_id: str | None
) -> Select[tuple[Any]]:
    """The bodies of rotations, newest first; *before* is an id."""
    table = t.rotations.c
    query = select(table.body).order_by(table.started_at.desc(), table.id.desc()).limit(limit)
    if cluster is not None:
        query = query.where(table.cluster == cluster)
    if emergency_id is not None:
        query = query.where(table.emergency_id == emergency_id)
    if before is not None:
        last = select(table.started_at).where(table.id == before).scalar_subquery()
        query = query.where(tuple_(table.started_at, table.id) < tuple_(last, before))
    return query


def facts(
    cluster: ClusterName | None,
    *,
    after: int,
    limit: int,
    rotation: RotationId | None,
    newest_first: bool,
) -> Select[tuple[Any, ...]]:
    """Facts by position; *after* is a position, 0 for the first page."""
    table = t.facts.c
    query = select(t.facts).limit(limit)
    query = query.order_by(table.position.desc() if newest_first else table.position)
    if after:
        query = query.where(table.position < after if newest_first else table.position > after)
    if cluster is not None:
        query = query.where(table.chain == cluster)
    if rotation is not None:
        query = query.where(table.rotation == rotation)
    return query
