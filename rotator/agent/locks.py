"""Locks by files of our own, 0600: what everybody may open, everybody may lock, and never give back."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from rotator.errors import AgentFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE: Final = 5.0  #: seconds for another writer of the same file, who takes milliseconds
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def hold(path: Path, *, what: str) -> Iterator[None]:
    """Lock a file that stays there; the kernel gives it back, however this process ends.

    Raises `AgentFileError`, at once where another process holds it: *what* runs already.
    """
    try:
        handle = os.open(path, _FLAGS | os.O_CREAT, 0o600)
    except OSError as error:
        raise AgentFileError(f"{path} cannot be opened: {error.strerror}") from None
    try:
        if not _is_locked(handle):
            raise AgentFileError(f"{what} runs already: another process holds {path}")
        yield
    finally:
        os.close(handle)


@contextmanager
def alone_at(path: Path, *, owner: tuple[int, int]) -> Iterator[None]:
    """Alone at *path*, by a file that nobody but its owner can open, and so lock.

    It is removed while it is locked: who gets the lock of a file that is gone tries again. *owner*
    is to be who owns the file. Raises `AgentFileError` after some seconds, and `OSError`.
    """
    place = path.with_name(f".{path.name}.rotator-lock")
    ends_at = time.monotonic() + _PATIENCE
    while True:
        handle = _lock_file(place, owner=owner)
        try:
            if _is_locked(handle) and _is_at(handle, place):
                try:
                    yield
                finally:
                    place.unlink(missing_ok=True)
                return
        finally:
            os.close(handle)
        if time.monotonic() >= ends_at:
            raise AgentFileError(f"{path} cannot be written: another process holds {place}")
        time.sleep((1 + secrets.randbelow(10)) / 1000)  # noqa: TID251 - milliseconds


def _lock_file(place: Path, *, owner: tuple[int, int]) -> int:
    while True:
        try:
            handle = os.open(place, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            with suppress(FileNotFoundError):  # Removed meanwhile.
                return os.open(place, _FLAGS)
        else:
            if os.geteuid() == 0:
                os.fchown(handle, *owner)  # If this run is killed, the node's user can go on.
            return handle


def _is_locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise AgentFileError(f"no lock can be had: {error.strerror}") from None
        # A file system that knows no locks has to do without.
    return True


def _is_at(handle: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), place.lstat())
    except FileNotFoundError:
        return False
