"""What replicas tell each other: that something changed, never what it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain.ids import ClusterName

if TYPE_CHECKING:
    from collections.abc import Sequence

LEASE: Final = "lease"  #: somebody gave it back
REVOKED: Final = "revoked"  #: a token
_CLUSTER: Final = "cluster "


def of(cluster: ClusterName) -> str:
    """The news that a cluster has changed."""
    return f"{_CLUSTER}{cluster}"


def cluster_in(news: str) -> ClusterName | None:
    """The cluster that has changed; None if the news is about something else."""
    return ClusterName(news.removeprefix(_CLUSTER)) if news.startswith(_CLUSTER) else None


def split(payload: str) -> Sequence[str]:
    """Who tells, and what."""
    who, _, what = payload.partition(" ")
    return who, what
