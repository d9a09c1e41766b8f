"""What has happened, in the past tense: the audit vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rotator.domain.ids import RotationId, VersionNumber


class FactKind(StrEnum):
    """The names of facts."""

    INITIALISATION_REQUESTED = "InitialisationRequested"
    CLUSTER_INITIALISED = "ClusterInitialised"
    ROTATION_STARTED = "RotationStarted"
    VERSION_STAGED = "VersionStaged"
    PROMOTION_STARTED = "PromotionStarted"
    VERSION_PROMOTED = "VersionPromoted"
    GRACE_STARTED = "GraceStarted"
    RETIREMENT_STARTED = "RetirementStarted"
    ROTATION_COMPLETED = "RotationCompleted"
    ABORT_REQUESTED = "AbortRequested"
    ROTATION_ABORTED = "RotationAborted"
    ROLLBACK_STARTED = "RollbackStarted"
    VERSION_RESTORED = "VersionRestored"
    ROTATION_ROLLED_BACK = "RotationRolledBack"
    ROTATION_SUPERSEDED = "RotationSuperseded"
    EMERGENCY_STARTED = "EmergencyStarted"
    LOCK_ROUND_STARTED = "LockRoundStarted"
    COOKIE_MAY_HAVE_BEEN_READ = "CookieMayHaveBeenRead"
    VERSIONS_REVOKED = "VersionsRevoked"
    ROTATION_HELD = "RotationHeld"
    ROTATION_RELEASED = "RotationReleased"
    GRACE_CHANGED = "GraceChanged"
    CLOCK_JUMPED = "ClockJumped"
    SCHEDULE_CHANGED = "ScheduleChanged"
    SCHEDULE_PAUSED = "SchedulePaused"
    SCHEDULE_RESUMED = "ScheduleResumed"
    SLOT_PASSED_OVER = "SlotPassedOver"
    CLUSTER_FROZEN = "ClusterFrozen"
    CLUSTER_THAWED = "ClusterThawed"
    CLUSTER_DECLARED = "ClusterDeclared"
    CLUSTER_UNDECLARED = "ClusterUndeclared"
    CONFIGURATION_RELOADED = "ConfigurationReloaded"
    MEMBER_JOINED = "MemberJoined"
    MEMBER_ATTESTED = "MemberAttested"
    MEMBER_LEFT = "MemberLeft"
    MEMBER_EXCUSED = "MemberExcused"
    MEMBER_RETURNED = "MemberReturned"
    MEMBER_REMOVED = "MemberRemoved"
    MEMBER_READMITTED = "MemberReadmitted"
    RESTART_CLAIMED = "RestartClaimed"
    RESTART_BEGUN = "RestartBegun"
    RESTARTED_NODE_BACK = "RestartedNodeBack"
    RESTART_DONE = "RestartDone"
    RESTART_FAILED = "RestartFailed"
    RESTART_CLAIM_EXPIRED = "RestartClaimExpired"
    RESTART_CLAIM_RELEASED = "RestartClaimReleased"
    UNKNOWN_COOKIE_SEEN = "UnknownCookieSeen"
    RETIRED_COOKIE_SEEN = "RetiredCookieSeen"
    DRIFT_HEALED = "DriftHealed"
    FOREIGN_LINK_SEEN = "ForeignLinkSeen"
    WRONG_FINGERPRINT_REFUSED = "WrongFingerprintRefused"
    STALE_GENERATION_REFUSED = "StaleGenerationRefused"
    STATE_RECOVERED = "StateRecovered"
    NODES_AHEAD_SEEN = "NodesAheadSeen"
    DOCUMENT_REBUILT = "DocumentRebuilt"
    EPOCH_OPENED = "EpochOpened"
    EPOCH_REBUILT = "EpochRebuilt"
    MASTER_EXPORTED = "MasterExported"
    TOKEN_CREATED = "TokenCreated"  # noqa: S105 - the name of a fact
    TOKEN_REVOKED = "TokenRevoked"  # noqa: S105 - the name of a fact


#: May happen several times in one rotation; all others are unique by (rotation, kind, version).
REPEATABLE: Final = frozenset(
    {
        FactKind.LOCK_ROUND_STARTED,
        FactKind.ROTATION_HELD,
        FactKind.ROTATION_RELEASED,
        FactKind.GRACE_CHANGED,
        FactKind.CLOCK_JUMPED,
        FactKind.CLUSTER_FROZEN,
        FactKind.CLUSTER_THAWED,
        FactKind.MEMBER_JOINED,
        FactKind.MEMBER_ATTESTED,
        FactKind.MEMBER_LEFT,
        FactKind.MEMBER_EXCUSED,
        FactKind.MEMBER_RETURNED,
        FactKind.MEMBER_REMOVED,
        FactKind.MEMBER_READMITTED,
        FactKind.RESTART_CLAIMED,
        FactKind.RESTART_BEGUN,
        FactKind.RESTARTED_NODE_BACK,
        FactKind.RESTART_DONE,
        FactKind.RESTART_FAILED,
        FactKind.RESTART_CLAIM_EXPIRED,
        FactKind.RESTART_CLAIM_RELEASED,
        FactKind.UNKNOWN_COOKIE_SEEN,
        FactKind.RETIRED_COOKIE_SEEN,
        FactKind.DRIFT_HEALED,
        FactKind.FOREIGN_LINK_SEEN,
        FactKind.WRONG_FINGERPRINT_REFUSED,
        FactKind.STALE_GENERATION_REFUSED,
        FactKind.STATE_RECOVERED,
        FactKind.NODES_AHEAD_SEEN,
        FactKind.DOCUMENT_REBUILT,
        FactKind.EPOCH_REBUILT,
        FactKind.MASTER_EXPORTED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One audit record: what, when, who, why. Never holds cookie or master material."""

    kind: FactKind
    at: datetime
    by: str
    reason: str = ""
    rotation: RotationId | None = None
    version: VersionNumber | None = None
    details: Mapping[str, Any] = field(default_factory=dict)  #: JSON values

    @property
    def once_key(self) -> str | None:
        """What makes it unique within its cluster; None where it may repeat."""
        if self.rotation is None or self.kind in REPEATABLE:
            return None
        return f"{self.rotation}/{self.kind}/{self.version}"
