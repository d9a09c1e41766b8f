"""What an operator would want to read in the log without asking: once when it begins, and its end."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from rotator.domain.cluster import Blocker
    from rotator.domain.ids import ClusterName
    from rotator.domain.liveness import Crowd

log = logging.getLogger(__name__)

#: Time that has to pass is no fault, and passes.
_CLOCK: Final = "clock"
_NAMED: Final = 20  #: in one line; a thousand lost members are not a thousand lines
_LOST: Final = "members lost"
_BLOCKED: Final = "waits for"
_LONG_BLOCKED: Final = "still waits for"
#: A rotation that goes well waits for everybody for a moment: that is no warning.
_LONG: Final = timedelta(seconds=30)
_ENDS: Final = {_LOST: "no member is lost any more", _BLOCKED: "waits for nothing more"}


class Notices:
    """Remembers, for each cluster, what has been said; a process that starts says it again."""

    def __init__(self) -> None:
        self._said: dict[tuple[ClusterName, str], frozenset[str]] = {}
        self._since: dict[ClusterName, dict[str, datetime]] = {}

    def see(self, crowd: Crowd, blockers: Iterable[Blocker]) -> None:
        """Say what is new of the members that are lost, and of what blocks (unknown cookies, too).

        Codes and names of nodes alone: details may quote what somebody sent.
        """
        name = crowd.cluster.name
        self._tell(name, _LOST, frozenset(member.name for member in crowd.lost()))
        blocking = frozenset(_called(one) for one in blockers if one.subject != _CLOCK)
        self._tell(name, _BLOCKED, blocking, level=logging.INFO)
        known = self._since.get(name, {})
        since = self._since[name] = {one: known.get(one, crowd.now) for one in blocking}
        long = frozenset(one for one, at in since.items() if crowd.now - at >= _LONG)
        self._tell(name, _LONG_BLOCKED, long)

    def _tell(
        self, cluster: ClusterName, what: str, now: frozenset[str], *, level: int = logging.WARNING
    ) -> None:
        before = self._said.get((cluster, what), frozenset())
        if now - before:
            new = sorted(now - before)
            said = {"cluster": cluster, "names": new[:_NAMED], "more": len(new[_NAMED:])}
            log.log(level, "%s", what, extra=said)
        elif before and not now and what in _ENDS:
            log.info("%s", _ENDS[what], extra={"cluster": cluster})
        if now:
            self._said[cluster, what] = now
        else:
            self._said.pop((cluster, what), None)


def _called(one: Blocker) -> str:
    return f"{one.subject}: {one.code}" if one.subject else one.code
