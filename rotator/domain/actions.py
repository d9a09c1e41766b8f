"""What the shell may be told to do. Each writes at most once, and may be told again.

The lines (S2, K1, …) are those of the order of writes in docs/reference/order-of-writes.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rotator.domain.schedule import Begin, PassOver, TakeUp

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.domain.cluster import Blocker
    from rotator.domain.ids import EpochNumber, NodeName


class Line(StrEnum):
    """One write, to the state store (S, T, A, R, E, I) or to the secrets manager (K)."""

    T1 = "T1"
    T2 = "T2"
    S1 = "S1"
    K1 = "K1"
    S2 = "S2"
    S3 = "S3"
    K2 = "K2"
    S4 = "S4"
    S5 = "S5"
    S6 = "S6"
    K3 = "K3"
    S7 = "S7"
    A1 = "A1"
    KA = "KA"
    A2 = "A2"
    R1 = "R1"
    KR1 = "KR1"
    R2 = "R2"
    R3 = "R3"
    KR2 = "KR2"
    R4 = "R4"
    E1 = "E1"
    E2 = "E2"
    KE1 = "KE1"
    KE2 = "KE2"
    E3 = "E3"
    E4 = "E4"
    E5 = "E5"
    I1 = "I1"
    KI1 = "KI1"
    KI2 = "KI2"
    I2 = "I2"
    L1 = "L1"
    KL = "KL"
    KD = "KD"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEpoch:
    """KE1, KI1: create the epoch of the master secret, unless it is there."""

    epoch: EpochNumber
    line: Line


@dataclass(frozen=True, slots=True)
class Initialise:
    """KI2: create the document with version 1."""


@dataclass(frozen=True, slots=True)
class Stage:
    """K1: derive the new version, write it as pending."""


@dataclass(frozen=True, slots=True)
class Promote:
    """K2: pending becomes current, current previous."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """K3, KR2: remove previous."""

    line: Line


@dataclass(frozen=True, slots=True)
class Discard:
    """KA: remove pending, burn its number."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """KR1: the former version becomes current again."""


@dataclass(frozen=True, slots=True)
class Revoke:
    """KE2: leave nothing but the new version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enter:
    """Write this line to the state store."""

    line: Line


@dataclass(frozen=True, slots=True)
class Lock:
    """E1 again: begin the next round of locking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excuse:
    """No longer wait for a member that has been lost for as long as the policy says."""

    node: NodeName


@dataclass(frozen=True, slots=True)
class SettleClaims:
    """Write what has become of claims on restarts: done, back, failed, expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to do before *until* (None: before something changes), because of *blockers*."""

    until: datetime | None = None
    blockers: tuple[Blocker, ...] = ()


#: Written to the state store alone.
Decision = Enter | Lock | Excuse | SettleClaims | TakeUp | PassOver | Begin
#: Written to the secrets manager.
Deed = OpenEpoch | Initialise | Stage | Promote | Retire | Discard | RollBack | Revoke
Action = Decision | Deed | Wait
