"""What is needed to rebuild a lost secrets manager, and stands in no state store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import ClusterName, ClusterUid, EpochNumber, MasterName, VersionNumber
    from rotator.ports.master_store import Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCluster:
    """One cluster: what its cookies and fingerprints are made with, and those that are not made."""

    name: ClusterName
    uid: ClusterUid
    master: MasterName
    fingerprint_key: bytes = field(repr=False)  #: 32 bytes
    imported: Mapping[VersionNumber, Cookie] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryKit:
    """All master secrets, and every cluster."""

    made_at: datetime
    epochs: Mapping[tuple[MasterName, EpochNumber], Epoch]
    clusters: Mapping[ClusterName, KeptCluster]
