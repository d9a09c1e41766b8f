"""What can go wrong on the command line, and the exit code of each.

A failure carries values; `output.py` makes the sentences. None carries a token or a cookie.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rotator.protocol import v1


class ExitCode(IntEnum):
    """How the program ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    CONFLICT = 5
    TIMED_OUT = 6
    DEGRADED = 7
    INTERRUPTED = 130


_BY_STATUS = {
    400: ExitCode.USAGE,
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    413: ExitCode.USAGE,
    422: ExitCode.USAGE,
}


class Failure(Exception):
    """A command that ends with *code*; `hint` says what to do next."""

    def __init__(self, text: str, *, code: ExitCode = ExitCode.FAILED, hint: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.hint = hint


class Misuse(Failure):
    """The command cannot be carried out as it was written."""

    def __init__(self, text: str, *, hint: str = "") -> None:
        super().__init__(text, code=ExitCode.USAGE, hint=hint)


class Refused(Failure):
    """The service answered with a problem; *asked* is the path that was asked for."""

    def __init__(self, problem: v1.Problem, *, asked: str) -> None:
        super().__init__(problem.code, code=_BY_STATUS.get(problem.status, ExitCode.FAILED))
        self.problem = problem
        self.asked = asked


class Unreachable(Failure):
    """No answer came from the service; `why` is one of the transport's own words."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(why)
        self.address = address
        self.why = why


class Unintelligible(Failure):
    """An answer came that is not one of the service's."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(why)
        self.address = address
        self.why = why


class TimedOut(Failure):
    """What was waited for did not happen in time; it goes on."""

    def __init__(self, what: str, *, hint: str) -> None:
        super().__init__(what, code=ExitCode.TIMED_OUT, hint=hint)


class Interrupted(Failure):
    """Ctrl-C while waiting; *what* goes on without us."""

    def __init__(self, what: str) -> None:
        super().__init__(what, code=ExitCode.INTERRUPTED)
