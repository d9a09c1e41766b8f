"""Files by their modes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from rotator.domain.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Kept(StrEnum):
    """From whom a file is kept."""

    SECRET = "secret"  # noqa: S105 - a kind of file
    UNTOUCHED = "untouched"  #: others may read it, and not write


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file as it lies there."""

    path: str
    kept: Kept
    mode: int | None  #: permission bits; None: it is not there
    is_needed: bool = True
    is_hidden: bool = False  #: this user may not look


#: Bits of the others and of the group that must not be there.
_OTHERS: Final = {Kept.SECRET: 0o007, Kept.UNTOUCHED: 0o002}
_GROUP: Final = {Kept.SECRET: 0o070, Kept.UNTOUCHED: 0o020}


def look(files: Iterable[File]) -> Iterator[Finding]:
    """Those that are missing or open."""
    for file in files:
        if file.is_hidden:
            yield Finding(code="file_hidden", subject=file.path)
        elif file.mode is None:
            if file.is_needed:
                yield Finding(code="file_missing", subject=file.path)
        elif file.mode & _OTHERS[file.kept]:
            yield Finding(code="file_open_to_others", subject=file.path, detail=f"{file.mode:04o}")
        elif file.mode & _GROUP[file.kept]:
            yield Finding(code="file_open_to_group", subject=file.path, detail=f"{file.mode:04o}")
