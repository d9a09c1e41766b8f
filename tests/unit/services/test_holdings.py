from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from rotator.domain import agreement
from rotator.domain.ids import Fence
from rotator.errors import FenceLost
from rotator.ports.cookie_store import Stored
from rotator.services.documents import Documents
from rotator.services.holdings import Holdings
from rotator.testing.factories import NAME, a_cluster, a_document
from rotator.testing.memory import MemoryCookieStore

if TYPE_CHECKING:
    from rotator.domain.cluster import Cluster
    from rotator.domain.document import ClusterDocument


class CutShort(MemoryCookieStore):
    """A store in which the last write of a document has been cut short."""

    def __init__(self) -> None:
        super().__init__()
        self.documents = {NAME: Stored(document=a_document(11), mark=1, is_settled=False)}
        self.written = 0

    async def replace(self, *arguments: Any, **options: Any) -> None:
        """Do what is missing."""
        self.written += 1
        await super().replace(*arguments, **options)


class Heads:
    """Of a state store that has each fact that the document carries."""

    async def view(self, cluster: Cluster, document: ClusterDocument) -> agreement.DocumentView:
        """The document held against it."""
        return agreement.view(document, cluster)


@pytest.mark.parametrize("leads", [True, False])
async def test_a_write_that_was_cut_short_is_finished_only_while_the_lease_lasts(
    leads: bool,
) -> None:
    """A leader that was stopped while it read must not write over what the next one has."""
    store = CutShort()
    holdings = Holdings(
        Documents(store),
        cast("Any", None),
        heads=cast("Any", Heads()),
        fence=Fence(1),
        may_act=lambda: leads,
    )
    uid = store.documents[NAME].document.cluster_uid
    cluster = replace(a_cluster(), is_initialised=False, uid=uid)
    if leads:
        assert await holdings.of(cluster) is None
    else:
        with pytest.raises(FenceLost):
            await holdings.of(cluster)
    assert store.written == leads
