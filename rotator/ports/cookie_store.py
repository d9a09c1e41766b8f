"""Where the cookies lie: one document per cluster in the secrets manager."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from rotator.domain.document import ClusterDocument
    from rotator.domain.ids import ClusterName


#: A store's own name for one state of a document: opaque, compared for equality alone.
Mark: TypeAlias = int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A document, and the store's own mark of that state of it (for compare-and-set)."""

    document: ClusterDocument
    mark: Mark
    #: False: the write is decided, but was cut short where it takes several calls. Replacing the
    #: document by itself does what is missing.
    is_settled: bool = True


class CookieStore(Protocol):
    """Reads and writes cluster documents.

    Every method is bounded in time, may be repeated, and raises a `SecretStoreError` that names
    the reason. None retries by itself except one login after an expired token; a caller that gets
    a transient error reads back and decides.
    """

    async def read(self, cluster: ClusterName) -> Stored | None:
        """The newest document, or None if there is none (a missing mount is an error)."""
        ...

    async def create(self, cluster: ClusterName, document: ClusterDocument) -> None:
        """Write the first document; `StoreConflict` if there is one already.

        Before the first write the store is made to keep one version only and to require
        compare-and-set, and that is verified (`StoreUnsafeSettings`).
        """
        ...

    async def replace(self, cluster: ClusterName, document: ClusterDocument, *, mark: Mark) -> None:
        """Write over exactly the state that *mark* came with; else `StoreConflict`.

        After it returns, no cookie that is not in *document* can be read at its place any more,
        by version number either, with the rights that a node has. When it raises a transient
        error the write may have happened, as a whole or in part: then `read` gives the new
        document with `is_settled` false, and a replacement by the same document finishes it.
        """
        ...

    async def check(self) -> None:
        """Raise if the store cannot be used just now (for readiness)."""
        ...

    async def close(self) -> None:
        """Give back connections and threads."""
        ...
