"""One file: who may read it, what it must be, and what comes out when it fails."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rotator.adapters.state.store import open_state
from rotator.domain.cluster import Change
from rotator.domain.ids import ClusterName
from rotator.errors import DatabaseTooNew, RevisionConflict, StateUnavailable
from rotator.testing.state.values import ORDERS, a_fact, a_token, declared, loaded

if TYPE_CHECKING:
    from pathlib import Path


async def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    """The directory is made 0700 and each file 0600, whatever the umask."""
    place = tmp_path / "new" / "state.sqlite"
    before = os.umask(0)
    try:
        async with open_state(place) as state:
            await declared(state)
            await state.lease.acquire()
            found = {
                path.name: stat.S_IMODE(path.stat().st_mode) for path in place.parent.iterdir()
            }
            await state.lease.release()
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    names = ("state.sqlite", "state.sqlite-shm", "state.sqlite-wal", "state.sqlite.lock")
    assert found == dict.fromkeys(names, 0o600)


async def test_odd_paths_are_taken_as_they_are(tmp_path: Path) -> None:
    """A question mark or a per cent sign in the path is a part of the name."""
    place = tmp_path / "50%s off?mode=ro" / "st#te?.sqlite"
    async with open_state(place) as state:
        await declared(state)
    assert place.exists()


async def test_what_is_stored_is_there_the_next_time(tmp_path: Path) -> None:
    """Closing and opening again loses nothing."""
    async with open_state(tmp_path / "s") as state:
        written = await declared(state)
    async with open_state(tmp_path / "s") as state:
        assert await loaded(state) == written


@pytest.mark.parametrize("content", [b"this is no database, but a letter" * 200, b"\0" * 4096])
async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    """The message says so and names the file, which is left as it was."""
    place = tmp_path / "s"
    place.write_bytes(content)
    with pytest.raises(StateUnavailable, match=f"{place} .*not a database"):
        async with open_state(place):
            pass
    assert place.read_bytes() == content


async def test_a_place_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """A directory in the file's place, or a file in the directory's, is a clear error."""
    with pytest.raises(StateUnavailable, match="directory"):
        async with open_state(tmp_path):
            pass
    (tmp_path / "file").touch()
    with pytest.raises(StateUnavailable, match="file"):
        async with open_state(tmp_path / "file" / "s"):
            pass


async def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A program that does not know the schema does not touch it, and says what to do."""
    place = tmp_path / "s"
    async with open_state(place):
        pass
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(DatabaseTooNew, match=r"9999.*upgrade the program"):
        async with open_state(place):
            pass


async def test_a_database_up_to_date_needs_no_alembic(tmp_path: Path) -> None:
    """An ordinary start does not load the migration tool."""
    async with open_state(tmp_path / "s"):
        pass
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from rotator.adapters.state.store import open_state\n"
        "async def main():\n"
        "    async with open_state(Path(sys.argv[1])): print('alembic' in sys.modules)\n"
        "asyncio.run(main())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "s")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "False\n"


async def test_a_locked_database_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that never ends is waited for a while, then named; reading goes on."""
    monkeypatch.setattr("rotator.adapters.state.sqlite._BUSY_SECONDS", 0.05)
    async with open_state(tmp_path / "s") as state:
        before = await declared(state)
        blocker = sqlite3.connect(tmp_path / "s", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateUnavailable, match="locked"):
            await state.clusters.save(before, Change(cluster=before))
        assert await loaded(state) == before
        blocker.execute("ROLLBACK")
        blocker.close()
        await state.clusters.save(before, Change(cluster=before))


async def test_a_failure_shows_no_values(tmp_path: Path) -> None:
    """What was to be written is in no error, nor in anything that is chained to it."""
    async with open_state(tmp_path / "s") as state:
        with sqlite3.connect(tmp_path / "s") as connection:
            connection.execute("DROP TABLE tokens")
        connection.close()
        token = a_token(1, note="canary")
        with pytest.raises(StateUnavailable) as caught:
            await state.tokens.add(token)
    error: BaseException | None = caught.value
    assert error is not None
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert "canary" not in repr(error) + repr(error.__context__) + str(error.__context__)
    assert token.digest not in str(error.__context__)


async def test_a_closed_store_stays_closed(tmp_path: Path) -> None:
    """A task that is late finds no way to open the file again."""
    async with open_state(tmp_path / "s") as state:
        pass
    with pytest.raises(StateUnavailable, match="closed"):
        await state.clusters.names()


async def test_cancelled_callers_leave_whole_transactions(tmp_path: Path) -> None:
    """However a caller is torn out, a change is stored as a whole or not at all."""
    async with open_state(tmp_path / "s") as state:
        await declared(state)

        async def write() -> None:
            before = await loaded(state)
            after = before.next_generation()
            after = replace(after, recent_starts=(*before.recent_starts, a_fact().at))
            await state.clusters.save(before, Change(cluster=after, facts=(a_fact(),) * 3))

        began = time.monotonic()
        await write()
        took = time.monotonic() - began  # on this machine, under its load
        done = 0
        for _ in range(150):
            task = asyncio.create_task(write())
            await asyncio.sleep(3 * took * secrets.randbelow(1000) / 1000)
            task.cancel()
            [outcome] = await asyncio.gather(task, return_exceptions=True)
            assert outcome is None or isinstance(outcome, asyncio.CancelledError | RevisionConflict)
            done += outcome is None
            cluster = await loaded(state)
            assert len(cluster.recent_starts) == cluster.revision
            assert cluster.facts_head.seq == 1 + 3 * cluster.revision
        assert 0 < done < 150
        assert await state.clusters.broken_link(ORDERS) is None
        async with open_state(tmp_path / "s") as other:
            assert await loaded(other) == await loaded(state)


async def test_clusters_are_read_again_only_when_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at a cluster that nobody changed gives the same object, without reading it."""
    async with open_state(tmp_path / "s") as state, open_state(tmp_path / "s") as other:
        await declared(state)
        first = await loaded(state)
        assert await loaded(state) is first
        saved = await state.clusters.save(first, Change(cluster=first.next_generation()))
        assert await loaded(state) is saved
        await state.clusters.stand(saved)
        standing = await loaded(state)
        assert await loaded(state) is standing
        await other.clusters.add_fact(a_fact(), cluster=ClusterName("orders"))
        assert (await loaded(state)).facts_head.seq == 2
