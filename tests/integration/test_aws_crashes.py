"""A write to AWS is several calls: cut short at any of them, it is all or nothing for a reader."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from rotator import failpoints
from rotator.adapters.secret_stores.aws.connection import AwsConnection
from rotator.adapters.secret_stores.aws.masters import AwsMasterStore
from rotator.adapters.secret_stores.aws.store import AwsCookieStore
from rotator.domain import document as documents
from rotator.domain.document import ClusterDocument
from rotator.domain.ids import ClusterName, VersionNumber
from rotator.errors import StoreConflict, StoreUnreachable
from rotator.ports.cookie_store import Stored
from rotator.testing.secret_stores import DEFAULT, FIRST, ORDERS, document, epoch, stamp, version
from tests.support import aws

Change = Callable[[ClusterDocument, Any], ClusterDocument]


def staged(found: ClusterDocument, mark: Any) -> ClusterDocument:
    """Version 2 is pending."""
    return documents.staged(found, version(2), mark)


ONE = document(1)
TWO = documents.promoted(staged(ONE, stamp()), stamp())
DECIDES = ("AwsPutMeta", "AwsDecide", "AwsSettle")


@dataclass(frozen=True)
class Line:
    """A line of the order of writes: what is there, what is written, and by which calls."""

    before: ClusterDocument
    change: Change
    calls: tuple[str, ...]


LINES = {
    "K1": Line(ONE, staged, ("AwsPut", *DECIDES, "AwsPending")),
    "KA": Line(
        staged(ONE, stamp()),
        lambda found, mark: documents.discarded(found, VersionNumber(2), mark),
        (*DECIDES, "AwsPending"),
    ),
    "K2": Line(staged(ONE, stamp()), documents.promoted, (*DECIDES, "AwsCurrent", "AwsPending")),
    "K3": Line(TWO, documents.retired, (*DECIDES, "AwsPrevious")),
    "KR1": Line(TWO, documents.rolled_back, (*DECIDES, "AwsCurrent")),
    "KR2": Line(documents.rolled_back(TWO, stamp()), documents.retired, (*DECIDES, "AwsPrevious")),
    "KE2": Line(
        documents.staged(TWO, version(3), stamp()),
        lambda found, mark: documents.revoked(found, version(4), mark),
        ("AwsPut", *DECIDES, "AwsCurrent", "AwsPrevious", "AwsPending"),
    ),
}
FIRST_CALLS = ("AwsCreate", "AwsCreateMeta", "AwsSettle")


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


class Place:
    """A prefix of its own, with the rights of the shipped policies."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.prefix = aws.shared(), f"t{secrets.token_hex(8)}"
        key = self.server.identity("service", self.prefix)
        for name, value in self.server.environment(key).items():
            monkeypatch.setenv(name, value)
        self.connection = AwsConnection(
            region=aws.REGION, endpoint=self.server.address, timeout=timedelta(seconds=60)
        )
        self.masters = AwsMasterStore(self.connection, prefix=self.prefix, kms_key=None)

    def open(self) -> AwsCookieStore:
        """As a process that was just started: nothing is known."""
        return AwsCookieStore(self.connection, prefix=self.prefix, kms_key=None)

    def writes(self) -> int:
        """How many writes it was asked for."""
        return sum(
            call.operation in aws.WRITES and call.name.startswith(self.prefix)
            for call in self.server.calls
        )

    def by_label(self, cluster: str) -> set[str]:
        """Every cookie that a node's rights show."""
        values = self.server.readable(f"{self.prefix}/clusters/{cluster}").values()
        return {value["cookie"] for value in values}


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    """A place for this test alone."""
    made = Place(monkeypatch)
    yield made
    await made.connection.close()


def cookies(*found: ClusterDocument) -> set[str]:
    """Every cookie of these documents."""
    return {v.cookie.reveal() for one in found for v in one.versions()}


async def is_cut_short(call: Any, point: str, when: str) -> bool:
    """Whether *call* met the point, and ended there without an answer."""
    failpoints.arm(f"{point}:{when}:raise")
    try:
        await call
    except StoreUnreachable:
        return not failpoints.is_armed()
    finally:
        met = not failpoints.is_armed()
        failpoints.arm("")
    assert not met, "it went on over a lost answer"
    return False


async def written(place: Place, cluster: ClusterName, line: Line) -> tuple[Stored, ClusterDocument]:
    """What is there before the line, and what it is to write."""
    await place.open().create(cluster, line.before)
    found = await place.open().read(cluster)
    assert found is not None
    assert found.is_settled
    return found, line.change(found.document, stamp(generation=2))


@pytest.mark.parametrize("name", LINES)
async def test_every_call_of_a_line_is_among_the_cases(place: Place, name: str) -> None:
    """No call is left out below, and each is a failpoint."""
    found, wanted = await written(place, ORDERS, LINES[name])
    before = place.writes()
    await place.open().replace(ORDERS, wanted, mark=found.mark)
    assert place.writes() - before == len(LINES[name].calls)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("when", ["before", "lost"])
@pytest.mark.parametrize("name", LINES)
async def test_a_write_cut_short_at_any_call_is_finished_or_repeated(
    place: Place, name: str, when: str
) -> None:
    """Whoever comes next reads the former document or the new one, and ends with the new one."""
    line = LINES[name]
    for point in line.calls:
        cluster = ClusterName(point.lower())
        found, wanted = await written(place, cluster, line)
        assert await is_cut_short(
            place.open().replace(cluster, wanted, mark=found.mark), point, when
        )
        assert place.by_label(cluster) <= cookies(line.before, wanted)

        store = place.open()
        there = await store.read(cluster)
        assert there is not None
        if there.mark == found.mark:
            assert (there.document, there.is_settled) == (line.before, True)
            assert place.by_label(cluster) == cookies(line.before)
            wanted = line.change(there.document, stamp(generation=3))
        else:
            assert there.document == wanted
            with pytest.raises(StoreConflict):  # who decided before has lost
                await store.replace(cluster, line.before, mark=found.mark)
        await store.replace(cluster, wanted, mark=there.mark)
        end = await store.read(cluster)
        assert end is not None
        assert (end.document, end.is_settled) == (wanted, True)
        assert place.by_label(cluster) == cookies(wanted)


@pytest.mark.parametrize("when", ["before", "lost"])
@pytest.mark.parametrize("point", FIRST_CALLS)
async def test_a_create_cut_short_is_repeated(place: Place, point: str, when: str) -> None:
    """No document, or the whole of it: and a repeat with another cookie is as good as the same."""
    assert await is_cut_short(place.open().create(ORDERS, document(1)), point, when)
    store = place.open()
    there = await store.read(ORDERS)
    if there is None:
        await store.create(ORDERS, document(2))
    else:
        assert there.document == document(1)
        await store.replace(ORDERS, there.document, mark=there.mark)
    end = await store.read(ORDERS)
    assert end is not None
    assert end.is_settled
    assert end.document == document(2 if there is None else 1)
    assert place.by_label(ORDERS) == cookies(end.document)


@pytest.mark.parametrize("when", ["before", "lost"])
async def test_an_epoch_cut_short_is_repeated_and_never_replaced(place: Place, when: str) -> None:
    """What was written first is what everybody gets, also he who got no answer and tries another."""
    writing = place.masters.create(DEFAULT, FIRST, epoch(1))
    assert await is_cut_short(writing, "AwsCreateEpoch", when)
    again = await place.masters.create(DEFAULT, FIRST, epoch(2))
    assert again == epoch(1 if when == "lost" else 2)
    assert await place.masters.read(DEFAULT, FIRST) == again


async def test_a_finished_write_is_not_finished_again(place: Place) -> None:
    """Replacing a settled document by itself writes nothing."""
    store = place.open()
    await store.create(ORDERS, ONE)
    found = await store.read(ORDERS)
    assert found is not None
    before = place.writes()
    await store.replace(ORDERS, found.document, mark=found.mark)
    assert place.writes() == before


async def test_one_rotation_makes_one_version_of_cookies_and_three_of_the_rest(
    place: Place,
) -> None:
    """Far below one put in ten minutes, for as long as a cluster rotates a few times a day."""
    found, wanted = await written(place, ORDERS, LINES["K1"])
    store = place.open()
    for change in (documents.promoted, documents.retired, None):
        await store.replace(ORDERS, wanted, mark=found.mark)
        found = await store.read(ORDERS)
        assert found is not None
        wanted = change(found.document, stamp()) if change else wanted
    cluster = f"{place.prefix}/clusters/{ORDERS}"
    assert (place.server.puts(cluster), place.server.puts(f"{cluster}/meta")) == (2, 4)
