"""One node's agent: see, decide, do, tell; again at every change, and at every heartbeat.

Nothing is remembered that could not be seen again, but what `memory` holds. So whatever is killed,
the next look goes on from there. The loop goes on with what it knows while the service is away.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rotator import failpoints
from rotator.agent import evidence, pairs
from rotator.agent import memory as memories
from rotator.agent.decide import (
    Cut,
    Memory,
    Own,
    Pin,
    Seen,
    Step,
    WriteBoot,
    WriteCookie,
    decide,
    to_lock,
)
from rotator.agent.decide import foreign as foreign_links
from rotator.agent.evidence import Found
from rotator.agent.node import Vm
from rotator.agent.prover import Prover
from rotator.agent.relinker import Relinker
from rotator.agent.surroundings import Surveyor
from rotator.beam.node import Address
from rotator.domain.cookie import Cookie
from rotator.errors import AgentFileError, BeamError, NoSuchNode, WrongCookie

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rotator.agent.orders import Orders
    from rotator.agent.settings import NodeSettings
    from rotator.domain.ids import NodeName
    from rotator.protocol import v1

log = logging.getLogger(__name__)

_SOON: Final = 0.05  #: seconds until the next look while something is under way …
_SLOWEST: Final = 1.0  #: … doubled while nothing moves, up to this
_WHILE_LOCKING: Final = 0.2  #: strangers that come back are found as fast as this
_ROUNDS: Final = 8  #: of deciding within one look: each removes its own reason
_HIGHER_WAITS: Final = 3.0  #: seconds in which the lower name of a pair may move it
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def throwaway() -> Cookie:
    """A random cookie of 256 bits that never leaves its node."""
    return Cookie("".join(secrets.choice(_ALPHABET) for _ in range(43)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one look."""

    report: v1.Attestation | None
    next_look: float  #: seconds
    is_settled: bool
    trouble: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Locking:
    """Foreign links found since a round began."""

    lock: object = None
    found: set[NodeName] = field(default_factory=set)


class NodeAgent:
    """The hands for one node; `orders` is set from outside, `look` is called again and again."""

    def __init__(self, settings: NodeSettings, *, state_dir: Path) -> None:
        self.settings = settings
        self.orders: Orders | None = None
        self.memory_file = state_dir / f"{settings.name}.memory"
        self.memory = memories.load(self.memory_file)
        self._vm = Vm(_address(settings))
        self._locking = _Locking()
        self._prover = Prover(self._vm)
        self._relinker = Relinker(self._vm)
        self._surveyor = Surveyor(self._vm, settings)
        self._behind_since: dict[NodeName, float] = {}
        self._pause = _SOON
        self._last: Seen | None = None
        self._quiet: Cookie | None = None  #: the throwaway since which no older handshake lives

    @property
    def name(self) -> NodeName:
        """The node's name."""
        return self.settings.name

    async def close(self) -> None:
        """Leave the node as it is."""
        await self._relinker.close()
        await self._vm.close()

    def obey(self, orders: Orders | None) -> None:
        """Take new orders; a generation that goes backwards is refused by the caller."""
        self.orders = orders
        self._pause = _SOON
        if orders is not None:
            self._prover.learn(orders)
            self._remember(
                replace(self.memory, generation=orders.generation, cluster_uid=orders.cluster_uid)
            )

    def _remember(self, memory: Memory) -> None:
        if memory != self.memory:
            memories.store(self.memory_file, memory)
            self.memory = memory

    async def look(self, *, now: datetime | None = None) -> Outcome:
        """See, do what is to be done, and say what was seen then."""
        now = now or datetime.now(UTC)  # noqa: TID251 - the agent's outermost place
        orders = self.orders
        fault = memories.fault(self.memory_file)
        trouble = [] if fault is None else [fault]
        read_from, seen = await self._see(trouble)
        if orders is None:
            beat = evidence.heartbeat(read_from=read_from, now=now, generation=0)
            return Outcome(report=beat, next_look=_SLOWEST, is_settled=True, trouble=tuple(trouble))
        self._note_strangers(orders, seen)
        await self._relinker.obey(orders)
        try:
            seen = await self._bring_on(orders, seen, trouble)
        except (AgentFileError, BeamError) as error:
            trouble.append(str(error))
        proofs = await self._prover.proofs(orders, seen)
        is_settled = self._is_settled(orders, seen) and self._prover.is_done(orders)
        if is_settled and orders.lock is None:
            self._remember(memories.at_peace(self.memory))
        if seen.own is not None:
            await self._relink(orders, seen)
        found = Found(
            read_from=read_from,
            proofs=proofs,
            is_quiet=self._quiet is not None and self._quiet == self.memory.throwaway,
            foreign=tuple(sorted(self._locking.found)),
            otp_release=self._surveyor.otp_release,
            preflight=(*trouble, *await self._surveyor.findings(orders, seen)),
        )
        report = evidence.report(orders, seen, self.memory, found, now=now)
        return Outcome(
            report=report,
            next_look=self._next_look(orders, seen, is_settled=is_settled),
            is_settled=is_settled,
            trouble=found.preflight,
        )

    # --- seeing ---------------------------------------------------------------------------

    async def _see(self, trouble: list[str]) -> tuple[str, Seen]:
        """Where the evidence comes from, and what it is; without a VM, the files alone."""
        files = self.settings.files
        try:
            file, boot = files.read_cookie(), files.read_boot()
        except AgentFileError as error:
            trouble.append(str(error))
            file, boot = None, None
        alone = Seen(own=None, file=file, boot=boot)
        try:
            if not await self._vm.reach(self._keys(alone)):
                self._prover.forget()
                self._surveyor.forget()
                log.info("%s: connected", self.name)
            table = await self._vm.look()
        except NoSuchNode:
            return "none", alone
        except WrongCookie:
            trouble.append(
                "the node refuses every cookie that is known here: put the one it runs with into"
                " the cookie file, or restart it"
            )
            return "none", alone
        except BeamError as error:
            trouble.append(f"the node cannot be reached: {error}")
            return "none", alone
        return "vm", replace(alone, own=table.own, pins=table.pins, links=table.links)

    def _keys(self, seen: Seen) -> list[Cookie]:
        """What the VM may answer to, the likeliest first."""
        known: list[Cookie | None] = [
            self._last.own if self._last else None,
            seen.file,
            self.memory.throwaway,
            *self.memory.former,
            *(self.orders.cookies.values() if self.orders else ()),
            *(seen.boot.pins.values() if seen.boot else ()),
        ]
        return list(dict.fromkeys(cookie for cookie in known if cookie is not None))

    def _note_strangers(self, orders: Orders, seen: Seen) -> None:
        if self._locking.lock != orders.lock or orders.lock is None:
            self._locking = _Locking(lock=orders.lock)
        self._locking.found |= set(foreign_links(orders, seen.links))

    # --- doing ----------------------------------------------------------------------------

    async def _bring_on(self, orders: Orders, seen: Seen, trouble: list[str]) -> Seen:
        self._make_throwaway(orders, seen)
        for _ in range(_ROUNDS):
            steps = decide(orders, seen, self.memory)
            for step in steps:
                await self._take(step)
            if not steps and not await self._hang_up(seen):
                break
            self._pause = _SOON
            _, seen = await self._see(trouble)
            self._note_strangers(orders, seen)
        self._last = seen
        return await self._move_pairs(orders, seen, trouble)

    def _make_throwaway(self, orders: Orders, seen: Seen) -> None:
        lock = to_lock(orders, seen, self.memory)
        if lock is None:
            return
        answers_to = (seen.own, seen.file)
        self._remember(
            memories.for_round(self.memory, lock, throwaway=throwaway(), answers_to=answers_to)
        )
        self._quiet = None

    async def _hang_up(self, seen: Seen) -> bool:
        """End handshakes that began before the node was locked; whether there was a need to.

        OTP looks the cookie up when a handshake begins, and lets it take seven seconds: whoever
        stalls one gets in with the former cookie after it was changed.
        """
        throwaway = self.memory.throwaway
        if throwaway is None or seen.own != throwaway or self._quiet == throwaway:
            return False
        count = await self._vm.hang_up()
        if count:
            log.warning("%s: ended %d handshakes under way", self.name, count)
        self._quiet = throwaway
        return True

    async def _take(self, step: Step) -> None:
        name = type(step).__name__
        log.debug("%s: %s", self.name, name)
        failpoints.hit(name, "before")
        match step:
            case WriteBoot(boot):
                await asyncio.to_thread(self.settings.files.write_boot, boot)
            case WriteCookie(cookie):
                await asyncio.to_thread(self.settings.files.write_cookie, cookie)
            case Pin(pins):
                await self._vm.pin(pins)
            case Own(cookie):
                await self._vm.set_own(cookie)
                log.info("%s: own cookie changed", self.name)
            case Cut(names):
                log.warning("%s: cut %d foreign links", self.name, len(names))
                await self._vm.cut(names)
        failpoints.hit(name, "after")

    async def _move_pairs(self, orders: Orders, seen: Seen, trouble: list[str]) -> Seen:
        if seen.own is None or orders.lock is not None or seen.own not in orders.accepted:
            return seen
        linked = seen.links.keys() & orders.awaited_peers
        views = await self._vm.views(linked)
        wanted = pairs.to_move(orders, seen, views, me=self.name)
        due = self._mine_to_move(wanted)
        if due:
            moved = await asyncio.gather(*(self._vm.move(p, c) for p, c in due.items()))
            log.info("%s: moved %d of %d pairs", self.name, sum(moved), len(due))
            self._pause = _SOON
            _, seen = await self._see(trouble)
            for step in decide(orders, seen, self.memory):
                await self._take(step)
            _, seen = await self._see(trouble)
            self._last = seen
        return seen

    def _mine_to_move(self, wanted: Mapping[NodeName, Cookie]) -> dict[NodeName, Cookie]:
        """The lower name moves a pair; the higher one where the lower has not for a while."""
        now = asyncio.get_running_loop().time()
        since = {peer: self._behind_since.get(peer, now) for peer in wanted}
        self._behind_since = since
        return {
            peer: cookie
            for peer, cookie in wanted.items()
            if self.name < peer or now - since[peer] >= _HIGHER_WAITS
        }

    async def _relink(self, orders: Orders, seen: Seen) -> None:
        may = (
            self.settings.reconnect
            and orders.lock is None
            and seen.own in orders.accepted
            and bool(missing := pairs.missing_links(orders, seen))
        )
        await self._relinker.want(missing if may else set(), orders, seen)

    # --- how it stands --------------------------------------------------------------------

    def _is_settled(self, orders: Orders, seen: Seen) -> bool:
        if orders.lock is not None:
            return evidence.locked_in(orders.lock, seen, self.memory) is not None
        rows = set(seen.pins.values()) | (set(seen.boot.pins.values()) if seen.boot else set())
        return seen.own == seen.file == orders.target and rows <= {orders.target}

    def _next_look(self, orders: Orders, seen: Seen, *, is_settled: bool) -> float:
        """Seconds; nothing to wait for: the next heartbeat, or the next orders."""
        is_locking = orders.lock is not None
        if is_settled and not is_locking and not pairs.missing_links(orders, seen):
            return float("inf")
        self._pause = min(self._pause * 2, _WHILE_LOCKING if is_locking else _SLOWEST)
        return self._pause


def _address(settings: NodeSettings) -> Address:
    return Address(
        name=settings.name,
        host=settings.host,
        port=settings.port,
        epmd_port=settings.epmd_port,
        tls=settings.tls.context() if settings.tls else None,
    )
