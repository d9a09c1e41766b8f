"""What an operator wants of a cluster's rotations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from rotator.domain.ids import MasterName, NodeName

if TYPE_CHECKING:
    from rotator.domain.schedule import Schedule

#: Whom a cluster expects: these names, so many members, or None: nobody has to attest.
Expectation = frozenset[NodeName] | int | None


class OnDrift(StrEnum):
    """What agents do with a running node that answers to a cookie which is not accepted."""

    HEAL = "heal"  #: reset it to current
    HOLD = "hold"  #: leave it alone until a person has looked


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationPolicy:
    """The windows and limits of one cluster; a changed one applies from the next gate."""

    expect: Expectation
    master: MasterName = MasterName("default")
    install_timeout: timedelta = timedelta(minutes=2)
    grace_window: timedelta = timedelta(minutes=15)  #: 0: retire as soon as it is proven
    lock_timeout: timedelta = timedelta(seconds=30)
    emergency_cooldown: timedelta = timedelta(minutes=10)
    max_rotations_per_hour: int = 4  #: scheduled and manual; emergencies have their cool-down
    heartbeat: timedelta = timedelta(seconds=15)
    node_ttl: timedelta = timedelta(seconds=90)  #: silence after which a member is lost
    on_drift: OnDrift = OnDrift.HEAL
    ephemeral: bool = False  #: a lost member counts as left
    excuse_lost_after: timedelta | None = None  #: None: wait for an operator
    schedule: Schedule | None = None  #: None: only by command

    @property
    def expects_members(self) -> bool:
        """Whether a gate needs at least one attestation."""
        return bool(self.expect)
