"""Desired state: what a node shall do now, in version numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rotator.domain import joining
from rotator.domain.liveness import Liveness
from rotator.domain.rotation import Kind, Phase
from rotator.domain.version import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rotator.domain.ids import Generation, NodeName, RotationId, VersionNumber
    from rotator.domain.liveness import Crowd
    from rotator.domain.policy import Adoption, OnDrift


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    """The same for every node of a cluster but for `pairs_of`."""

    generation: Generation
    phase: Phase | None
    adopt: VersionNumber | None
    current: VersionNumber | None
    previous: VersionNumber | None
    pending: VersionNumber | None
    refuse: tuple[VersionNumber, ...]
    lock_round: int | None
    emergency: RotationId | None  #: whose round of locking it is
    join: bool
    members: Mapping[NodeName, Liveness]
    on_drift: OnDrift
    adoption: Adoption


def desired_state(crowd: Crowd) -> DesiredState:
    """What nodes get, by the table of api.md."""
    cluster = crowd.cluster
    rotation = cluster.rotation
    phase = rotation.phase if rotation else None
    current = cluster.current
    previous = cluster.at_stage(Stage.PREVIOUS)
    pending = cluster.at_stage(Stage.PENDING)
    is_locking = rotation is not None and rotation.is_locking_out
    shows_pending = (
        rotation is not None
        and rotation.kind is not Kind.EMERGENCY
        and phase in {Phase.INSTALLING, Phase.PROMOTING}
        and not rotation.abort_requested
    )
    refuse: tuple[VersionNumber, ...] = ()
    if rotation is not None and (
        phase is Phase.RETIRING or (rotation.revokes and phase is Phase.ROLLING_OUT)
    ):
        refuse = rotation.refused
    liveness = {name: crowd.liveness(member) for name, member in cluster.members.items()}
    return DesiredState(
        generation=cluster.generation,
        phase=phase,
        adopt=None if current is None or is_locking else current.number,
        current=current.number if current else None,
        previous=previous.number if previous and previous.number not in refuse else None,
        pending=pending.number if pending and shows_pending else None,
        refuse=refuse,
        lock_round=rotation.lock_round if rotation and is_locking else None,
        emergency=rotation.id if rotation and is_locking else None,
        join=joining.may_join(crowd),
        members={n: state for n, state in liveness.items() if state is not Liveness.LEFT},
        on_drift=crowd.policy.on_drift,
        adoption=crowd.policy.adoption,
    )
