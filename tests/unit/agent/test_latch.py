"""What the agent remembers of the latch in its VM, and what it says to whom."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from rotator.agent import latch
from rotator.agent.decide import Memory
from rotator.agent.latch import Latch, word
from rotator.agent.orders import LockRound
from rotator.beam.terms import Atom
from rotator.domain.ids import NodeName
from rotator.errors import BeamError
from tests.support.agents import ALIEN, ME, ROUND, THROWN, TOOL, B, C, orders, settled

NEXT = LockRound(ROUND.emergency, ROUND.number + 1)
LAID = Memory(lock=ROUND, throwaway=THROWN, next_lock=NEXT, next_throwaway=ALIEN)
LOCKED = settled(THROWN)


@dataclass
class Vm:
    """Starts a process when it is told to; *is_slow* says that it does not come up in time."""

    our_link: str = "agent@h"
    is_slow: bool = False
    is_away: bool = False
    started: int = 0
    latch: object = Atom("undefined")
    calls: list[tuple[str, list[Any]]] = field(default_factory=list)

    async def call(self, module: str, function: str, args: list[Any]) -> Any:
        """As the emulator answers."""
        if self.is_away:
            raise BeamError
        self.calls.append((f"{module}:{function}", args))
        match function:
            case "spawn":
                self.started += 1
                if not self.is_slow:
                    self.latch = f"process {self.started}"
                return f"process {self.started}"
            case "exit" if args[0] == self.latch:
                self.latch = Atom("undefined")
            case "whereis":
                return self.latch
            case "is_process_alive":
                return args[0] == self.latch
            case "abcast":
                self.latch = Atom("undefined")
        return [Atom("ok"), "parsed"]

    async def connections(self) -> dict[str, bytes]:
        """A member, and somebody else."""
        return {B: b"1", TOOL: b"2"}

    def asked(self, what: str) -> list[list[Any]]:
        """The arguments of these calls."""
        return [args for name, args in self.calls if name == what]


def made(**of_the_vm: Any) -> tuple[Latch, Vm]:
    """A latch of a node."""
    vm = Vm(**of_the_vm)
    return Latch(vm, ME), vm  # type: ignore[arg-type]


async def lay(one: Latch) -> None:
    """As an agent does while its node is locked."""
    await one.lay(orders(lock=ROUND), LOCKED, LAID)


def test_a_word_is_of_one_round_of_one_emergency() -> None:
    """Rounds of another emergency have the same numbers, and its word locks nobody."""
    rounds = [LockRound(emergency, number) for emergency in ("e1", "e2") for number in (2, 3)]
    assert len({word(one) for one in rounds}) == len(rounds)


async def test_what_is_laid_waits_for_the_word_of_the_next_round_and_not_for_ever() -> None:
    """Rows for everybody who is known, and a bound in milliseconds."""
    one, vm = made()
    seen = replace(LOCKED, pins={B: THROWN, TOOL: THROWN}, links={NodeName("new@h"): False})
    await one.lay(orders(lock=ROUND), seen, LAID)
    ((_, _, evaluated),) = vm.asked("erlang:spawn")
    known = dict(evaluated[1])
    assert known["Word"] == word(NEXT)
    assert known["Life"] == 600_000
    assert set(known["Rows"]) == {B, C, TOOL, "new@h"}
    assert set(known["Running"]) == {B, C}
    assert known["Agent"] == vm.our_link
    assert known["CutsHidden"] is True


async def test_a_throwaway_comes_as_a_message_alone() -> None:
    """Arguments of a process are told by the emulator, by traces, and by crash reports."""
    one, vm = made()
    await lay(one)
    bearing = [name for name, args in vm.calls if ALIEN.reveal() in repr(args)]
    assert bearing == ["erlang:send"]
    assert vm.asked("erlang:send")[0][0] == "process 1"


async def test_a_latch_is_laid_once_for_a_round_until_half_its_life_is_over() -> None:
    """A long emergency finds one there, and a short one is not delayed by it at every look."""
    one, vm = made()
    await lay(one)
    one._laid_at -= 200
    await lay(one)
    assert vm.started == 1
    one._laid_at -= 101
    await lay(one)
    assert vm.started == 2


async def test_a_latch_that_comes_up_late_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended, wherever its process has come to: it would wait for a word after the reset."""
    monkeypatch.setattr(latch, "_PATIENCE", 0.0)
    one, vm = made(is_slow=True)
    await lay(one)
    assert vm.asked("erlang:exit") == [["process 1", Atom("kill")]]
    assert not await one.fall(orders(lock=NEXT))
    assert not vm.asked("rpc:abcast")
    vm.is_slow = False
    await lay(one)
    assert await one.fall(orders(lock=NEXT))


async def test_the_word_is_said_once_to_members_that_are_linked() -> None:
    """In the round that it is for, and to no stranger."""
    one, vm = made()
    await lay(one)
    assert not await one.fall(orders(lock=ROUND))
    assert not await one.fall(orders(lock=LockRound("another", NEXT.number)))
    assert not await one.fall(orders())
    assert await one.fall(orders(lock=NEXT))
    assert not await one.fall(orders(lock=NEXT))
    names = [Atom(ME), Atom(B)]
    message = (Atom("rotator_latch"), word(NEXT))
    assert vm.asked("rpc:abcast") == [[names, Atom("rotator_latch"), message]]


async def test_a_node_without_an_answer_holds_no_latch_that_is_known() -> None:
    """What could not be laid or said is left to the agent, which locks its node by itself."""
    one, vm = made(is_away=True)
    await lay(one)
    assert not await one.fall(orders(lock=NEXT))
    vm.is_away = False
    await lay(one)
    vm.is_away = True
    assert await one.fall(orders(lock=NEXT))


async def test_a_latch_of_whoever_was_here_before_is_lifted() -> None:
    """Once for each connection to a VM, and for each latch that was laid since."""
    one, vm = made(latch="of another agent")
    await one.lift()
    assert vm.latch == Atom("undefined")
    await one.lift()
    assert len(vm.asked("erlang:whereis")) == 1
    await lay(one)
    await one.lift()
    assert vm.latch == Atom("undefined")
    one.forget()
    vm.latch = "of yet another"
    await one.lift()
    assert vm.latch == Atom("undefined")
