"""The life of one rotation, as a table.

::

    scheduled, manual   staged ─► installing ─► promoting ─► rolling_out ─► grace ─► retiring ─► completed
    emergency           locking ──────────────► promoting ─► rolling_out ──────────► retiring ─► completed
    abort               staged, installing ─► aborted
    roll back           rolling_out, grace ─► rolling_back ─► retiring ─► rolled_back
    an emergency ends   any unfinished rotation ─► superseded
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from rotator.errors import InvariantViolated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rotator.domain.ids import (
        ClusterName,
        EpochNumber,
        Generation,
        NodeName,
        RotationId,
        VersionNumber,
    )


class Kind(StrEnum):
    """Why a rotation was begun."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    EMERGENCY = "emergency"


class Phase(StrEnum):
    """Where a rotation stands."""

    STAGED = "staged"  #: being written as pending
    INSTALLING = "installing"  #: nodes take pending into memory
    LOCKING = "locking"  #: emergency: nodes shut everybody out
    PROMOTING = "promoting"  #: point of no return; pending becomes current
    ROLLING_OUT = "rolling_out"  #: nodes adopt current
    GRACE = "grace"  #: previous stays readable, the way back is open
    RETIRING = "retiring"  #: previous is refused; nodes prove it; then it is removed
    ROLLING_BACK = "rolling_back"  #: nodes return to the former version
    COMPLETED = "completed"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"  #: an emergency took over


_ANY: Final = frozenset({Phase.SUPERSEDED})
NEXT: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.STAGED: _ANY | {Phase.INSTALLING, Phase.ABORTED},
    Phase.INSTALLING: _ANY | {Phase.PROMOTING, Phase.ABORTED},
    Phase.LOCKING: _ANY | {Phase.LOCKING, Phase.PROMOTING},
    Phase.PROMOTING: _ANY | {Phase.ROLLING_OUT},
    Phase.ROLLING_OUT: _ANY | {Phase.GRACE, Phase.RETIRING, Phase.ROLLING_BACK},
    Phase.GRACE: _ANY | {Phase.RETIRING, Phase.ROLLING_BACK},
    Phase.RETIRING: _ANY | {Phase.COMPLETED, Phase.ROLLED_BACK},
    Phase.ROLLING_BACK: _ANY | {Phase.ROLLING_BACK, Phase.RETIRING},
    Phase.COMPLETED: frozenset(),
    Phase.ABORTED: frozenset(),
    Phase.ROLLED_BACK: frozenset(),
    Phase.SUPERSEDED: frozenset(),
}
#: In these phases running nodes use different cookies, so a node must not boot among them.
MIXED: Final = frozenset({Phase.PROMOTING, Phase.ROLLING_OUT, Phase.ROLLING_BACK, Phase.LOCKING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """One attempt to replace a cluster's current version."""

    id: RotationId
    cluster: ClusterName
    kind: Kind
    phase: Phase
    from_version: VersionNumber
    to_version: VersionNumber
    epoch: EpochNumber  #: of the new version
    reason: str
    by: str  #: who asked for it
    started_at: datetime
    entered_at: datetime  #: when *phase* was entered; a window that starts anew moves it
    entered_generation: Generation  #: evidence must be at least this new
    ends_at: datetime | None = None  #: of grace, of locking
    finished_at: datetime | None = None
    is_held: bool = False
    abort_requested: bool = False
    is_rollback: bool = False  #: on the way back to from_version
    lock_round: int = 0  #: 0: not an emergency, or not locking yet
    may_have_been_read: tuple[NodeName, ...] = ()  #: no clean round, or lost
    revokes: tuple[VersionNumber, ...] = ()  #: emergency: what was ever readable
    supersedes: RotationId | None = None
    excludes: tuple[NodeName, ...] = ()
    emergency_id: str | None = None  #: what clusters rotated together have in common

    @property
    def is_finished(self) -> bool:
        """Whether nothing can happen to this rotation any more."""
        return not NEXT[self.phase]

    @property
    def has_mixed_cookies(self) -> bool:
        """Whether running nodes may use different cookies just now."""
        return self.phase in MIXED

    @property
    def is_locking_out(self) -> bool:
        """Whether it is an emergency that has not yet replaced what is stored."""
        return self.kind is Kind.EMERGENCY and self.phase in {Phase.LOCKING, Phase.PROMOTING}

    @property
    def target(self) -> VersionNumber:
        """The version that nodes shall end up with."""
        return self.from_version if self.is_rollback else self.to_version

    @property
    def refused(self) -> tuple[VersionNumber, ...]:
        """The versions that nodes have to prove refused in `retiring`."""
        if self.revokes:
            return self.revokes
        return (self.to_version if self.is_rollback else self.from_version,)

    def enter(self, phase: Phase, *, at: datetime, generation: Generation) -> Rotation:
        """Move to *phase*; raises `InvariantViolated` where the table forbids it."""
        if phase not in NEXT[self.phase]:
            raise InvariantViolated(f"a rotation cannot go from {self.phase} to {phase}")
        moved = replace(self, phase=phase, entered_at=at, entered_generation=generation)
        if phase is not self.phase:
            moved = replace(moved, ends_at=None)
        return replace(moved, finished_at=at) if moved.is_finished else moved
