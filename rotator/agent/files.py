"""The two files that a node boots from, and the one that the agent remembers by.

Each is replaced as a whole: a temporary file in the same directory, synced, with mode and owner as
OTP wants them, renamed. So a node never reads half a file, whenever it boots.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from rotator.agent.decide import Boot
from rotator.domain.cookie import Cookie
from rotator.domain.ids import NodeName
from rotator.errors import AgentFileError, InvalidCookie

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The first line of a boot file of ours; another non-empty file is never written over.
MARK: Final = "written by rotator agent: do not edit"
_MAX_BYTES: Final = 4 * 1024 * 1024
#: What stands in every format as itself, without quotes.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_@.+=/:~^%,-]+")


class BootFormat(StrEnum):
    """Who reads the boot file."""

    ERL = "erl"  #: ``erl -args_file``
    RABBITMQ = "rabbitmq"  #: sourced by RabbitMQ's environment file
    ELIXIR = "elixir"  #: Erlang terms, read by a snippet in ``runtime.exs``


class _Format(Protocol):
    comment: str

    def lines(self, boot: Boot) -> list[str]: ...

    def pins(self, text: str) -> dict[NodeName, Cookie]: ...


def _plain(text: str) -> str:
    if _PLAIN.fullmatch(text) is None or text.startswith("-"):
        raise AgentFileError(
            "a cookie or node name has characters that cannot stand in a boot file of this format;"
            " rotate once by restarting with the new cookie"
        )
    return text


class _ErlArguments:
    """One ``-setcookie NODE COOKIE`` a line (OTP 24.1 and later: ``erl``, *setcookie*)."""

    comment = "#"
    _row = re.compile(r"-setcookie (\S+) (\S+)")

    def lines(self, boot: Boot) -> list[str]:
        return [
            f"-setcookie {_plain(peer)} {_plain(cookie.reveal())}"
            for peer, cookie in boot.pins.items()
        ]

    def pins(self, text: str) -> dict[NodeName, Cookie]:
        return {NodeName(peer): Cookie(text) for peer, text in self._row.findall(text)}


class _RabbitEnvironment(_ErlArguments):
    """The same arguments, added in one line to what RabbitMQ's own environment file sets.

    Where the name with the prefix is set, RabbitMQ does not look at the one without.
    """

    _NAME: Final = "SERVER_ADDITIONAL_ERL_ARGS"

    def lines(self, boot: Boot) -> list[str]:
        pins = "".join(f" {line}" for line in super().lines(boot))
        return [
            f"RABBITMQ_{self._NAME}=\"${{RABBITMQ_{self._NAME}:-${{{self._NAME}:-}}}}\"'{pins}'"
        ]

    def pins(self, text: str) -> dict[NodeName, Cookie]:
        return super().pins(text.replace("'", " "))


class _ErlangTerms:
    """``{own, 'C'}.`` and ``{pin, 'NODE', 'C'}.``, for `file:consult/1`."""

    comment = "%"
    _own = re.compile(r"^\{own, '((?:[^'\\]|\\.)*)'\}\.$", re.MULTILINE)
    _pin = re.compile(r"^\{pin, '((?:[^'\\]|\\.)*)', '((?:[^'\\]|\\.)*)'\}\.$", re.MULTILINE)

    def lines(self, boot: Boot) -> list[str]:
        own = [] if boot.own is None else [f"{{own, {_atom(boot.own.reveal())}}}."]
        pins = boot.pins.items()
        return own + [f"{{pin, {_atom(peer)}, {_atom(cookie.reveal())}}}." for peer, cookie in pins]

    def pins(self, text: str) -> dict[NodeName, Cookie]:
        found = self._pin.findall(text)
        return {NodeName(_unquoted(peer)): Cookie(_unquoted(cookie)) for peer, cookie in found}

    def own(self, text: str) -> Cookie | None:
        found = self._own.search(text)
        return Cookie(_unquoted(found[1])) if found else None


def _atom(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


_FORMATS: Final[Mapping[BootFormat, _Format]] = {
    BootFormat.ERL: _ErlArguments(),
    BootFormat.RABBITMQ: _RabbitEnvironment(),
    BootFormat.ELIXIR: _ErlangTerms(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFiles:
    """The cookie file and the boot file of one node."""

    cookie_file: Path
    boot_file: Path
    boot_format: BootFormat

    def read_cookie(self) -> Cookie | None:
        """The cookie in the cookie file; None without one. `AgentFileError` if unreadable."""
        text = _read(self.cookie_file)
        # OTP reads up to the first white space that ends a line (auth.erl); so do we.
        return None if text is None or not text.strip() else cookie_of(text.strip())

    def write_cookie(self, cookie: Cookie) -> None:
        """As OTP wants it: 0400, no newline needed."""
        replace(self.cookie_file, cookie.reveal(), mode=0o400)

    def read_boot(self) -> Boot | None:
        """What the boot file says; None without one, or for one that somebody else has begun."""
        text = _read(self.boot_file)
        if text is None or MARK not in text:
            return None
        kind = _FORMATS[self.boot_format]
        try:
            own = kind.own(text) if isinstance(kind, _ErlangTerms) else None
            return Boot(own=own, pins=kind.pins(text))
        except InvalidCookie:
            return None

    def write_boot(self, boot: Boot) -> None:
        """Replace it; `AgentFileError` where a file that is not ours lies there."""
        text = _read(self.boot_file)
        if text and text.strip() and MARK not in text:
            raise AgentFileError(
                f"{self.boot_file} holds something that is not ours; name a file of its own"
            )
        kind = _FORMATS[self.boot_format]
        lines = [f"{kind.comment} {MARK}", *kind.lines(boot)]
        replace(self.boot_file, "\n".join(lines) + "\n", mode=0o400)


def cookie_of(text: str) -> Cookie:
    """A VM's or a file's cookie, whatever it is: what no cookie of ours can be gets a stand-in."""
    try:
        return Cookie(text)
    except InvalidCookie:
        return Cookie("not-representable:" + text.encode("utf-8", "replace").hex()[:200])


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AgentFileError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > _MAX_BYTES:
        raise AgentFileError(f"{path} is larger than any file of this kind")
    return raw.decode("utf-8", "replace")


def replace(path: Path, text: str, *, mode: int) -> None:
    """Put a whole new file in the place of *path*, owned as the old one; durable on return."""
    fresh = path.with_name(f".{path.name}.rotator-new")
    try:
        owner = _owner(path)
        with suppress(FileNotFoundError):
            fresh.unlink()  # Of a run that was killed.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(fresh, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise AgentFileError(f"{path} cannot be written: {error.strerror}") from None


def _owner(path: Path) -> tuple[int, int] | None:
    """Of the file that is replaced, or of the directory where there is none."""
    for place in (path, path.parent):
        with suppress(FileNotFoundError):
            found = place.stat()
            return found.st_uid, found.st_gid
    return None


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
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
    odd = []
    if stat.S_ISLNK(found.st_mode):
        odd.append(f"{path} is a link: it would be replaced by a file")
    if found.st_uid != os.geteuid():
        odd.append(f"{path} is not owned by the user that the agent runs as")
    if stat.S_IMODE(found.st_mode) & 0o077:
        odd.append(f"{path} can be read by others: chmod 0400")
    return odd
