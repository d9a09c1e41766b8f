"""A version: one immutable cookie of one cluster, and the stage it is in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rotator.domain.ids import EpochNumber, Fingerprint, VersionNumber


class Stage(StrEnum):
    """What a version is to its cluster (after AWSPENDING, AWSCURRENT, AWSPREVIOUS)."""

    PENDING = "pending"  #: numbered, perhaps written; no node uses it
    CURRENT = "current"  #: what nodes shall use
    PREVIOUS = "previous"  #: what nodes may still use; the way back
    RETIRED = "retired"  #: proven unused, removed
    DISCARDED = "discarded"  #: never used; its number is burned
    REVOKED = "revoked"  #: taken to be known to an attacker


#: pending -> current -> previous -> retired; a rollback swaps current and previous
NEXT: Final[Mapping[Stage, frozenset[Stage]]] = {
    Stage.PENDING: frozenset({Stage.CURRENT, Stage.DISCARDED, Stage.REVOKED}),
    Stage.CURRENT: frozenset({Stage.PREVIOUS, Stage.REVOKED}),
    Stage.PREVIOUS: frozenset({Stage.CURRENT, Stage.RETIRED, Stage.REVOKED}),
    Stage.RETIRED: frozenset(),
    Stage.DISCARDED: frozenset(),
    Stage.REVOKED: frozenset(),
}


class Origin(StrEnum):
    """Where a version's cookie came from."""

    DERIVED = "derived"
    IMPORTED = "imported"  #: the cluster had it before us


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version as the state store knows it: its fingerprint, never its cookie."""

    number: VersionNumber
    stage: Stage
    origin: Origin
    epoch: EpochNumber | None  #: of an imported one: None
    created_at: datetime
    fingerprint: Fingerprint | None = None  #: None until it is written to the secrets manager
