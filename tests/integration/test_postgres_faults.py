"""PostgreSQL goes away, hangs, or loses an answer: bounded and clear errors, and then all is well."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from rotator.adapters.state import tables as t
from rotator.adapters.state.postgres import server as module
from rotator.adapters.state.postgres.server import Server
from rotator.adapters.state.store import State, open_postgres
from rotator.cli.demo.postgres import Postgres
from rotator.cli.demo.postgres import open_postgres as open_server
from rotator.domain.cluster import Change
from rotator.errors import RevisionConflict, StateUnavailable
from rotator.testing.state.values import ORDERS, a_fact, a_token, declared, loaded
from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

HEALED = {"seconds": 60.0}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL that may be broken."""
    with open_server() as made:
        yield made


@pytest.fixture
def database(server: Postgres) -> postgres.Database:
    """A database in it."""
    return postgres.empty_database(server).migrate()


@pytest.fixture
async def state(database: postgres.Database) -> AsyncIterator[State]:
    """The store under test."""
    async with open_postgres(database.server) as opened:
        yield opened


async def until_healed(state: State) -> None:
    """Until it can be used again, by itself."""
    async with asyncio.timeout(HEALED["seconds"]):
        while True:
            try:
                await state.clusters.names()
            except StateUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_restart_is_survived(server: Postgres, state: State) -> None:
    """While it is away every call says so; afterwards the next one works, and waiters were woken."""
    before = await declared(state)
    heard: list[object] = []

    class Ears:
        cluster_has_changed = heard.append

        def lease_is_free(self) -> None: ...

        def token_was_revoked(self) -> None: ...

    state.listen(Ears())
    while not heard:
        await asyncio.sleep(0.01)
    woken = asyncio.ensure_future(state.wakeups.wait(ORDERS, seconds=600))
    await asyncio.sleep(0)
    await asyncio.to_thread(server.stop, signal.SIGQUIT)
    for _ in range(2):
        with pytest.raises(StateUnavailable, match="PostgreSQL failed: "):
            await state.clusters.names()
    with pytest.raises(StateUnavailable):
        await state.clusters.now()
    await asyncio.to_thread(server.start)
    await until_healed(state)
    assert await loaded(state) == before
    assert await woken is True


async def test_idle_connections_that_were_ended_are_not_used(
    database: postgres.Database, state: State
) -> None:
    """Nobody sees that the server has ended sessions in between."""
    await declared(state)
    for _ in range(3):
        assert database.terminate()
        await loaded(state)


async def test_a_session_that_ends_in_mid_transaction_writes_nothing(
    database: postgres.Database, state: State
) -> None:
    """The caller is told, the half that was written is gone, and the next call works."""
    before = await declared(state)

    async def write() -> None:
        async with state.clusters._database.transaction() as connection:
            await connection.execute(update(t.clusters).values(generation=77))
            await asyncio.to_thread(database.terminate)
            await connection.execute(update(t.clusters).values(generation=78))

    with pytest.raises(StateUnavailable, match="terminating connection"):
        await write()
    assert await loaded(state) == before
    await state.clusters.save(before, Change(cluster=before.next_generation()))


async def test_a_lost_answer_to_commit_is_found_out_by_looking(
    server: Postgres, database: postgres.Database, state: State
) -> None:
    """The change was stored and its answer lost: the caller is told so, and a second try loses."""
    before = await declared(state)
    try:
        # A standby that never comes lets COMMIT wait when everything is on the disk already.
        database.ask("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        database.ask("SELECT pg_reload_conf()")
        change = Change(cluster=before.next_generation(), facts=(a_fact(),))
        while database.ask("SHOW synchronous_standby_names") != [("nobody",)]:
            await asyncio.sleep(0.02)
        writing = asyncio.ensure_future(state.clusters.save(before, change))
        query = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        while not await asyncio.to_thread(database.ask, query):
            assert not writing.done(), "the server did not wait for its standby"
            await asyncio.sleep(0.02)
        await asyncio.to_thread(database.terminate)
        with pytest.raises(StateUnavailable):
            await writing
    finally:
        database.ask("ALTER SYSTEM RESET synchronous_standby_names")
        database.ask("SELECT pg_reload_conf()")
    found = await loaded(state)
    assert (found.revision, found.generation) == (1, change.cluster.generation)
    with pytest.raises(RevisionConflict):
        await state.clusters.save(before, change)
    assert await state.clusters.broken_link(ORDERS) is None


async def test_a_server_that_hangs_does_not_hang_us(
    server: Postgres, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps none of its own bounds while it is stopped: the connection is cut from our side."""
    monkeypatch.setattr("rotator.adapters.state.postgres.database.LONGEST_SECONDS", 0.5)
    monkeypatch.setattr(module, "_CONNECT_SECONDS", 1)
    before = await declared(state)
    with frozen(server):
        async with asyncio.timeout(60):
            for _ in range(3):
                with pytest.raises(StateUnavailable):
                    await state.clusters.names()
            with pytest.raises(StateUnavailable):
                await state.clusters.save(before, Change(cluster=before.next_generation()))
    await until_healed(state)
    assert (await loaded(state)).revision in {0, 1}


@contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    """Every process of the server is stopped."""
    assert server.process is not None
    pids = [server.process.pid, *children(server.process.pid)]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in text.split()]


async def test_a_failure_shows_no_values(database: postgres.Database, state: State) -> None:
    """What was to be written is in no error, nor in anything that is chained to it."""
    token = a_token(1, note="canary")
    await state.tokens.add(token)
    database.ask("ALTER TABLE tokens RENAME TO gone")
    for call in (state.tokens.add(token), state.tokens.find("canary")):
        with pytest.raises(StateUnavailable) as caught:
            await call
        error: BaseException | None = caught.value
        assert error is not None
        assert error.__cause__ is None
        assert error.__suppress_context__
        assert "canary" not in repr(error) + str(error) + str(error.__context__)


async def test_the_password_comes_from_its_file_and_goes_nowhere_else(
    server: Postgres, database: postgres.Database, tmp_path: Path
) -> None:
    """It is read for each connection; a wrong one is refused, and is in no message."""
    rules = server.directory / "postgresql" / "pg_hba.conf"
    former = rules.read_text()
    database.ask("CREATE ROLE careful LOGIN PASSWORD 'canary-right'")
    # What a service needs that does not own the tables, as docs/how-to/postgresql.md has it.
    database.ask(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO careful;"
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO careful"
    )
    rules.write_text(f"host all careful all scram-sha-256\n{former}")
    file = tmp_path / "password"
    where = {**database.parameters, "user": "careful"}
    try:
        database.ask("SELECT pg_reload_conf()")
        as_careful = Server(**where, password_file=file)
        with pytest.raises(StateUnavailable, match=r"password: No such file"):
            async with open_postgres(as_careful):
                pass
        file.write_text("canary-wrong\n")
        with pytest.raises(StateUnavailable, match="password authentication failed") as caught:
            async with open_postgres(as_careful):
                pass
        assert "canary" not in f"{caught.value!r} {caught.value.__context__!r}"
        file.write_text("canary-right\n")
        async with open_postgres(as_careful) as state:
            await declared(state)
        assert "canary" not in repr(as_careful)
    finally:
        rules.write_text(former)
        database.ask("SELECT pg_reload_conf()")
