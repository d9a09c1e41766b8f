"""Named points at which tests make the program fail.

Nothing happens unless ``ROTATOR_FAILPOINTS`` is set; the service refuses that setting unless it
listens on loopback alone, the agent unless its service is there. The value is a comma-separated
list of ``LINE:WHEN:HOW``:

* LINE: a line of the order of writes (``S1``, ``K1``, …), or a step of the agent (``WriteBoot``,
  ``Own``, …; ``Move`` after one side of a pair)
* WHEN: ``before`` the write, ``after`` it, or ``lost`` (after it, and its answer is lost)
* HOW: ``kill`` (SIGKILL to this process), ``stop`` (SIGSTOP, until somebody wakes it) or ``raise``,
  each once; ``lost`` is always ``raise``
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "ROTATOR_FAILPOINTS"

_WHEN: Final = ("before", "after", "lost")
_HOW: Final = ("kill", "stop", "raise")


class AnswerLost(OSError):
    """A write was done, or not; its answer never came (raised by tests alone)."""


def _parse(text: str) -> dict[tuple[str, str], str]:
    points: dict[tuple[str, str], str] = {}
    for item in filter(None, text.split(",")):
        line, when, how = item.split(":")
        # A misspelt failpoint would never fire, and its test would prove nothing.
        if when not in _WHEN or how not in _HOW:
            raise ValueError(f"a failpoint is LINE:{'|'.join(_WHEN)}:{'|'.join(_HOW)}")
        points[line, when] = "raise" if when == "lost" else how
    return points


_armed = _parse(os.environ.get(VARIABLE, ""))


def is_armed() -> bool:
    """Whether any failpoint is switched on in this process."""
    return bool(_armed)


def arm(text: str) -> None:
    """Replace what is armed (for tests inside one process)."""
    _armed.clear()
    _armed.update(_parse(text))


def hit(line: str, when: str) -> None:
    """Fail here if a test asked for it; raises `AnswerLost` or ends the process."""
    if not _armed:
        return
    how = _armed.pop((line, when), None)
    if how is not None:
        # Written straight to the descriptor: SIGKILL loses what is buffered.
        os.write(2, f"failpoint {line}:{when}:{how}\n".encode())
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if how == "raise":
        raise AnswerLost(f"failpoint {line}:{when}")
