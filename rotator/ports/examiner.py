"""An optional ability of a secrets manager's adapter: to be looked into by `rotator doctor`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rotator.domain.findings import Finding
    from rotator.domain.ids import ClusterName, EpochNumber, MasterName


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at, by the name that people read; *run* changes nothing."""

    name: str
    run: Callable[[], Awaitable[Iterable[Finding]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the service uses in the secrets manager."""

    clusters: tuple[ClusterName, ...]  #: declared or known
    initialised: frozenset[ClusterName] = frozenset()  #: a document must be there
    epochs: tuple[tuple[MasterName, EpochNumber], ...] = ()  #: in use


class StoreExaminer(Protocol):
    """Looks into a secrets manager as the service would use it. Writes nothing there.

    A store without one is only asked whether it can be used (`CookieStore.check`).
    """

    def checks(self, subject: Subject) -> Sequence[Check]:
        """What can be looked at; the first one is whether the store can be used.

        Where it cannot, the others find nothing. A check may raise a `SecretStoreError`.
        """
        ...

    async def leave(self) -> None:
        """Give back what looking has made, such as a login; never an error."""
        ...
