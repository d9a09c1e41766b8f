"""Names that become part of a path."""

from __future__ import annotations

import re
from typing import Final

from rotator.errors import InputError

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def one_step(name: str) -> str:
    """*name* itself if it is one step of a path and no more; else `InputError`.

    Names are validated where they are declared; here a slip there cannot leave the directory.
    """
    if not _NAME.fullmatch(name):
        raise InputError("a name in a secret store has 1 to 63 of a-z 0-9 . _ - after a-z or 0-9")
    return name
