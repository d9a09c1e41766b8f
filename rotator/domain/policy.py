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


class Adoption(StrEnum):
    """How running nodes get a new cookie."""

    HOT = "hot"  #: in place, every link stays
    RESTART = "restart"  #: a running node keeps its own cookie; its next start takes current


class Strategy(StrEnum):
    """How nodes are restarted."""

    ROLLING = "rolling"  #: no more than `max_unavailable` at once
    STOP_THE_WORLD = "stop_the_world"  #: nodes without an agent: all stop, then all start


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPolicy:
    """How a cluster whose `adoption` is `restart` is restarted."""

    strategy: Strategy = Strategy.ROLLING
    max_unavailable: int = 1  #: members that may be down, or not healthy, at once
    order: tuple[NodeName, ...] = ()  #: these first; the others follow by name
    soak: timedelta = timedelta(seconds=30)  #: that a node is back before it counts as done
    claim_ttl: timedelta = timedelta(minutes=2)  #: a claim that nobody renews is over after that
    restart_timeout: timedelta = timedelta(minutes=10)  #: then who has not come back is named
    max_restarts_per_hour: int | None = None  #: claims that are handed out; None: as many as fit
    max_attempts: int = 3  #: restarts of one node for one version that led to nothing


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
    adoption: Adoption = Adoption.HOT
    without_agent: frozenset[NodeName] = frozenset()  #: restarted by the word of an orchestrator
    rollout: RolloutPolicy = RolloutPolicy()

    @property
    def restarts(self) -> bool:
        """Whether nodes take a new cookie only when they start."""
        return self.adoption is Adoption.RESTART

    @property
    def expects_members(self) -> bool:
        """Whether a gate needs at least one attestation."""
        return bool(self.expect)
