"""A claim: a lease on the right to restart one node.

::

    claimed ─► restarting ─► done          the member is back, healthy and soaked: by evidence alone
       │           ├───────► failed        who holds it gave up, or the node came back as it was
       ├───────────┴───────► expired       nobody renewed it in time, or there is nothing to restart
       └───────────────────► released      who held it gave it back before it touched the node

Of a node without an agent there is no evidence: it is done when its holder says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.domain.ids import ClaimId, NodeName, RotationId, VersionNumber


class ClaimState(StrEnum):
    """How far a claim is."""

    CLAIMED = "claimed"  #: handed out; the node is not touched yet
    RESTARTING = "restarting"  #: its holder said so; from now on the node may be down
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    RELEASED = "released"  #: given back before the node was touched: no attempt


class Step(StrEnum):
    """What is to be done with the node."""

    RESTART = "restart"
    STOP = "stop"  #: `stop_the_world`: it must not run before all of them are stopped …
    START = "start"  #: … and starts only then


OPEN: Final = frozenset({ClaimState.CLAIMED, ClaimState.RESTARTING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to restart one node, once, for one version of one rotation."""

    id: ClaimId
    node: NodeName
    version: VersionNumber  #: that it shall come up with
    rotation: RotationId
    state: ClaimState
    token: int  #: fencing token: above those of all claims of the cluster before it
    holder: str
    step: Step = Step.RESTART
    claimed_at: datetime
    expires_at: datetime  #: by the state store's clock
    restarting_at: datetime | None = None  #: when its holder said that it begins
    back_at: datetime | None = None  #: since when the member is back and healthy; soak runs from it
    ended_at: datetime | None = None
    detail: str = ""  #: why it failed or expired
    links: tuple[NodeName, ...] = ()  #: whom the node was linked to when it was claimed
    up: int = 0  #: how many members were up when it was claimed, its node among them
    is_forgiven: bool = False  #: an operator lets the node be tried again

    @property
    def is_open(self) -> bool:
        """Whether its holder may still act on it."""
        return self.state in OPEN

    @property
    def came_to_nothing(self) -> bool:
        """Whether it was an attempt that did not bring its node back with `version`."""
        if self.is_forgiven:
            return False
        gave_up = self.state is ClaimState.EXPIRED and self.restarting_at is not None
        return gave_up or self.state is ClaimState.FAILED
