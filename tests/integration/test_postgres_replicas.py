"""What replicas on one PostgreSQL have from each other: the lease, the turn to write, the news."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from rotator.adapters.state.chain import SERVICE
from rotator.adapters.state.database import FACTS, about
from rotator.adapters.state.store import State, open_postgres
from rotator.domain.cluster import Blocker, Change, Standing
from rotator.domain.ids import ClusterName
from rotator.errors import AnotherProcess, FenceLost
from rotator.testing.state.values import NOW, ORDERS, PAYMENTS, A, a_fact, a_token, declared, loaded
from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LONG, SHORT = timedelta(minutes=10), timedelta(milliseconds=300)


@pytest.fixture
def database() -> Iterator[postgres.Database]:
    """One of its own."""
    made = postgres.new_database()
    yield made
    postgres.drop(made)


@pytest.fixture
async def opened(database: postgres.Database) -> AsyncIterator[AsyncExitStack]:
    """What is opened in it is closed at the end."""
    async with AsyncExitStack() as stack:
        yield stack


@dataclass
class Heard:
    """`Ears` that write down."""

    clusters: list[ClusterName | None] = field(default_factory=list)
    leases: int = 0
    revocations: int = 0

    def cluster_has_changed(self, cluster: ClusterName | None) -> None:
        """Another replica changed it."""
        self.clusters.append(cluster)

    def lease_is_free(self) -> None:
        """It was given back."""
        self.leases += 1

    def token_was_revoked(self) -> None:
        """One was."""
        self.revocations += 1


async def replica(
    opened: AsyncExitStack, database: postgres.Database, name: str, life: timedelta = LONG
) -> State:
    """A state store as a replica has it."""
    return await opened.enter_async_context(open_postgres(database.server, holder=name, life=life))


async def until(condition: object) -> None:
    """Until it is true; the test's own timeout bounds it."""
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0.01)


async def test_one_of_many_gets_the_lease(
    opened: AsyncExitStack, database: postgres.Database
) -> None:
    """Of eight that try at once one leads, and everybody can tell who."""
    states = [await replica(opened, database, f"r{number}") for number in range(8)]
    assert (await states[0].lease.look()).is_free
    found = await asyncio.gather(*(s.lease.acquire() for s in states), return_exceptions=True)
    refused = [one for one in found if isinstance(one, AnotherProcess)]
    assert len(refused) == 7
    (winner,) = (number for number, one in enumerate(found) if one == 1)
    for state in states:
        tenure = await state.lease.look()
        assert (tenure.fence, tenure.holder, tenure.is_free) == (1, f"r{winner}", False)


async def test_each_taking_raises_the_token(
    opened: AsyncExitStack, database: postgres.Database
) -> None:
    """Given back and taken again, by the same replica or another, the token is a new one."""
    one, two = [await replica(opened, database, name) for name in ("one", "two")]
    for fence, state in enumerate((one, two, two, one), start=1):
        assert await state.lease.acquire() == fence
        await state.lease.renew()
        await state.lease.release()
        assert (await one.lease.look()).holder is None


async def test_a_lease_that_ran_out_is_taken_and_its_holder_is_shut_out(
    opened: AsyncExitStack, database: postgres.Database
) -> None:
    """The former holder neither renews nor gives back nor writes: the token is not the newest."""
    one = await replica(opened, database, "one", SHORT)
    two = await replica(opened, database, "two")
    before = await declared(one)
    old = await one.lease.acquire()
    with pytest.raises(AnotherProcess):
        await two.lease.acquire()
    while not (await two.lease.look()).is_free:
        await asyncio.sleep(0.02)
    new = await two.lease.acquire()
    assert new == old + 1
    with pytest.raises(FenceLost):
        await one.lease.renew()
    await one.lease.release()
    assert (await two.lease.look()).holder == "two"
    change = Change(cluster=before.next_generation(), facts=(a_fact(),))
    with pytest.raises(FenceLost):
        await one.clusters.save(before, change, fence=old)
    standing = Standing(blocker=Blocker(code="lost", subject="", detail=""), since=NOW)
    with pytest.raises(FenceLost):
        await one.clusters.stand(replace(before, blockers=(standing,)), fence=old)
    assert await loaded(two) == before
    await two.clusters.save(before, change, fence=new)


async def test_a_late_holder_goes_on_if_nobody_came(
    opened: AsyncExitStack, database: postgres.Database
) -> None:
    """A lease that ran out, and that nobody has taken, is renewed under the same token."""
    one = await replica(opened, database, "one", SHORT)
    fence = await one.lease.acquire()
    while not (await one.lease.look()).is_free:
        await asyncio.sleep(0.02)
    await one.lease.renew()
    assert (await one.lease.look()).fence == fence


async def test_nobody_takes_the_lease_in_the_middle_of_a_write(
    opened: AsyncExitStack, database: postgres.Database
) -> None:
    """Whoever takes it waits until a write that goes by the token before is stored, or is not."""
    one, two = [await replica(opened, database, name) for name in ("one", "two")]
    before = await declared(one)
    fence = await one.lease.acquire()
    held = database.connect()
    held.execute("UPDATE lease SET expires_at = NULL")  # free, as far as anybody can see
    held.autocommit = False
    # Somebody else about the cluster: the write has its token checked, and waits behind this.
    held.execute("SELECT 1 FROM clusters FOR UPDATE")
    change = Change(cluster=before.next_generation())
    writing = asyncio.ensure_future(one.clusters.save(before, change, fence=fence))
    await waiting(database, 1)
    taking = asyncio.ensure_future(two.lease.acquire())
    await waiting(database, 2)
    held.rollback()
    held.close()
    assert (await writing).revision == 1
    assert await taking == fence + 1


async def test_the_lease_is_renewed_while_writes_go_by_it(
    opened: AsyncExitStack, database: postgres.Database
) -> None:
    """However many there are, one after the other or at once, and where every connection is in use."""
    one = await replica(opened, database, "one")
    before = await declared(one)
    fence = await one.lease.acquire()
    with database.connect() as held:
        held.autocommit = False
        held.execute("SELECT 1 FROM clusters FOR UPDATE")
        change = Change(cluster=before.next_generation())
        writes = [
            asyncio.ensure_future(one.clusters.save(before, change, fence=fence)) for _ in range(20)
        ]
        # One has had its token checked and waits for the row, others for their turn.
        await waiting(database, 12)
        await one.lease.renew()
        held.rollback()
    found = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(not isinstance(one, Exception) for one in found) == 1


async def test_turns_are_taken_in_the_order_of_what_is_locked(
    opened: AsyncExitStack, database: postgres.Database
) -> None:
    """Where two subjects have one hash, or texts sort otherwise, nobody waits in a circle."""
    one, two = [await replica(opened, database, name) for name in ("one", "two")]
    hashes = dict(
        database.ask("SELECT 's' || n, hashtext('s' || n) FROM generate_series(10, 99) n")
    )
    # Sorted by text, *second* would come first, and be held while *first* is waited for.
    second = "s10"
    first = next(name for name, found in hashes.items() if found < hashes[second])
    query = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    async with one.clusters._database.transaction(first):

        async def take() -> None:
            async with two.clusters._database.transaction(second, first, second):
                assert await asyncio.to_thread(database.ask, query) == [(2,)]

        taking = asyncio.ensure_future(take())
        await waiting(database, 1)
        assert await asyncio.to_thread(database.ask, query) == [(1,)]
    await taking


async def waiting(database: postgres.Database, count: int) -> None:
    """Until that many sessions wait for a lock."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while True:
        ((found,),) = await asyncio.to_thread(database.ask, query)
        if found == count:
            return
        await asyncio.sleep(0.02)


async def test_what_a_stopped_replica_holds_is_free_soon(
    opened: AsyncExitStack, database: postgres.Database
) -> None:
    """A session that rests within a transaction is ended by the server, before others give up."""
    one = await replica(opened, database, "one")
    await declared(one)
    stopped = await database.server.connect()
    await stopped.execute("SELECT fence FROM lease FOR SHARE")
    await stopped.execute("SELECT 1 FROM clusters FOR UPDATE")
    await one.lease.acquire()
    before = await loaded(one)
    saved = await one.clusters.save(before, Change(cluster=before.next_generation()), fence=1)
    assert saved.revision == 1
    await stopped.close()


async def test_positions_become_visible_in_order(
    opened: AsyncExitStack, database: postgres.Database
) -> None:
    """Who reads facts behind a cursor passes none over, however long a transaction takes."""
    one, two = [await replica(opened, database, name) for name in ("one", "two")]
    await declared(one, ORDERS, PAYMENTS)
    slow = one.clusters._database
    from rotator.adapters.state import chain

    async with slow.transaction(about(SERVICE), FACTS) as connection:
        head = await chain.head(connection, SERVICE)
        await chain.append(connection, SERVICE, after=head, new=(a_fact(),))
        quick = asyncio.ensure_future(two.clusters.add_fact(a_fact(), cluster=PAYMENTS))
        await waiting(database, 1)
        last = (await two.clusters.facts(None, newest_first=True, limit=1))[0].position
    await quick
    later = await two.clusters.facts(None, after=last)
    assert [fact.cluster for fact in later] == [None, PAYMENTS]
    assert [fact.position for fact in later] == sorted(fact.position for fact in later)


async def test_other_replicas_hear_of_a_change_when_it_is_stored(
    opened: AsyncExitStack, database: postgres.Database
) -> None:
    """They wake who waits there; what was not stored is not told, and our own is no news."""
    one, two = [await replica(opened, database, name) for name in ("one", "two")]
    mine, theirs = Heard(), Heard()
    before = await declared(one)
    one.listen(mine)
    two.listen(theirs)
    # Each begins with the news that anything may have changed.
    await until(lambda: mine.clusters and theirs.clusters)
    assert mine.clusters == theirs.clusters == [None]
    waiters = [asyncio.ensure_future(s.wakeups.wait(ORDERS, seconds=600)) for s in (one, two)]
    await asyncio.sleep(0)
    with pytest.raises(FenceLost):
        await one.clusters.save(before, Change(cluster=before.next_generation()), fence=99)
    await one.clusters.touch({ORDERS: {A: NOW}})
    await one.clusters.save(before, Change(cluster=before.next_generation()))
    assert await asyncio.gather(*waiters) == [True, True]
    await one.tokens.add(a_token(1))
    await one.tokens.revoke("t1", now=NOW)
    await one.lease.acquire()
    await one.lease.release()
    await until(lambda: theirs.leases == 2 and mine.leases == 2)
    assert theirs.clusters == [None, ORDERS]
    assert mine.clusters == [None]
    assert (mine.revocations, theirs.revocations) == (2, 2)


async def test_a_listener_that_lost_its_connection_wakes_everybody(
    opened: AsyncExitStack, database: postgres.Database
) -> None:
    """Whatever it missed: who waits looks, the reconciler looks at all, the lease is tried."""
    one = await replica(opened, database, "one")
    heard = Heard()
    one.listen(heard)
    await until(lambda: heard.clusters == [None])
    waiters = [
        asyncio.ensure_future(one.wakeups.wait(name, seconds=600)) for name in (ORDERS, None)
    ]
    await asyncio.sleep(0)
    database.terminate()
    assert await asyncio.gather(*waiters) == [True, True]
    await until(lambda: heard.clusters == [None, None])
    assert (heard.leases, heard.revocations) == (2, 2)


async def test_windows_end_by_the_clock_of_the_moment(
    opened: AsyncExitStack, database: postgres.Database
) -> None:
    """The database is asked, each time: two answers differ, and lie around its own."""
    one = await replica(opened, database, "one")
    first = await one.clusters.now()
    ((middle,),) = database.ask("SELECT clock_timestamp()")
    assert first < middle < await one.clusters.now()
    assert str(first.tzinfo) == "UTC"
