"""Who holds the lock reconciles, and nobody beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from rotator.adapters.state.store import open_state
from rotator.errors import AnotherProcess, StateUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDER = """
import asyncio, sys
from pathlib import Path
from rotator.adapters.state.store import open_state

async def main():
    async with open_state(Path(sys.argv[1])) as state:
        print(await state.lease.acquire(), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@contextmanager
def held(place: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that holds the lease, and its fencing token."""
    command = [sys.executable, "-c", HOLDER, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


async def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    """The lease of a live process is not taken, and the message names its pid and the database."""
    place = tmp_path / "s"
    with held(place) as (holder, _):
        async with open_state(place) as state:
            with pytest.raises(AnotherProcess, match=rf"process {holder.pid} has .*{place}"):
                await state.lease.acquire()


async def test_another_name_of_the_file_is_the_same_lease(tmp_path: Path) -> None:
    """A symbolic link is no way around the lock."""
    (tmp_path / "link").symlink_to(tmp_path / "s")
    with held(tmp_path / "s"):
        async with open_state(tmp_path / "link") as state:
            with pytest.raises(AnotherProcess):
                await state.lease.acquire()


async def test_a_killed_holder_gives_way_at_once(tmp_path: Path) -> None:
    """After SIGKILL nothing has to run out, and the fencing token has risen."""
    place = tmp_path / "s"
    with held(place) as (holder, fence):
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        async with open_state(place) as state:
            assert await state.lease.acquire() == fence + 1
            await state.lease.release()


async def test_programs_that_are_started_do_not_inherit_the_lock(tmp_path: Path) -> None:
    """A child that outlives its parent's lease holds nothing of it."""
    async with open_state(tmp_path / "s") as state:
        await state.lease.acquire()
        with subprocess.Popen(["sleep", "30"], close_fds=False) as child:
            try:
                await state.lease.release()
                await state.lease.acquire()
            finally:
                child.kill()
        await state.lease.release()


async def test_each_taking_raises_the_fence(tmp_path: Path) -> None:
    """Fencing tokens only grow, over restarts too; giving back twice is harmless."""
    for expected in (1, 2, 3):
        async with open_state(tmp_path / "s") as state:
            assert await state.lease.acquire() == expected
            await state.lease.release()
            await state.lease.release()


async def test_a_lease_that_failed_half_way_is_free(tmp_path: Path) -> None:
    """When the fencing token cannot be raised, the lock is not kept."""
    async with open_state(tmp_path / "s") as state:
        pass
    with pytest.raises(StateUnavailable):
        await state.lease.acquire()
    async with open_state(tmp_path / "s") as state:
        assert await state.lease.acquire() == 1
        await state.lease.release()


async def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    """The lock file holds the pid, for people who look."""
    async with open_state(tmp_path / "s") as state:
        await state.lease.acquire()
        assert (tmp_path / "s.lock").read_text() == f"{os.getpid()}\n"
        await state.lease.release()
