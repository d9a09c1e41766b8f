"""Orders on a rotation under way, as pure changes of its cluster; `PhaseForbids` says why not.

Each may be repeated: the second time changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rotator.domain.claims import forgive
from rotator.domain.cluster import Change, Cluster
from rotator.domain.commands import Request, fact_of
from rotator.domain.facts import FactKind
from rotator.domain.rotation import Kind, Phase, Rotation
from rotator.errors import PhaseForbids

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from rotator.domain.ids import RotationId

_ABORTABLE: Final = frozenset({Phase.STAGED, Phase.INSTALLING})
_REVERSIBLE: Final = frozenset({Phase.ROLLING_OUT, Phase.GRACE})


def _named(cluster: Cluster, rotation_id: RotationId) -> Rotation:
    rotation = cluster.rotation
    if rotation is None or rotation.id != rotation_id:
        raise PhaseForbids("the rotation has finished")
    return rotation


def _write(
    cluster: Cluster, rotation: Rotation, kind: FactKind, request: Request, **details: object
) -> Change:
    return Change(
        cluster=replace(cluster, rotation=rotation),
        facts=(fact_of(kind, request, rotation, **details),),
        rotations=(rotation,),
    )


def hold(cluster: Cluster, rotation_id: RotationId, request: Request) -> Change:
    """Let the rotation pass no gate until it is released."""
    rotation = _named(cluster, rotation_id)
    if rotation.is_locking_out:
        raise PhaseForbids("an emergency cannot be held while nodes are locked")
    if rotation.abort_requested:
        raise PhaseForbids("a rotation that is being aborted cannot be held")
    if rotation.is_held:
        return Change(cluster=cluster)
    return _write(cluster, replace(rotation, is_held=True), FactKind.ROTATION_HELD, request)


def release(cluster: Cluster, rotation_id: RotationId, request: Request) -> Change:
    """Let a held rotation go on; nodes whose restarts came to nothing are tried again."""
    rotation = _named(cluster, rotation_id)
    forgiven = forgive(cluster)
    if not rotation.is_held and forgiven is cluster:
        return Change(cluster=cluster)
    return _write(forgiven, replace(rotation, is_held=False), FactKind.ROTATION_RELEASED, request)


def abort(cluster: Cluster, rotation_id: RotationId, request: Request) -> Change:
    """A1: give up a rotation that has not been promoted."""
    rotation = _named(cluster, rotation_id)
    if rotation.abort_requested:
        return Change(cluster=cluster)
    if rotation.phase not in _ABORTABLE:
        advice = "; roll back instead" if rotation.phase in _REVERSIBLE else ""
        raise PhaseForbids(f"a rotation in {rotation.phase} cannot be aborted{advice}")
    aborting = replace(rotation, abort_requested=True, is_held=False)
    return _write(cluster.next_generation(), aborting, FactKind.ABORT_REQUESTED, request)


def roll_back(cluster: Cluster, rotation_id: RotationId, request: Request) -> Change:
    """R1: go back to the former version while it is still stored."""
    rotation = _named(cluster, rotation_id)
    if rotation.phase is Phase.ROLLING_BACK:
        return Change(cluster=cluster)
    if rotation.kind is Kind.EMERGENCY:
        raise PhaseForbids("an emergency is not rolled back: the former cookie is compromised")
    if rotation.phase not in _REVERSIBLE:
        advice = "; abort instead" if rotation.phase in _ABORTABLE else ""
        raise PhaseForbids(f"a rotation in {rotation.phase} cannot be rolled back{advice}")
    back = rotation.enter(Phase.ROLLING_BACK, at=request.at, generation=cluster.generation)
    back = replace(back, is_rollback=True, is_held=False)
    return _write(cluster, back, FactKind.ROLLBACK_STARTED, request)


def end_grace(cluster: Cluster, rotation_id: RotationId, request: Request) -> Change:
    """Close the window now; whatever else the gate waits for, it goes on waiting for."""
    return end_grace_at(cluster, rotation_id, request, ends_at=request.at)


def extend_grace(
    cluster: Cluster, rotation_id: RotationId, request: Request, *, window: timedelta
) -> Change:
    """Keep the way back open for *window* longer: from its end, or from now if that is later."""
    ends_at = _named(cluster, rotation_id).ends_at or request.at
    later = max(ends_at, request.at) + window
    return end_grace_at(cluster, rotation_id, request, ends_at=later)


def end_grace_at(
    cluster: Cluster, rotation_id: RotationId, request: Request, *, ends_at: datetime
) -> Change:
    """Move the end of the grace window."""
    rotation = _named(cluster, rotation_id)
    if rotation.phase is not Phase.GRACE:
        raise PhaseForbids(f"a rotation in {rotation.phase} has no grace window now")
    if rotation.ends_at == ends_at:
        return Change(cluster=cluster)
    moved = replace(rotation, ends_at=ends_at)
    details = {"ends_at": ends_at.isoformat()}
    return _write(cluster, moved, FactKind.GRACE_CHANGED, request, **details)
