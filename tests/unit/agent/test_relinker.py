"""Missing members are linked again, and no row of before is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rotator.agent import relinker as module
from rotator.agent.relinker import Relinker
from rotator.domain.cookie import Cookie
from rotator.domain.ids import NodeName
from rotator.errors import NodeGone
from tests.support.agents import NEW, OLD, B, C, orders, settled


class Vm:
    """A VM that links to a peer when its row is what the peer uses."""

    def __init__(self, *, uses: Mapping[NodeName, Cookie] | None = None) -> None:
        self.rows: dict[NodeName, Cookie] = {B: NEW, C: NEW}
        self.uses = dict(uses or {B: NEW, C: NEW})
        self.tried: list[tuple[NodeName, Cookie]] = []
        self.is_ready, self.is_gone = True, False
        self.hangs: asyncio.Event | None = None

    async def is_ready_to_link(self) -> bool:
        """A RabbitMQ node that starts is not."""
        return self.is_ready

    async def pin(self, pins: Mapping[NodeName, Cookie]) -> None:
        """Set rows; it takes a moment."""
        await asyncio.sleep(0)
        self.rows.update(pins)

    async def link(self, peer: NodeName) -> bool:
        """Whether both use the same."""
        self.tried.append((peer, self.rows[peer]))
        if self.is_gone:
            raise NodeGone
        if self.hangs is not None and self.rows[peer] == OLD:
            self.hangs.set()
            await asyncio.sleep(3600)
        return self.rows[peer] == self.uses[peer]


@asynccontextmanager
async def relinking(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Relinker]:
    """Without long pauses, ended at the end."""
    monkeypatch.setattr(module, "_FIRST", 0.001)
    monkeypatch.setattr(module, "_LONGEST", 0.01)
    made = Relinker(vm)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.close()


async def until(is_so: Callable[[], Any]) -> None:
    """Wait until it is."""
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.001)


async def test_a_missing_member_is_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the cookie that the pair has, tried until it is linked and then no more; others are left alone."""
    vm = Vm()
    async with relinking(vm, monkeypatch) as made:
        await made.want({B}, orders(), settled())
        await until(lambda: vm.tried)
        await asyncio.sleep(0.05)  # that nothing more happens is the question
        assert vm.tried == [(B, NEW)]


async def test_a_link_that_breaks_again_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that is missing at two looks, and was linked between them, is not forgotten."""
    vm = Vm()
    async with relinking(vm, monkeypatch) as made:
        await made.want({B}, orders(), settled())
        await until(lambda: len(vm.tried) == 1)
        await asyncio.sleep(0.02)
        await made.want({B}, orders(), settled())
        await until(lambda: len(vm.tried) == 2)


async def test_the_other_version_is_tried_after_the_own_and_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where both fail the row is as it was: each try does both, for a node may come up with either."""
    vm = Vm(uses={B: Cookie("NEITHER")})
    async with relinking(vm, monkeypatch) as made:
        await made.want({B}, orders(), settled())
        await until(lambda: len(vm.tried) >= 5)
        assert vm.tried[:4] == [(B, NEW), (B, OLD)] * 2
        await made.want(set(), orders(), settled())
        await until(lambda: vm.rows[B] == NEW)


async def test_a_link_by_the_other_version_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row that linked is kept, for the pair is moved afterwards."""
    vm = Vm(uses={B: OLD})
    async with relinking(vm, monkeypatch) as made:
        await made.want({B}, orders(), settled())
        await until(lambda: vm.tried[-1:] == [(B, OLD)])
        await asyncio.sleep(0.02)
        assert vm.rows[B] == OLD


async def test_new_orders_find_every_row_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that is under way has ended, with its row as before, when the first step of a lock is done."""
    vm = Vm(uses={B: Cookie("NEITHER")})
    vm.hangs = asyncio.Event()
    first = orders()
    async with relinking(vm, monkeypatch) as made:
        await made.want({B}, first, settled())
        await asyncio.wait_for(vm.hangs.wait(), 60)
        await made.obey(first)
        assert vm.rows[B] == OLD
        await made.obey(orders())
        assert vm.rows[B] == NEW
        before = len(vm.tried)
        await asyncio.sleep(0.05)  # that nothing more happens is the question
        assert len(vm.tried) == before


class SlowVm(Vm):
    """It has a new row before it has said so, and hangs then until it is told to go on."""

    def __init__(self) -> None:
        super().__init__(uses={B: Cookie("NEITHER")})
        self.pinned, self.goes_on = asyncio.Event(), asyncio.Event()

    async def pin(self, pins: Mapping[NodeName, Cookie]) -> None:
        """The answer for the other version comes late."""
        if pins == {B: OLD}:
            self.pinned.set()
            await self.goes_on.wait()
        await super().pin(pins)


@pytest.mark.parametrize("ends", ["close", "want"])
async def test_a_try_that_is_stopped_while_it_sets_the_row_puts_it_back(
    monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Whatever the VM has taken of it by then, the row is as before when new orders are obeyed."""
    vm = SlowVm()
    async with relinking(vm, monkeypatch) as made:
        await made.want({B}, orders(), settled())
        await asyncio.wait_for(vm.pinned.wait(), 60)
        if ends == "want":
            await made.want(set(), orders(), settled())
        closing = asyncio.create_task(made.close())
        await asyncio.sleep(0.02)  # that it has not ended is the question
        assert not closing.done()
        vm.goes_on.set()
        await asyncio.wait_for(closing, 60)
        assert vm.rows[B] == NEW
        await asyncio.sleep(0.02)  # that nothing more happens is the question
        assert (vm.rows[B], [cookie for _, cookie in vm.tried]) == (NEW, [NEW])


class Side:
    """One of two VMs that link when, at one moment, each uses the same for the other."""

    def __init__(self, row: Cookie) -> None:
        self.row, self.peer, self.is_linked = row, self, False

    async def is_ready_to_link(self) -> bool:
        """Always."""
        return True

    async def pin(self, pins: Mapping[NodeName, Cookie]) -> None:
        """Set the row; it takes a moment."""
        await asyncio.sleep(0)
        (self.row,) = pins.values()

    async def link(self, peer: NodeName) -> bool:
        """A handshake takes as long as the pause before it, at first."""
        assert peer == B
        await asyncio.sleep(0.001)
        if self.row == self.peer.row:
            self.is_linked = self.peer.is_linked = True
        return self.is_linked


async def test_two_sides_that_are_out_of_step_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both try the other's version, from the same moment on, and they do not miss each other for ever."""
    for _ in range(20):
        one, two = Side(NEW), Side(OLD)
        one.peer, two.peer = two, one
        async with (
            relinking(one, monkeypatch) as made,  # type: ignore[arg-type]
            relinking(two, monkeypatch) as other,  # type: ignore[arg-type]
        ):
            pins = {B: OLD, C: OLD}
            await asyncio.gather(
                made.want({B}, orders(), settled()), other.want({B}, orders(), settled(pins=pins))
            )
            await until(lambda one=one: one.is_linked)


async def test_a_node_that_starts_is_not_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is linked while the node decides by itself whom it speaks to, nor when the peer is no more missing."""
    vm = Vm()
    vm.is_ready = False
    async with relinking(vm, monkeypatch) as made:
        await made.want({B}, orders(), settled())
        await asyncio.sleep(0.05)  # that nothing happens is the question
        await made.want(set(), orders(), settled())
        vm.is_ready = True
        await asyncio.sleep(0.05)
        assert vm.tried == []


async def test_a_vm_that_is_away_ends_no_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the connection is one more reason to try again."""
    vm = Vm()
    vm.is_gone = True
    async with relinking(vm, monkeypatch) as made:
        await made.want({B}, orders(), settled())
        await until(lambda: len(vm.tried) >= 3)
        vm.is_gone = False
        before = len(vm.tried)
        await until(lambda: len(vm.tried) > before)
