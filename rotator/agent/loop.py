"""One node's agent: see, decide, do, tell; again at every change, and at every heartbeat.

Nothing is remembered that could not be seen again, but what `memory` holds. So whatever is killed,
the next look goes on from there. The loop goes on with what it knows while the service is away.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rotator.agent import evidence, files, pairs
from rotator.agent import memory as memories
from rotator.agent.decide import Seen, decide, to_lock, waits_for_start
from rotator.agent.door import Door
from rotator.agent.evidence import Found
from rotator.agent.eyes import Eyes
from rotator.agent.hands import Hands
from rotator.agent.latch import Latch
from rotator.agent.node import Vm
from rotator.agent.prover import Prover
from rotator.agent.relinker import Relinker
from rotator.agent.sights import Sights
from rotator.agent.surroundings import Surveyor
from rotator.beam.node import Address
from rotator.errors import AgentFileError, BeamError

if TYPE_CHECKING:
    from pathlib import Path

    from rotator.agent.decide import Memory
    from rotator.agent.orders import Orders
    from rotator.agent.settings import NodeSettings
    from rotator.domain.cookie import Cookie
    from rotator.domain.ids import NodeName
    from rotator.protocol import v1

log = logging.getLogger(__name__)

_SOON: Final = 0.05  #: seconds until the next look while something is under way …
_SLOWEST: Final = 1.0  #: … doubled while nothing moves, up to this
_WHILE_LOCKING: Final = 0.1  #: strangers that come back are found as fast as this
_ROUNDS: Final = 8  #: of deciding within one look: each removes its own reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one look."""

    report: v1.Attestation | None
    next_look: float  #: seconds
    is_settled: bool
    is_held_back: bool = False  #: nothing is done before the service has heard of this, or a bound
    trouble: tuple[str, ...] = ()


class NodeAgent:
    """One node's agent; `orders` is set from outside, `look` is called again and again."""

    def __init__(
        self, settings: NodeSettings, *, state_dir: Path, token_file: Path | None = None
    ) -> None:
        self.settings = settings
        self._token_file = token_file
        self.orders: Orders | None = None
        self.memory_file = state_dir / f"{settings.name}.memory"
        self.memory = memories.load(self.memory_file)
        self._vm = Vm(_address(settings), cookie_file=settings.files.cookie_file)
        self._eyes = Eyes(self._vm, settings.files, met=self._meet)
        self._hands = Hands(self._vm, settings)
        self._prover = Prover(self._vm)
        self._relinker = Relinker(self._vm)
        self._surveyor = Surveyor(self._vm, settings)
        self._sights = Sights()
        self._shown: Cookie | None = None  #: the own cookie that the last report is about
        self._door = Door(self._vm, settings.name)
        self._latch = Latch(self._vm, settings.name)
        self._run = secrets.token_hex(8)
        self._pause = _SOON

    @property
    def name(self) -> NodeName:
        """The node's name."""
        return self.settings.name

    async def wait_gone(self) -> None:
        """Wait until the connection to the VM ends; for ever where there was none."""
        await self._vm.wait_closed()

    async def wait_disturbed(self) -> None:
        """Wait until somebody has come to the locked node; for ever where it is not locked."""
        with suppress(BeamError):
            while self.orders is not None and self.orders.lock is not None:
                await asyncio.sleep(_WHILE_LOCKING)
                if await self._door.is_disturbed(self.orders):
                    return
        await asyncio.get_running_loop().create_future()

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

    def _meet(self) -> None:
        log.info("%s: connected", self.name)
        self._prover.forget()
        self._surveyor.forget()
        self._door.forget()
        self._latch.forget()

    async def look(self, *, now: datetime | None = None) -> Outcome:
        """See, do what is to be done, and say what was seen then."""
        now = now or datetime.now(UTC)  # noqa: TID251 - the agent's outermost place
        orders = self.orders
        trouble = self._standing_trouble()
        if orders is not None:
            await self._relinker.obey(orders)  # Before anything is seen: it sets rows for a moment.
        seen = await self._see(trouble)
        if orders is None:
            read_from = "none" if seen.own is None else "vm"
            beat = evidence.heartbeat(read_from=read_from, now=now, generation=0, run=self._run)
            return Outcome(report=beat, next_look=_SLOWEST, is_settled=True, trouble=tuple(trouble))
        is_held_back = self._holds_back(orders, seen)
        try:
            seen = await self._enter(orders, seen, trouble)
            if not is_held_back:
                seen = await self._bring_on(orders, seen, trouble)
        except (AgentFileError, BeamError) as error:
            trouble.append(str(error))
            seen = await self._see(trouble)
        proofs = await self._prover.proofs(orders, seen)
        is_settled = self._is_settled(orders, seen) and self._prover.is_done(orders)
        if is_settled and orders.lock is None:
            self._remember(memories.at_peace(self.memory))
        if seen.own is not None:
            await self._relink(orders, seen)
        found = Found(
            proofs=proofs,
            is_sealed=self._door.is_sealed(self.memory),
            foreign=tuple(sorted(self._door.strangers)),
            run=self._run,
            otp_release=self._surveyor.otp_release,
            preflight=(*trouble, *await self._surveyor.findings(orders, seen)),
        )
        report = evidence.report(orders, seen, self.memory, found, now=now)
        self._note_shown(orders, seen, report)
        return Outcome(
            report=report,
            next_look=_SOON
            if is_held_back
            else self._next_look(orders, seen, is_settled=is_settled),
            is_settled=is_settled,
            is_held_back=is_held_back,
            trouble=found.preflight,
        )

    def _standing_trouble(self) -> list[str]:
        fault = memories.fault(self.memory_file)
        token = [] if self._token_file is None else files.token_oddities(self._token_file)
        return [*([] if fault is None else [fault]), *token]

    def _note_shown(self, orders: Orders, seen: Seen, report: v1.Attestation) -> None:
        self._shown = seen.own
        if report.locked_round is not None:
            self._door.note_reported(orders.lock)

    def told(self, report: v1.Attestation) -> bool:
        """The service has taken this report; whether something was held back for it."""
        orders, shown = self.orders, self._shown
        if orders is None or shown is None or report.own != orders.fingerprint(shown):
            return False
        return self._sights.tell(shown)

    def _holds_back(self, orders: Orders, seen: Seen) -> bool:
        is_new = self._sights.is_new
        now = asyncio.get_running_loop().time()
        holds_back = self._sights.hold_back(orders, seen, self.memory, now=now)
        if holds_back and is_new:
            log.warning(
                "%s: own cookie was set by somebody, or is a retired one:"
                " it is locked, then reset to version %s",
                self.name,
                orders.number_of(orders.target),
            )
        return holds_back

    async def _see(self, trouble: list[str]) -> Seen:
        served = self.orders.cookies.values() if self.orders else ()
        memory = self.memory
        keys = (memory.throwaway, memory.next_throwaway, *memory.former, *served)
        return await self._eyes.see(keys, trouble)

    # --- doing ----------------------------------------------------------------------------

    async def _enter(self, orders: Orders, seen: Seen, trouble: list[str]) -> Seen:
        """Enter a round of locking together with all members, if it is not the first."""
        if orders.lock is None and seen.own is not None:
            await self._latch.lift()
        elif await self._latch.fall(orders):
            seen = await self._see(trouble)
        self._remember(memories.entered(self.memory, seen.own))
        return seen

    async def _bring_on(self, orders: Orders, seen: Seen, trouble: list[str]) -> Seen:
        for _ in range(_ROUNDS):
            is_resealed = await self._door.watch(orders, seen, self.memory)
            self._make_throwaway(orders, seen)
            steps = (
                ()
                if is_resealed
                else decide(
                    orders,
                    seen,
                    self.memory,
                    is_sealed=self._door.keeps_out(seen),
                    is_burned=self._door.is_burned(self.memory),
                )
            )
            if not steps and not is_resealed:
                break
            for step in steps:
                await self._hands.take(step)
            self._pause = _SOON
            seen = await self._see(trouble)
        await self._lay_latch(orders, seen)
        return await self._move_pairs(orders, seen, trouble)

    def _make_throwaway(self, orders: Orders, seen: Seen) -> None:
        lock = to_lock(orders, seen, self.memory, is_burned=self._door.is_burned(self.memory))
        if lock is None:
            return
        answers_to = (seen.own, seen.file)
        self._remember(
            memories.for_round(
                self.memory, lock, throwaway=memories.throwaway(), answers_to=answers_to
            )
        )

    async def _lay_latch(self, orders: Orders, seen: Seen) -> None:
        """While the node is locked: what it takes in the next round, remembered and laid ready."""
        lock = self.memory.lock
        if (
            orders.lock is not None
            and lock is not None
            and evidence.locked_in(orders.lock, seen, self.memory) is not None
        ):
            following = replace(lock, number=lock.number + 1)
            if self.memory.next_lock != following:
                cookie = memories.throwaway()
                self._remember(memories.with_next(self.memory, following, throwaway=cookie))
            await self._latch.lay(orders, seen, self.memory)

    async def _move_pairs(self, orders: Orders, seen: Seen, trouble: list[str]) -> Seen:
        if seen.own is None or orders.lock is not None or seen.own not in orders.accepted:
            return seen
        views = await self._vm.views(seen.links.keys() & orders.awaited_peers)
        wanted = pairs.to_move(orders, seen, views, me=self.name)
        if await self._hands.move(wanted):
            self._pause = _SOON
            seen = await self._see(trouble)
            for step in decide(orders, seen, self.memory):
                await self._hands.take(step)
            seen = await self._see(trouble)
        return seen

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
        rests = is_settled or waits_for_start(orders, seen)
        if rests and (is_locking or not pairs.missing_links(orders, seen)):
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
