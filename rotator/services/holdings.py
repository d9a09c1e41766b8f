"""What the secrets manager holds of a cluster, as far as the next decision asks for it.

All that a pass of the reconciler has to wait for before it decides, for seconds at the worst.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rotator.domain.agreement import may_be_finished
from rotator.domain.rotation import Kind, Phase
from rotator.errors import FenceLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from rotator.domain.cluster import Cluster
    from rotator.domain.ids import Fence
    from rotator.ports.cookie_store import Stored
    from rotator.services.documents import Documents
    from rotator.services.heads import Heads
    from rotator.services.keyring import KeyRing

_GATE_READ: Final = 15.0  #: seconds between reads of the document while only a gate is awaited
_WRITING: Final = frozenset({Phase.STAGED, Phase.PROMOTING, Phase.ROLLING_BACK, Phase.RETIRING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The answers."""

    stored: Stored | None
    epoch_is_open: bool  #: of the version under way


class Holdings:
    """Asks; raises `SecretStoreError`, or `FenceLost` where there was a write to finish."""

    def __init__(
        self,
        documents: Documents,
        keyring: KeyRing,
        *,
        heads: Heads,
        fence: Fence,
        may_act: Callable[[], bool],
    ) -> None:
        self._documents = documents
        self._keyring = keyring
        self._heads = heads
        self._fence = fence
        self._may_act = may_act  #: whether the lease still lasts

    async def of(self, cluster: Cluster) -> Held | None:
        """The answers for this cluster; None when a write had to be finished: then look again."""
        stored = await self._document(cluster)
        if await self._finished(cluster, stored):
            return None
        return Held(stored=stored, epoch_is_open=await self._epoch_is_open(cluster))

    async def _document(self, cluster: Cluster) -> Stored | None:
        rotation = cluster.rotation
        if not cluster.is_initialised:
            return await self._documents.read(cluster.name)
        if rotation is None:
            return await self._documents.read(cluster.name, max_age=1.0)
        writes = rotation.phase in _WRITING or rotation.abort_requested
        return await self._documents.read(cluster.name, max_age=0 if writes else _GATE_READ)

    async def _finished(self, cluster: Cluster, stored: Stored | None) -> bool:
        """Whether a write had to be finished that was cut short, by us or by who led before.

        Its decision was a compare-and-set, so this decides nothing. But it writes, and time has
        passed since the last look at the lease: who was stopped meanwhile does not even try.
        """
        if stored is None or stored.is_settled:
            return False
        seen = await self._heads.view(cluster, stored.document)
        if not may_be_finished(cluster, seen, fence=self._fence):
            return False
        if not self._may_act():
            raise FenceLost
        await self._documents.finish(cluster.name, stored)
        return True

    async def _epoch_is_open(self, cluster: Cluster) -> bool:
        rotation = cluster.rotation
        if cluster.master is None:
            return False
        if not cluster.is_initialised and cluster.first_epoch is not None:
            return await self._keyring.is_open(cluster.master, cluster.first_epoch)
        if rotation is None:
            return False
        derives = rotation.phase is Phase.STAGED or (
            rotation.kind is Kind.EMERGENCY and rotation.phase is Phase.PROMOTING
        )
        return derives and await self._keyring.is_open(cluster.master, rotation.epoch)


def question(cluster: Cluster) -> object:
    """What of a cluster decides which answers are wanted: no report changes it."""
    return cluster.uid, cluster.is_initialised, cluster.rotation
