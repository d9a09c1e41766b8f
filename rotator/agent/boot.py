"""Before a node starts: write its two files, and wait until it may join.

A node that boots while cookies are mixed must have its pins before it connects: with the right
cookie and no pins it takes others' links down (docs/concepts.md, fact 6).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rotator.agent import evidence
from rotator.agent.decide import Boot, Memory, Seen
from rotator.agent.evidence import Found
from rotator.agent.orders import orders_of
from rotator.errors import AgentConflict, AgentRefused, BootRefused, ServiceAway

if TYPE_CHECKING:
    from rotator.agent.orders import Orders
    from rotator.agent.server import Server
    from rotator.agent.settings import NodeSettings
    from rotator.domain.cookie import Cookie

log = logging.getLogger(__name__)

_PAUSE: Final = 0.5
_AWAY: Final = 10.0  #: seconds without an answer, or refused, before the files have to do


def files_for(orders: Orders, found: Seen) -> tuple[Boot, bool]:
    """What a node shall boot with, and whether its own part of it was there before. Pure.

    Its own cookie is current; each peer gets what that peer last attested that it uses for this
    node, else what the boot file says already, else current.
    """
    before = found.boot.pins if found.boot else {}
    pins = {
        peer: orders.pairs.get(peer) or _still_good(orders, before.get(peer)) or orders.target
        for peer in sorted(orders.members)
    }
    boot = Boot(own=orders.target, pins=pins)
    is_there = found.file == orders.target and found.boot is not None and found.boot.says(boot)
    return boot, is_there


def _still_good(orders: Orders, cookie: Cookie | None) -> Cookie | None:
    return cookie if cookie in orders.accepted else None


async def prepare(node: NodeSettings, server: Server, *, patience: float) -> str:
    """Write the files and wait until the answer is `join`; a sentence on what was done.

    Raises `BootRefused` when the answer is "not now" for *patience* seconds. A service that is away,
    or a token that it does not take, is no reason not to boot a node that has its files.
    """
    ends_at = _now() + patience
    heard_at = _now()
    orders: Orders | None = None
    while True:
        try:
            # Anew each time: what peers use for this node changes without a new generation.
            desired = await server.desired(node.name)
            orders = None if desired is None else orders_of(desired, node.name)
            if orders is None:
                return "the cluster has no version yet: the node boots as it is"
            heard_at = _now()
            if await _may_join(node, server, orders):
                return f"wrote current and {len(orders.members)} pins"
        except AgentConflict as error:
            log.info("%s: %s", node.name, error)  # Something changed meanwhile: ask again.
            heard_at = _now()
        except (ServiceAway, AgentRefused) as error:
            if _now() >= min(heard_at + _AWAY, ends_at):
                return _with_what_is_there(node, error)
        if _now() >= ends_at:
            raise BootRefused(
                f"{node.name} may not join yet: running nodes use different cookies just now"
                f" ({orders.phase if orders else 'unknown phase'}). Try again when the rotation is"
                " further; `rotator status` shows what it waits for"
            )
        await asyncio.sleep(_PAUSE)


async def _may_join(node: NodeSettings, server: Server, orders: Orders) -> bool:
    if orders.lock is not None:
        return False
    found = Seen(own=None, file=node.files.read_cookie(), boot=node.files.read_boot())
    boot, is_there = files_for(orders, found)
    if not is_there:
        node.files.write_boot(boot)
        node.files.write_cookie(orders.target)
    seen = Seen(own=orders.target, file=node.files.read_cookie(), boot=node.files.read_boot())
    now = datetime.now(UTC)  # noqa: TID251 - the agent's outermost place
    said = evidence.report(orders, seen, Memory(), Found(read_from="boot"), now=now)
    answer = await server.attest(node.name, replace(said, pins={}))
    return answer.join


def _now() -> float:
    return asyncio.get_running_loop().time()


def _with_what_is_there(node: NodeSettings, error: ServiceAway | AgentRefused) -> str:
    if node.files.read_cookie() is None or node.files.read_boot() is None:
        raise BootRefused(f"{error}, and there are no files to boot {node.name} with yet") from None
    log.error(
        "%s BOOTS WITHOUT THE SERVICE'S WORD, with the files of before (%s). If a rotation"
        " runs, its links may be refused until the agent can ask again",
        node.name, error,
    )  # fmt: skip
    return "the node boots with the files that are there"
