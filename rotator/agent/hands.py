"""Do what was decided: one step, one write. What is interrupted is decided anew."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from rotator import failpoints
from rotator.agent.decide import Cut, Own, Pin, Step, WriteBoot, WriteCookie

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rotator.agent.node import Vm
    from rotator.agent.settings import NodeSettings
    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import NodeName

log = logging.getLogger(__name__)

_NAMED: Final = 10  #: links in one line of the log
_HIGHER_WAITS: Final = 3.0  #: seconds in which the lower name of a pair may move it


class Hands:
    """Of one node."""

    def __init__(self, vm: Vm, settings: NodeSettings) -> None:
        self._vm = vm
        self._settings = settings
        self._behind_since: dict[NodeName, float] = {}

    async def take(self, step: Step) -> None:
        """One step; raises `AgentFileError` or `BeamError`."""
        name = type(step).__name__
        log.debug("%s: %s", self._settings.name, name)
        failpoints.hit(name, "before")
        match step:
            case WriteBoot(boot):
                await asyncio.to_thread(self._settings.files.write_boot, boot)
            case WriteCookie(cookie):
                await asyncio.to_thread(self._settings.files.write_cookie, cookie)
            case Pin(pins):
                await self._vm.pin(pins)
            case Own(cookie):
                await self._vm.set_own(cookie)
                log.info("%s: own cookie changed", self._settings.name)
            case Cut(names):
                log.warning("%s: cut foreign links: %s", self._settings.name, _told(names))
                await self._vm.cut(names)
        failpoints.hit(name, "after")

    async def move(self, wanted: Mapping[NodeName, Cookie]) -> bool:
        """Move those of these pairs that are ours to move; whether any was moved.

        Every move has ended when this returns, however it went.
        """
        due = self._due(wanted)
        moves = (self._vm.move(peer, cookie) for peer, cookie in due.items())
        results = await asyncio.gather(*moves, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        if due:
            moved = sum(result is True for result in results)
            log.info("%s: moved %d of %d pairs", self._settings.name, moved, len(due))
        return any(result is True for result in results)

    def _due(self, wanted: Mapping[NodeName, Cookie]) -> dict[NodeName, Cookie]:
        """The lower name moves a pair; the higher one where the lower has not for a while."""
        now = asyncio.get_running_loop().time()
        self._behind_since = {peer: self._behind_since.get(peer, now) for peer in wanted}
        return {
            peer: cookie
            for peer, cookie in wanted.items()
            if self._settings.name < peer or now - self._behind_since[peer] >= _HIGHER_WAITS
        }


def _told(names: Sequence[NodeName]) -> str:
    """How many, and the first of them; a stranger chose his name, so it may hold anything."""
    shown = ["".join(c if c.isprintable() else "?" for c in name[:255]) for name in names[:_NAMED]]
    more = ", …" if len(names) > _NAMED else ""
    return f"{len(names)} ({', '.join(shown)}{more})"
