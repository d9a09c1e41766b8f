"""Findings as a person reads them in the log: once when they appear, once when they are gone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

_AGAIN: Final = 60.0  #: seconds in which one that comes and goes is not told again


class Findings:
    """Of one node."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open: set[str] = set()  #: told, and not gone since
        self._told: dict[str, float] = {}  #: when each was told last

    def note(self, found: Iterable[str], *, is_whole: bool, now: float) -> None:
        """Log what is new, and, where *is_whole*, what is gone; *now* in seconds."""
        found = list(dict.fromkeys(found))
        self._told = {line: at for line, at in self._told.items() if now - at < _AGAIN}
        for line in found:
            if line not in self._open and line not in self._told:
                log.warning("%s: %s", self._name, line)
                self._told[line] = now
                self._open.add(line)
        if is_whole:
            for line in sorted(self._open.difference(found)):
                log.info("%s: no more: %s", self._name, line)
                self._open.remove(line)
