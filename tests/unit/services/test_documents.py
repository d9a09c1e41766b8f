"""What of a cluster's document is read, kept, and shared."""

from __future__ import annotations

import asyncio

import pytest

from rotator.domain.ids import ClusterName, VersionNumber
from rotator.errors import StoreUnreachable
from rotator.ports.cookie_store import Stored
from rotator.services.documents import Documents
from rotator.testing.factories import a_document
from rotator.testing.memory import MemoryCookieStore

ORDERS, BILLING = ClusterName("orders"), ClusterName("billing")
CURRENT = VersionNumber(11)


class SlowStore(MemoryCookieStore):
    """Answers reads when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.documents = {
            name: Stored(document=a_document(11), mark=1) for name in (ORDERS, BILLING)
        }
        self.reads: list[asyncio.Future[None]] = []

    async def read(self, cluster: ClusterName) -> Stored | None:
        """What is there when it is answered."""
        self.reads.append(asyncio.get_running_loop().create_future())
        await self.reads[-1]
        return await super().read(cluster)


async def _all_wait() -> None:
    """Let everything run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_nodes_that_ask_for_what_is_not_kept_cause_one_read_for_each_cluster() -> None:
    """A hundred of them wait for the same answer, however slow it is, and each gets it."""
    store = SlowStore()
    documents = Documents(store)
    asking = [
        asyncio.create_task(documents.holding(cluster, CURRENT))
        for cluster in (ORDERS, BILLING) * 50
    ]
    await _all_wait()
    assert len(store.reads) == 2
    for answer in store.reads:
        answer.set_result(None)
    found = await asyncio.gather(*asking)
    assert all(one is not None for one in found)
    assert len(store.reads) == 2


async def test_a_read_goes_on_when_who_began_it_is_gone() -> None:
    """The next one who asks waits for the same read, and gets its answer."""
    store = SlowStore()
    documents = Documents(store)
    gone = asyncio.create_task(documents.holding(ORDERS, CURRENT))
    await _all_wait()
    gone.cancel()
    await _all_wait()
    asking = asyncio.create_task(documents.holding(ORDERS, CURRENT))
    await _all_wait()
    store.reads[0].set_result(None)
    assert await asking is not None
    assert len(store.reads) == 1


async def test_a_read_that_fails_fails_for_all_who_wait_for_it_and_for_nobody_else() -> None:
    """The next one begins anew."""
    store = SlowStore()
    documents = Documents(store)
    asking = [asyncio.create_task(documents.read(ORDERS, max_age=60)) for _ in range(3)]
    await _all_wait()
    store.reads[0].set_exception(StoreUnreachable())
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(one) for one in found] == [StoreUnreachable] * 3
    again = asyncio.create_task(documents.read(ORDERS, max_age=60))
    await _all_wait()
    store.reads[1].set_result(None)
    assert await again is not None


@pytest.mark.parametrize("between", ["nothing", "a write", "another leader"])
async def test_who_needs_it_as_it_is_now_waits_for_no_read_that_began_before(between: str) -> None:
    """Nor does anybody after a write, or after others may have written."""
    store = SlowStore()
    documents = Documents(store)
    first = asyncio.create_task(documents.holding(ORDERS, CURRENT))
    await _all_wait()
    if between == "a write":
        with documents.writing(ORDERS):
            pass
    if between == "another leader":
        documents.forget()
    asks = documents.read(ORDERS, max_age=0 if between == "nothing" else 60)
    asking = asyncio.create_task(asks)
    await _all_wait()
    assert len(store.reads) == 2
    store.reads[1].set_result(None)
    assert await asking is not None
    assert not first.done()
    store.reads[0].set_result(None)
    await first
