"""Two clocks side by side."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rotator.domain.findings import Finding

if TYPE_CHECKING:
    from datetime import datetime

SKEWED: Final = timedelta(seconds=30)  #: half of the leeway that JWT logins usually have
FAR_OFF: Final = timedelta(minutes=5)  #: as a jump of the clock that is a fact


def compare(
    subject: str, *, ours: datetime, theirs: datetime, doubt: timedelta = timedelta()
) -> tuple[Finding, ...]:
    """A finding if they differ by more than can be explained by *doubt*, such as a slow answer."""
    off = abs(ours - theirs) - doubt
    if off < SKEWED:
        return ()
    which = "behind" if theirs < ours else "ahead"
    detail = f"{round(abs(ours - theirs).total_seconds())} s {which} of this machine"
    code = "clock_far_off" if off >= FAR_OFF else "clock_skew"
    return (Finding(code=code, subject=subject, detail=detail),)
