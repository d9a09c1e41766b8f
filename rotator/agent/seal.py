"""Whether a throwaway keeps everybody out: what was seen since it was set. Pure.

Three ways in are known. A handshake that began before the throwaway was set gets in with the former
cookie: those are ended first. Whoever was still linked when it was set has read it, and comes back
with it. And a locked node makes no new links to anybody, so one that is new, whatever its name, is
somebody who knows the throwaway.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """One throwaway of one node, from when it was set and older handshakes were ended."""

    throwaway: Cookie
    links: Mapping[NodeName, bytes]  #: each with what names this very connection
    is_broken: bool = False  #: a stranger was found under it: it has to be replaced

    def after(
        self, connections: Mapping[NodeName, bytes], strangers: frozenset[NodeName]
    ) -> tuple[Seal, frozenset[NodeName]]:
        """The seal after another look, and everybody who is a stranger by it."""
        new = {name for name, one in connections.items() if self.links.get(name) != one}
        found = strangers | new
        return replace(self, is_broken=self.is_broken or bool(found)), found
