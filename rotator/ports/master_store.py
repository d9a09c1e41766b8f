"""Where the master secrets lie: one write-once document per epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rotator.domain.ids import EpochNumber, MasterName
    from rotator.domain.kdf import KdfParameters
    from rotator.domain.master import MasterSecret


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """A master secret with everything that changes what is derived from it."""

    secret: MasterSecret
    salt: bytes = field(repr=False)  #: 16 bytes
    kdf: KdfParameters
    opened_for: str  #: rotation, cluster or due date that asked for it


class MasterStore(Protocol):
    """Reads and creates epochs. Same promises as `CookieStore` about time, errors and repeats."""

    async def read(self, master: MasterName, epoch: EpochNumber) -> Epoch | None:
        """The epoch, or None if it was never written."""
        ...

    async def create(self, master: MasterName, epoch: EpochNumber, value: Epoch) -> Epoch:
        """Write the epoch unless it is there; returns what is there now, ours or another's."""
        ...
