"""One writer of a cluster after the other, within this process.

Every write is a compare-and-set on the cluster's revision, which is what keeps it safe. Where twenty
agents report at the same moment, though, each save would make all others decide anew, and nobody
would come to an end. Who has the turn still has to win against other processes, and asks no secrets manager.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rotator.domain.ids import ClusterName


class Turns:
    """First come, first served."""

    def __init__(self) -> None:
        self._locks: defaultdict[ClusterName, asyncio.Lock] = defaultdict(asyncio.Lock)

    def of(self, cluster: ClusterName) -> asyncio.Lock:
        """The turn to change this cluster, to be held from loading it to saving it."""
        return self._locks[cluster]
