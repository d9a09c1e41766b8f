"""The two files that a node boots from, and the one that the agent remembers by.

Each is replaced as a whole: a temporary file in the same directory, synced, with mode and owner as
OTP wants them, renamed. So a node never reads half a file, whenever it boots.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rotator.agent import boot_files, locks
from rotator.domain.cookie import Cookie
from rotator.errors import AgentFileError, InvalidCookie

if TYPE_CHECKING:
    from pathlib import Path

    from rotator.agent.boot_files import BootFormat
    from rotator.agent.decide import Boot

_MAX_BYTES: Final = 4 * 1024 * 1024
_STAND_IN: Final = "not-representable:"
#: What OTP takes (auth.erl): printable characters, line ends behind them are no part of it.
_COOKIE_FILE: Final = re.compile(r"([ -~]+)[\r\n ]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFiles:
    """The cookie file and the boot file of one node."""

    cookie_file: Path
    boot_file: Path
    boot_format: BootFormat

    def read_cookie(self) -> Cookie | None:
        """The cookie in the cookie file; None without one. `AgentFileError` if unreadable."""
        text = _read(self.cookie_file)
        if text is None or not text.strip():
            return None
        found = _COOKIE_FILE.fullmatch(text)
        return cookie_of(found[1] if found else text)

    def write_cookie(self, cookie: Cookie) -> None:
        """As OTP wants it: 0400, no newline needed. `AgentFileError` for a stand-in."""
        _check_real(cookie, "the cookie")
        replace(self.cookie_file, cookie.reveal(), mode=0o400)

    def read_boot(self) -> Boot | None:
        """What a node would boot with; None without a whole boot file of ours."""
        text = _read(self.boot_file)
        return None if text is None else boot_files.parse(self.boot_format, text)

    def write_boot(self, boot: Boot) -> None:
        """Replace it; `AgentFileError` where a file that is not ours lies there, or for a stand-in."""
        if boot.own is not None:
            _check_real(boot.own, "the cookie")
        for peer, cookie in boot.pins.items():
            _check_real(cookie, f"the cookie for {peer}")
        text = _read(self.boot_file)
        if text and text.strip() and not boot_files.is_ours(self.boot_format, text):
            raise AgentFileError(
                f"{self.boot_file} holds something that is not ours; name a file of its own"
            )
        replace(self.boot_file, boot_files.render(self.boot_format, boot), mode=0o400)


def cookie_of(text: str) -> Cookie:
    """A VM's or a file's cookie, whatever it is: what no cookie of ours can be gets a stand-in."""
    try:
        return Cookie(text)
    except InvalidCookie:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return Cookie(f"{_STAND_IN}{digest}")


def _check_real(cookie: Cookie, what: str) -> None:
    """A node that booted with a stand-in would have a cookie that nobody else uses."""
    if cookie.reveal().startswith(_STAND_IN):
        raise AgentFileError(
            f"{what} that the node uses has characters that no file of the agent's can hold: set"
            " one of printable ASCII without spaces by hand (erlang:set_cookie), or restart the"
            " node with the cookie file"
        )


def _read(path: Path) -> str | None:
    """Through links, as a node reads it; of a regular file alone, for others may never end."""
    try:
        # Without O_NONBLOCK a named pipe is not even opened until somebody writes to it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise AgentFileError(f"{path} cannot be read: it is no regular file")
            with os.fdopen(handle, "rb", closefd=False) as file:
                raw = file.read(_MAX_BYTES + 1)
        finally:
            os.close(handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AgentFileError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > _MAX_BYTES:
        raise AgentFileError(f"{path} is larger than any file of this kind")
    return raw.decode("utf-8", "replace")


def replace(path: Path, text: str, *, mode: int) -> None:
    """Put a whole new file in the place of *path*, owned as the old one; durable on return.

    A link is replaced, never followed. One at a time: `agent boot` and the agent that stays may
    both be at it. What is left of a run that was killed is removed by the next.
    """
    fresh = path.with_name(f".{path.name}.rotator-new")
    try:
        with locks.alone_at(path, owner=_owner(path)):
            fresh.unlink(missing_ok=True)
            try:
                _write(fresh, text, mode=mode, owner=_owner(path))
                fresh.replace(path)
            except BaseException:
                fresh.unlink(missing_ok=True)
                raise
            _sync(path.parent)
    except OSError as error:
        raise AgentFileError(f"{path} cannot be written: {error.strerror}") from None


def _write(fresh: Path, text: str, *, mode: int, owner: tuple[int, int]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(fresh, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        if owner != (os.geteuid(), os.getegid()):
            os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())


def _owner(path: Path) -> tuple[int, int]:
    """Of the file (or link) that is replaced, or of the directory where there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        found = path.parent.stat()
    return found.st_uid, found.st_gid


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def oddities(path: Path) -> list[str]:
    """What OTP, or the next boot, would not like about a cookie file; empty when all is well."""
    try:
        found = path.lstat()
    except OSError as error:
        return [f"{path}: {error.strerror}"]
    if stat.S_ISLNK(found.st_mode):
        return [f"{path} is a link: it is replaced by a file, and what it names stays as it is"]
    odd = []
    if os.geteuid() not in {0, found.st_uid}:
        odd.append(f"{path} is not owned by the user that the agent runs as")
    return [*odd, *_open_to_others(path, found)]


def token_oddities(path: Path) -> list[str]:
    """That others can read a token, which is worth the cookie; whether there is one is not asked.

    A token of root's that the agent reads by its group is fine: no mode is stricter, and a pod has
    its token so (``fsGroup``).
    """
    try:
        found = path.stat()
    except OSError:
        return []
    by_group = found.st_uid == 0 and os.geteuid() != 0
    return _open_to_others(path, found, bits=0o027 if by_group else 0o077)


def _open_to_others(path: Path, found: os.stat_result, *, bits: int = 0o077) -> list[str]:
    is_open = stat.S_IMODE(found.st_mode) & bits
    return [f"{path} can be read by others: chmod 0400"] if is_open else []
