"""Encrypted files: AES-256-GCM under a key file, replaced as a whole, under one lock.

A file is a random nonce and the ciphertext of ``{"mark": …, "document": …}``; its place is the
additional authenticated data, so that one file cannot pass for another.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import secrets
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rotator.errors import StoreBusy, StoreDocumentInvalid, StoreForbidden, StoreUnsafeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12  #: 96 bits, random: NIST SP 800-38D allows 2**32 writes under one key
_LOCK_TIMEOUT: Final = timedelta(seconds=5)

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a file holds when it is opened."""

    mark: int  #: counts the writes
    document: dict[str, Any] = field(repr=False)


class SealedFiles:
    """Encrypted files below *directory*, each bound to its own place by the AAD."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, place: str) -> Envelope | None:
        """The file at *place*; needs no lock, as it is replaced as a whole."""
        with _named_errors():
            try:
                sealed = (self._directory / place).read_bytes()
            except FileNotFoundError:
                return None
            key = _read_key(self._directory / "key")
        if key is None:
            raise StoreDocumentInvalid("the key file is gone, but documents are there")
        return _open(sealed, key, place)

    def write(self, place: str, envelope: Envelope) -> None:
        """Replace the file as a whole; only while `alone`."""
        text = json.dumps({"mark": envelope.mark, "document": envelope.document})
        with _named_errors():
            self._make_private(self._directory)
            nonce = secrets.token_bytes(_NONCE_BYTES)
            sealed = AESGCM(self._key()).encrypt(nonce, text.encode(), place.encode())
            path = self._directory / place
            self._make_private(path.parent)
            # What a crash left half done holds former cookies.
            for left in path.parent.glob(f".{path.name}.*"):
                left.unlink()
            temporary = _written_beside(path, nonce + sealed)
            temporary.replace(path)
            _sync_directory(path.parent)

    def check(self) -> None:
        """Raise if the key is there and cannot be used."""
        with _named_errors():
            _read_key(self._directory / "key")

    async def alone(self, work: Callable[[], _Result]) -> _Result:
        """Run *work* in a thread while no other process or task writes."""
        with _named_errors():
            self._make_private(self._directory)
            lock = os.open(self._directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            await _locked(lock)
        except BaseException:
            os.close(lock)
            raise

        def closing() -> _Result:
            # The thread itself lets go: a cancelled caller leaves it at work.
            try:
                return work()
            finally:
                os.close(lock)

        return await asyncio.to_thread(closing)

    def _make_private(self, directory: Path) -> None:
        # One by one: with `parents` those above would get the umask's mode.
        if directory != self._directory:
            self._make_private(directory.parent)
        directory.mkdir(mode=0o700, parents=directory == self._directory, exist_ok=True)

    def _key(self) -> bytes:
        path = self._directory / "key"
        key = _read_key(path)
        if key is not None:
            return key
        if any(self._directory.glob("*/*")):
            raise StoreDocumentInvalid("the key file is gone, but documents are there")
        temporary = _written_beside(path, secrets.token_bytes(_KEY_BYTES))
        try:
            # A link never replaces: of two first writers one key wins, and it is whole.
            with suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink()
        _sync_directory(self._directory)
        made = _read_key(path)
        if made is None:
            raise StoreBusy("the key file vanished while it was made")
        return made


def _open(sealed: bytes, key: bytes, place: str) -> Envelope:
    nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        raw = json.loads(AESGCM(key).decrypt(nonce, ciphertext, place.encode()))
        return Envelope(mark=raw["mark"], document=raw["document"])
    except (InvalidTag, ValueError, KeyError, TypeError):
        # `from None`: a parser's error holds what it read.
        raise StoreDocumentInvalid(f"{place!r} is damaged, or of another key") from None


def _read_key(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_mode & 0o077:
            raise StoreUnsafeSettings(f"{path} is open to others than its owner; chmod 600 it")
        key = file.read()
    if len(key) != _KEY_BYTES:
        raise StoreDocumentInvalid(f"{path} is not a key of {_KEY_BYTES} bytes")
    return key


def _written_beside(path: Path, content: bytes) -> Path:
    """A new file, 0600 and on the disk, from which *path* can be made in one step."""
    # No document's name begins with a dot.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        temporary.unlink()
        raise
    return temporary


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _locked(lock: int) -> None:
    ends_at = time.monotonic() + _LOCK_TIMEOUT.total_seconds()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends_at:
                raise StoreBusy("another process holds the local secret store's lock") from None
            await asyncio.sleep(0.005)
        else:
            return


@contextmanager
def _named_errors() -> Iterator[None]:
    """Errors of the file system by name; they hold paths and no content."""
    try:
        yield
    except OSError as error:
        what = f"the local secret store cannot be used: {error.strerror} ({error.filename})"
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP}:
            raise StoreForbidden(what) from error
        raise StoreBusy(what) from error
