"""See a node: its VM and its files, at one instant."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from rotator.agent.decide import Seen
from rotator.errors import AgentFileError, BeamError, NoSuchNode, WrongCookie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rotator.agent.files import NodeFiles
    from rotator.agent.node import Vm
    from rotator.domain.cookie import Cookie

log = logging.getLogger(__name__)


class Eyes:
    """Connects to the VM where it has to; *met* is called when that is another connection."""

    def __init__(self, vm: Vm, files: NodeFiles, *, met: Callable[[], None]) -> None:
        self._vm = vm
        self._files = files
        self._met = met
        self._last_own: Cookie | None = None

    async def see(self, keys: Iterable[Cookie | None], trouble: list[str]) -> Seen:
        """What is there; `own` is None where the VM cannot be reached, and *trouble* says why.

        *keys* are cookies that the VM may answer to, besides those that its files name.
        """
        seen = self._files_alone(trouble)
        boot_pins = seen.boot.pins.values() if seen.boot else ()
        known = (self._last_own, seen.file, *keys, *boot_pins)
        try:
            if not await self._vm.reach(dict.fromkeys(key for key in known if key is not None)):
                self._met()
            table = await self._vm.look()
            is_hidden = (await self._vm.about()).is_hidden
        except NoSuchNode:
            return seen
        except WrongCookie:
            trouble.append(
                "the node refuses every cookie that is known here: put the one it runs with into"
                " the cookie file, or restart it"
            )
            return seen
        except BeamError as error:
            trouble.append(f"the node cannot be reached: {error}")
            return seen
        self._last_own = table.own
        return replace(seen, own=table.own, pins=table.pins, links=table.links, is_hidden=is_hidden)

    def _files_alone(self, trouble: list[str]) -> Seen:
        try:
            return Seen(own=None, file=self._files.read_cookie(), boot=self._files.read_boot())
        except AgentFileError as error:
            trouble.append(str(error))
            return Seen(own=None)
