"""Permission bits of files. Nothing is opened."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def mode_of(path: Path) -> int | None:
    """The permission bits of what the path leads to; None if there is nothing.

    Raises `PermissionError` where this user may not look.
    """
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
