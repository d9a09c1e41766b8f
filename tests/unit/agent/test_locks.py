"""Locks by files: what a race, a strange file system and another user make of them."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rotator.agent import locks
from rotator.errors import AgentFileError

OURS = (os.geteuid(), os.getegid())
NOBODY = 65534


@pytest.fixture(autouse=True)
def _generous() -> Iterator[None]:
    """Files are private by themselves, and not by the user's umask."""
    before = os.umask(0)
    yield
    os.umask(before)


def place_of(path: Path) -> Path:
    """Where its lock is."""
    return path.with_name(f".{path.name}.rotator-lock")


def test_a_lock_is_its_owners_alone(tmp_path: Path) -> None:
    """What others could open they could lock, and never give back."""
    path = tmp_path / "cookie"
    with locks.hold(tmp_path / "lock", what="it"), locks.alone_at(path, owner=OURS):
        modes = {found.stat().st_mode & 0o777 for found in tmp_path.iterdir()}
    assert modes == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="wants root")
def test_a_lock_of_roots_is_the_node_users_to_go_on_with(tmp_path: Path) -> None:
    """A run of root's that is killed leaves no lock that the node's own agent cannot open."""
    path = tmp_path / "cookie"
    with locks.alone_at(path, owner=(NOBODY, NOBODY)):
        found = place_of(path).stat()
    assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY)


@pytest.mark.parametrize("another", [False, True])
def test_the_lock_of_a_file_that_is_gone_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, another: bool
) -> None:
    """Who had it before removed it, and somebody may hold a new one under its name."""
    path, real, calls = tmp_path / "cookie", fcntl.flock, []

    def flock(handle: int, how: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            place_of(path).unlink()
            if another:
                place_of(path).touch()
        real(handle, how)

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with locks.alone_at(path, owner=OURS):
        assert len(calls) == 2
        with place_of(path).open() as theirs, pytest.raises(BlockingIOError):
            real(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_that_goes_between_two_looks_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when it was to be made, and gone when it was to be opened."""
    path, real, calls = tmp_path / "cookie", os.open, []

    def opened(place: Any, flags: int, mode: int = 0o777) -> int:
        calls.append(flags)
        if len(calls) == 1:
            raise FileExistsError
        return real(place, flags, mode)

    monkeypatch.setattr(locks.os, "open", opened)
    with locks.alone_at(path, owner=OURS):
        assert place_of(path).exists()
    assert len(calls) == 3


def failing(number: int) -> Callable[[int, int], None]:
    """A file system that answers so."""

    def flock(_handle: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_has_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """An agent is better without a lock than not there."""
    monkeypatch.setattr(locks.fcntl, "flock", failing(number))
    with locks.hold(tmp_path / "lock", what="it"), locks.alone_at(tmp_path / "c", owner=OURS):
        pass


def test_any_other_failure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is not taken for one that knows no locks."""
    monkeypatch.setattr(locks.fcntl, "flock", failing(errno.EIO))
    with (
        pytest.raises(AgentFileError, match="no lock can be had"),
        locks.hold(tmp_path / "lock", what="it"),
    ):
        pass
