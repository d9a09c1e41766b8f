"""Follow a rotation, or all clusters, until the end or until Ctrl-C.

On a terminal the view is drawn anew in place; elsewhere each change is one line, once.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from rotator.cli import client, output, progress, tables
from rotator.cli.durations import instant, seconds_between, spoken
from rotator.cli.failure import ExitCode, Failure, Interrupted, Refused, TimedOut, Unreachable
from rotator.protocol import v1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime, timedelta

    from rotator.cli.client import Answer, Api
    from rotator.cli.tables import View

_QUICK, _SLOW, _GROWTH = 0.2, 1.0, 1.4  #: seconds between two looks, growing while all is still
_SILENCE_SECONDS: Final = 60.0  #: for how long a service that does not answer is waited for


class Screen(Protocol):
    """Shows how far a rotation is."""

    def show(self, rotation: v1.Rotation, cluster: v1.Cluster | None, *, now: datetime) -> None:
        """The present state; *cluster* says what it waits for."""
        ...


class Lines:
    """One line for each change, on standard error."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def show(self, rotation: v1.Rotation, cluster: v1.Cluster | None, *, now: datetime) -> None:
        """Print what is new since the last time."""
        if not self._seen:
            output.say(tables.rotation_line(rotation))
        new = {line: line for line in map(progress.line, progress.course(rotation))}
        if cluster is not None and rotation.finished_at is None:
            # With the time at which it is told, so that times only grow from line to line.
            at = progress.elapsed((now - instant(rotation.started_at)).total_seconds())
            waits = progress.waiting(rotation, cluster.blockers, now=now)
            new |= {one: f"{at}  {one}" for one in waits}
        for what, line in new.items():
            if what not in self._seen:
                output.say(f"  {line}")
        self._seen.update(new)


class Live:
    """A view that is drawn anew in place, on a terminal."""

    def __init__(self, draw: Callable[[View], None]) -> None:
        self._draw = draw
        self._known: v1.Cluster | None = None

    def show(self, rotation: v1.Rotation, cluster: v1.Cluster | None, *, now: datetime) -> None:
        """Draw everything."""
        course = progress.course(rotation)
        last = max(n for n, moment in enumerate(course) if moment.is_phase)
        view: View = [tables.rotation_line(rotation)]
        for number, moment in enumerate(course):
            is_present = number == last and rotation.finished_at is None
            view.append(f"{'>' if is_present else ' '} {progress.line(moment)}")
        if cluster is not None and rotation.finished_at is None:
            view += [
                f"    {line}" for line in progress.waiting(rotation, cluster.blockers, now=now)
            ]
        self._draw(view)


@contextmanager
def live_view() -> Iterator[Callable[[View], None]]:
    """A place on the terminal (standard error) that a view can be drawn to again and again."""
    from rich.console import Group  # noqa: PLC0415 - only who watches waits for it
    from rich.live import Live as RichLive  # noqa: PLC0415 - only who watches waits for it

    with RichLive(console=output.console(sys.stderr), auto_refresh=False) as live:
        yield lambda view: live.update(Group(*map(output.renderable, view)), refresh=True)


@contextmanager
def screen() -> Iterator[Screen]:
    """The one that suits where standard error goes."""
    if sys.stderr.isatty():
        with live_view() as draw:
            yield Live(draw)
    else:
        yield Lines()


class Pace:
    """How long to wait between two looks, and when to give up."""

    def __init__(self, timeout: timedelta | None) -> None:
        self._pause = _QUICK
        self._ends = None if timeout is None else time.monotonic() + timeout.total_seconds()
        self._silent_since: float | None = None

    def rest(self, *, is_changed: bool) -> bool:
        """Wait; False when the time is over."""
        self._pause = _QUICK if is_changed else min(_SLOW, self._pause * _GROWTH)
        if self._ends is None:
            time.sleep(self._pause)  # noqa: TID251 - a program of its own
            return True
        left = self._ends - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(self._pause, left))  # noqa: TID251 - a program of its own
        return True

    def heard(self) -> None:
        """The service has answered."""
        self._silent_since = None

    def not_heard(self, failure: Failure) -> None:
        """It has not; raises *failure* when that has lasted too long."""
        if not _is_passing(failure):
            raise failure
        if self._silent_since is None:
            self._silent_since = time.monotonic()
            output.say(f"  {output.explain(failure)[0]}; trying again")
        elif time.monotonic() - self._silent_since > _SILENCE_SECONDS:
            raise failure


def _is_passing(failure: Failure) -> bool:
    if isinstance(failure, Refused):
        return failure.problem.status >= 500  # noqa: PLR2004 - a server's error
    return isinstance(failure, Unreachable) and failure.why not in client.FIXED


def until(
    look: Callable[[], tuple[bool, Any]],
    *,
    timeout: timedelta | None,
    what: str,
    hint: str,
    goes_on: str,
) -> None:
    """Call *look* until its first value is True; its second tells whether anything changed.

    Raises `TimedOut` naming *what*, and on Ctrl-C `Interrupted` saying that *goes_on*.
    """
    pace, former = Pace(timeout), None
    try:
        while True:
            seen = former
            try:
                is_over, seen = look()
                pace.heard()
            except Failure as failure:
                pace.not_heard(failure)
                is_over = False
            if is_over:
                return
            if not pace.rest(is_changed=seen != former):
                raise TimedOut(what, hint=hint)
            former = seen
    except KeyboardInterrupt:
        raise Interrupted(goes_on) from None


def follow(
    api: Api, cluster: str, rotation: str, *, timeout: timedelta | None = None
) -> Answer[v1.Rotation]:
    """Show a rotation until it has ended; the last answer about it."""
    last: list[Answer[v1.Rotation]] = []
    with screen() as shown:

        def look() -> tuple[bool, object]:
            found = api.get(v1.Rotation, "clusters", cluster, "rotations", rotation)
            last[:] = [found]
            if found.value.finished_at is not None:
                shown.show(found.value, None, now=api.now)
                return True, found.value
            around = api.get(v1.Cluster, "clusters", cluster).value
            is_it = around.rotation is not None and around.rotation.id == rotation
            shown.show(found.value, around if is_it else None, now=api.now)
            return False, (found.value, around.blockers)

        until(
            look,
            timeout=timeout,
            what=f"rotation {rotation} of {cluster} has not ended",
            hint=f"it goes on; `rotator status {cluster}` says what it waits for",
            goes_on=f"rotation {rotation} of {cluster} goes on without us",
        )
    return last[0]


def tell_end(rotation: v1.Rotation) -> None:
    """Say on standard error how a rotation has ended."""
    took = spoken(seconds_between(rotation.started_at, rotation.finished_at or rotation.entered_at))
    output.say(f"{tables.rotation_line(rotation)}: {tables.words(rotation.phase)} after {took}")
    tell_who_may_have_read(rotation)


def tell_who_may_have_read(rotation: v1.Rotation) -> None:
    """Say on standard error whether an emergency that is completed has shut everybody out."""
    if rotation.kind == "emergency" and rotation.phase == "completed":
        through = ", ".join(rotation.may_have_been_read)
        output.say(
            f"the new cookie may have been read through {through}"
            if through
            else "nobody may have read the new cookie"
        )


def outcome(rotation: v1.Rotation, *, wanted: str = "completed") -> ExitCode:
    """Failed, if it has not ended as *wanted*."""
    return ExitCode.OK if rotation.phase == wanted else ExitCode.FAILED
