"""Who waits for a cluster to change is woken here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rotator.domain.ids import ClusterName


class Wakeups(Protocol):
    """Tells waiters in this and other processes that a cluster has changed.

    A wake-up may come late or for nothing; who is woken looks for itself.
    """

    async def notify(self, cluster: ClusterName) -> None:
        """The cluster has changed."""
        ...

    async def wait(self, cluster: ClusterName | None, *, seconds: float) -> bool:
        """Until the cluster (None: any) changes; False after *seconds*."""
        ...


class Ears(Protocol):
    """What this replica does when another one tells something. It may come late or for nothing."""

    def cluster_has_changed(self, cluster: ClusterName | None) -> None:
        """It was changed by another replica; None: any may have been."""
        ...

    def lease_is_free(self) -> None:
        """Whoever held it has given it back."""
        ...

    def token_was_revoked(self) -> None:
        """Whoever waits with a token looks whether it still holds."""
        ...
