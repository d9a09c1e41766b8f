"""What a node shall do by itself, from its orders and from what was seen. Pure.

Adopting changes no pair (docs/concepts.md): every peer is pinned to what this node uses for it
now, and only then the own cookie changes. So nodes adopt in any order and at any time. Files are
written before the VM, so that a node killed between any two of these steps boots in step.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from rotator.agent.orders import LockRound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rotator.agent.orders import Orders
    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import ClusterUid, NodeName


#: A lock of a node's own, after the rounds of the emergency that it has missed.
LATE: Final = LockRound("late", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What the boot file says."""

    own: Cookie | None = None  #: in the formats that carry it
    pins: Mapping[NodeName, Cookie] = field(default_factory=dict)

    def says(self, wanted: Boot) -> bool:
        """Whether a node that boots from it comes up as *wanted*."""
        return self.pins == wanted.pins and self.own in {None, wanted.own}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The VM and its files at one instant, without the agent's own connection."""

    own: Cookie | None  #: None: the VM cannot be reached
    pins: Mapping[NodeName, Cookie] = field(default_factory=dict)  #: the rows of `cookies`
    links: Mapping[NodeName, bool] = field(default_factory=dict)  #: connected → is it hidden
    is_hidden: bool = False  #: the node itself was started as a hidden one: all its links are
    file: Cookie | None = None
    boot: Boot | None = None  #: None: there is no boot file yet

    def uses(self, peer: NodeName) -> Cookie | None:
        """What the node uses for *peer*, as its `erlang:get_cookie/1` says."""
        return self.pins.get(peer, self.own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What has to outlive the agent, in a file of its own (0600)."""

    generation: int = 0  #: the newest ever obeyed …
    cluster_uid: ClusterUid | None = None  #: … of this cluster
    lock: LockRound | None = None
    throwaway: Cookie | None = None  #: made for that round
    former: tuple[Cookie, ...] = ()  #: what the VM may still answer to, newest first
    next_lock: LockRound | None = None  #: the round that the VM may enter at a peer's word …
    next_throwaway: Cookie | None = None  #: … with this one


@dataclass(frozen=True, slots=True)
class WriteBoot:
    """Replace the boot file."""

    boot: Boot


@dataclass(frozen=True, slots=True)
class WriteCookie:
    """Replace the cookie file."""

    cookie: Cookie


@dataclass(frozen=True, slots=True)
class Pin:
    """Set rows of `cookies`."""

    pins: Mapping[NodeName, Cookie]


@dataclass(frozen=True, slots=True)
class Own:
    """Set the own cookie; every link stays."""

    cookie: Cookie


@dataclass(frozen=True, slots=True)
class Cut:
    """Drop links: only ever to names that are no live member, only ever in an emergency."""

    names: tuple[NodeName, ...]


Step = WriteBoot | WriteCookie | Pin | Own | Cut


def decide(
    orders: Orders,
    seen: Seen,
    memory: Memory,
    *,
    is_sealed: bool = False,
    is_burned: bool = False,
) -> tuple[Step, ...]:
    """The steps to take now, in this order; none when all is as it shall be.

    *is_sealed* says that nobody but members can have got at the node's throwaway (`seal`),
    *is_burned* that a stranger was found under it.
    """
    if seen.own is None:
        return _with_files_alone(orders, seen, memory)
    if orders.lock is not None:
        if not is_in_round(orders.lock, memory):
            return ()
        # Who knows the throwaway is back at once, however often he is cut: the next round ends it.
        return _shut_out(orders, seen, memory, cuts=not is_burned)
    if seen.own not in orders.accepted:
        if not _must_reset(orders, seen, memory):
            return ()
        if is_sealed and seen.own == memory.throwaway:
            return _to_one_cookie(orders, seen, orders.target)
        return _shut_out(orders, seen, memory)
    if seen.own == orders.target:
        return _keep(orders, seen)
    return _stay(orders, seen) if orders.restarts else _adopt(orders, seen)


def waits_for_start(orders: Orders, seen: Seen) -> bool:
    """Whether nothing but the node's next start brings it to the target."""
    is_accepted = seen.own in orders.accepted and seen.own != orders.target
    return orders.restarts and orders.lock is None and is_accepted


def _with_files_alone(orders: Orders, seen: Seen, memory: Memory) -> tuple[Step, ...]:
    """A VM that is down boots as its files say: those are brought on by the same rules."""
    if seen.file is None:
        return ()  # Nothing is made beside a node that was never there: that is `boot`'s to do.
    boot = seen.boot or Boot()
    as_if = replace(seen, own=seen.file, pins=boot.pins, links={})
    is_over = orders.lock is None and seen.file not in orders.accepted
    if is_over and not _must_reset(orders, as_if, memory):
        return ()
    # Nobody is linked to what does not run: its files need no throwaway before they are reset.
    steps = (
        _to_one_cookie(orders, as_if, orders.target) if is_over else decide(orders, as_if, memory)
    )
    return tuple(step for step in steps if isinstance(step, WriteBoot | WriteCookie))


def foreign(orders: Orders, seen: Seen) -> tuple[NodeName, ...]:
    """Links to no live member: tools, strangers, whoever was excluded.

    A hidden link under a member's name, too: members of a visible node are linked visibly.
    """
    hidden = {name for name, is_hidden in seen.links.items() if is_hidden and not seen.is_hidden}
    return tuple(sorted((seen.links.keys() - orders.running) | hidden))


def _everybody(orders: Orders, seen: Seen) -> set[NodeName]:
    return {*orders.members, *seen.pins, *seen.links}


def _to_one_cookie(orders: Orders, seen: Seen, cookie: Cookie) -> tuple[Step, ...]:
    """Files, every pin and the own cookie := *cookie*; nothing of before is kept."""
    names = _everybody(orders, seen)
    boot = Boot(own=cookie, pins=dict.fromkeys(sorted(orders.members), cookie))
    wrong = {name: cookie for name in names if seen.pins.get(name) != cookie}
    steps: list[Step] = _files(seen, boot, cookie)
    if wrong:
        steps.append(Pin(wrong))
    if seen.own != cookie:
        steps.append(Own(cookie))
    return tuple(steps)


def _files(seen: Seen, boot: Boot, own: Cookie) -> list[Step]:
    steps: list[Step] = []
    if seen.boot is None or not seen.boot.says(boot):
        steps.append(WriteBoot(boot))
    if seen.file != own:
        steps.append(WriteCookie(own))
    return steps


def to_lock(
    orders: Orders, seen: Seen, memory: Memory, *, is_burned: bool = False
) -> LockRound | None:
    """The round for which a throwaway has to be made now; None where none is missing.

    A node with an own cookie that is not accepted is locked by itself before it gets current, or
    whoever is linked to it would read that. *is_burned*: a stranger was found under its throwaway.
    """
    if orders.lock is not None:
        if is_in_round(orders.lock, memory) or (seen.own is None and _is_untried(orders, memory)):
            return None
        return orders.lock
    if seen.own is None or seen.own in orders.accepted or not _must_reset(orders, seen, memory):
        return None
    is_late = memory.lock is not None and memory.lock.emergency == LATE.emergency
    if is_burned and is_late and memory.lock is not None:
        return LockRound(LATE.emergency, memory.lock.number + 1)
    holds_one = memory.throwaway is not None and seen.own == memory.throwaway
    return None if is_late or (holds_one and not is_burned) else LATE


def _is_untried(orders: Orders, memory: Memory) -> bool:
    """Whether the VM was not seen yet with the throwaway that was made in this emergency.

    While a VM is out of reach one round follows the other; were a throwaway made for each, they
    would push what it does answer to out of the memory. (The next one is laid into a VM alone.)
    """
    lock = memory.lock
    is_made = (
        lock is not None and orders.lock is not None and lock.emergency == orders.lock.emergency
    )
    return is_made and memory.next_throwaway is None


def is_in_round(lock: LockRound, memory: Memory) -> bool:
    """Whether a throwaway was made for this round, or for a later one that a peer's word began."""
    known = memory.lock
    return known is not None and known.emergency == lock.emergency and known.number >= lock.number


def _shut_out(orders: Orders, seen: Seen, memory: Memory, *, cuts: bool = True) -> tuple[Step, ...]:
    """The throwaway everywhere, and no link but those to live members.

    Who is linked is cut right before the own cookie changes, so that he has no time to come back
    and read it; whoever is found after it has read it, and burns it (`seal`).
    """
    if memory.throwaway is None:
        return ()  # The shell makes a throwaway, and remembers it, first.
    strangers = foreign(orders, seen)
    steps = _to_one_cookie(orders, seen, memory.throwaway)
    if not strangers or not cuts:
        return steps
    before = tuple(step for step in steps if not isinstance(step, Own))
    return (*before, Cut(strangers), *steps[len(before) :])


def _must_reset(orders: Orders, seen: Seen, memory: Memory) -> bool:
    """Whether an own cookie that is not accepted is replaced; one set by hand may be held."""
    is_throwaway = seen.own == memory.throwaway
    is_ours = seen.own in memory.former or seen.own in orders.cookies.values()
    return orders.is_emergency or is_throwaway or is_ours or orders.heals_drift


def _adopt(orders: Orders, seen: Seen) -> tuple[Step, ...]:
    """The own cookie := target, and for every known peer what this node uses for it now."""
    missing = {
        name: seen.own
        for name in _everybody(orders, seen)
        if name not in seen.pins and seen.own is not None
    }
    kept = {**seen.pins, **missing}
    boot = Boot(own=orders.target, pins={n: kept[n] for n in sorted(orders.members)})
    steps: list[Step] = _files(seen, boot, orders.target)
    if missing:
        steps.append(Pin(missing))
    steps.append(Own(orders.target))
    return tuple(steps)


def _stay(orders: Orders, seen: Seen) -> tuple[Step, ...]:
    """The own cookie changes at the next start alone; a start without `boot` comes up in step.

    So cookie file and own cookie are left as they are, and the boot file names what each pair uses.
    What `boot` has laid ready for the next start is left, too.
    """
    rows = dict(seen.pins)
    lost = _lost_rows(orders, seen)
    rows.update(lost)
    own = seen.file if seen.file in orders.accepted else seen.own
    pins = {name: rows.get(name, seen.own) for name in sorted(orders.members)}
    boot = Boot(own=own, pins={name: used for name, used in pins.items() if used is not None})
    steps: list[Step] = [Pin(lost)] if lost else []
    return (*steps, *(_files(seen, boot, own) if own is not None else ()))


def _keep(orders: Orders, seen: Seen) -> tuple[Step, ...]:
    """The own cookie is the target: rows that were lost come back, those of nobody are set."""
    rows = dict(seen.pins)
    rows.update(_lost_rows(orders, seen))
    rows.update(dict.fromkeys(_rows_of_nobody(orders, rows), orders.target))
    changed = {name: cookie for name, cookie in rows.items() if seen.pins.get(name) != cookie}
    steps: list[Step] = [Pin(changed)] if changed else []
    pins = {name: rows.get(name, orders.target) for name in sorted(orders.members)}
    return (*steps, *_files(seen, Boot(own=orders.target, pins=pins), orders.target))


def _lost_rows(orders: Orders, seen: Seen) -> dict[NodeName, Cookie]:
    """Rows are never deleted by anybody but a stop of distribution: the boot file knows them."""
    if seen.boot is None:
        return {}
    return {
        name: cookie
        for name, cookie in seen.boot.pins.items()
        if name in orders.members
        and name not in seen.pins
        and cookie in orders.accepted
        and cookie != seen.own
    }


def _rows_of_nobody(orders: Orders, rows: Mapping[NodeName, Cookie]) -> set[NodeName]:
    """Rows that are set without a peer's help: in an emergency all of them.

    Otherwise those of names that are no member, or excused, once the members' pairs have moved:
    until then a tool that is connected goes on with what it has.
    """
    wrong = {name for name, cookie in rows.items() if cookie != orders.target}
    if orders.is_emergency:
        return wrong
    return set() if wrong & orders.running else wrong - orders.awaited_peers
