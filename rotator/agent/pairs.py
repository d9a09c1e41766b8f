"""Which pairs to move, from what both VMs say. Pure.

Asking the peer's VM is the truth; the service's view is only a hint. A pair moves when both own
cookies are the target. Two sides that differ (somebody died in the middle) are made equal: to what
both own cookies are, else to what the lower name uses for the higher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rotator.agent.decide import Seen
    from rotator.agent.orders import Orders
    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a peer's VM says."""

    own: Cookie
    uses_for_me: Cookie


def to_move(
    orders: Orders, seen: Seen, views: Mapping[NodeName, View], *, me: NodeName
) -> dict[NodeName, Cookie]:
    """Peers whose pair has to change, and to what; nothing while this node has other work."""
    if seen.own not in orders.accepted or orders.lock is not None:
        return {}
    wanted = {peer: _wanted(orders, seen, view, me=me, peer=peer) for peer, view in views.items()}
    return {peer: cookie for peer, cookie in wanted.items() if cookie is not None}


def _wanted(
    orders: Orders, seen: Seen, view: View, *, me: NodeName, peer: NodeName
) -> Cookie | None:
    if view.own not in orders.accepted:
        return None  # Locked, or set by hand: that node has to be reset first.
    mine, theirs = seen.uses(peer), view.uses_for_me
    if mine == theirs:
        moves = seen.own == view.own == orders.target and mine != orders.target
        return orders.target if moves else None
    if seen.own == view.own:
        return view.own
    lower = mine if me < peer else theirs
    return lower if lower in orders.accepted else orders.target


def missing_links(orders: Orders, seen: Seen) -> set[NodeName]:
    """Members that run, or may at any moment, and that this node is not linked to.

    One that was joining when the orders were made may run for long: liveness alone makes no new ones.
    """
    return set(orders.running - seen.links.keys())


def other_accepted(orders: Orders, cookie: Cookie | None) -> Cookie | None:
    """The accepted version that a pair is not at: tried once where a link cannot be made."""
    return next((known for known in orders.accepted if known != cookie), None)
