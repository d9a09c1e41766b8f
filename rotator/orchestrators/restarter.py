"""What restarts a node: the promise that each way of doing it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rotator.protocol.v1 import Claim


@dataclass(frozen=True, slots=True)
class Go:
    """The node may be restarted; `handle` names the one incarnation of it that was looked at."""

    handle: str = ""


@dataclass(frozen=True, slots=True)
class NotNow:
    """Something stands in the way that may pass: it is waited for, and shown."""

    why: str


class Restarter(Protocol):
    """One way to restart nodes."""

    steps: frozenset[str]  #: what it can do with a node: restart, stop, start

    def handles(self, node: str) -> bool:
        """Whether a node of this name is one of its own."""
        ...

    async def prepare(self, claim: Claim) -> Go | NotNow:
        """Look whether the node may be restarted now, and change nothing.

        Raises `RestartImpossible` when it never may, and `RotatorError` when that cannot be told now.
        """
        ...

    async def restart(self, claim: Claim, go: Go) -> NotNow | None:
        """Restart that incarnation, or nothing; a reason when it may not be restarted just now.

        Called again with the same *go* after a lost answer, so it never restarts another incarnation.
        Raises as `prepare`.
        """
        ...

    async def look(self, node: str) -> str:
        """Why a node that was restarted is not up yet, or an empty text; never raises."""
        ...
