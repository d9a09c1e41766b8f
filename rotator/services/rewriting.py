"""One write of a document outside of a rotation, read back (`recover`, `rederive`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotator import failpoints
from rotator.errors import StoreConflict, StoreUnreachable

if TYPE_CHECKING:
    from rotator.domain.actions import Line
    from rotator.domain.document import ClusterDocument
    from rotator.domain.ids import ClusterName
    from rotator.ports.cookie_store import CookieStore, Stored


async def rewrite(
    cookies: CookieStore,
    cluster: ClusterName,
    *,
    over: Stored | None,
    document: ClusterDocument,
    line: Line,
) -> None:
    """Write *document* over exactly *over* (None: where there is none), and look at it.

    *line* names the failpoint. Raises a `SecretStoreError`: `StoreConflict` where another one is
    there, before or after.
    """
    try:
        failpoints.hit(line, "before")
        if over is None:
            await cookies.create(cluster, document)
        else:
            await cookies.replace(cluster, document, mark=over.mark)
        failpoints.hit(line, "after")
        failpoints.hit(line, "lost")
    except failpoints.AnswerLost as lost:
        raise StoreUnreachable(str(lost)) from None
    written = await cookies.read(cluster)
    if written is None or written.document != document:
        raise StoreConflict("the document read back is not the one that was written")
