"""Lock all members in the same instant: in the second round of locking, and in later ones.

Where members lock one after the other, a stranger who is quick stays in for ever: he reads the
throwaway of one that is locked through another that is not yet, and comes back with it. So while a
round stands, each agent lays a latch into its VM: a process that holds the throwaway of the next
round and waits for a word. The agent that hears of that round first says the word to every member
through the mesh, and all VMs take their throwaways and cut strangers within one message's time.

A latch is a help and never evidence: where it does not fall the agent locks its node as in the
first round, and what is reported is read from the VM.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rotator.beam.terms import Atom, Charlist
from rotator.errors import BeamError

if TYPE_CHECKING:
    from rotator.agent.decide import Memory, Seen
    from rotator.agent.node import Vm
    from rotator.agent.orders import LockRound, Orders
    from rotator.domain.ids import NodeName

log = logging.getLogger(__name__)

_NAME: Final = "rotator_latch"
_LIFE: Final = 600.0  #: seconds that it waits for its word: it does not outlive its agent for long
_PATIENCE: Final = 2.0  #: seconds
_PAUSE: Final = 0.002

#: Rows, then strangers, then the own cookie: who is cut has no time to come back and read it. A
#: handshake that began before may still get in with the former cookie: those under way are ended
#: (rows of net_kernel's `#connection{}`, as in `answers`), and who came through meanwhile is cut.
#: The cookie comes as a message to a process that is sensitive by then, and is no atom before the
#: word: nobody but the VM can look into such a process, but everybody linked can list the atoms.
CODE: Final = """
    erlang:process_flag(sensitive, true),
    catch erlang:exit(erlang:whereis(rotator_latch), kill),
    catch erlang:unregister(rotator_latch),
    try
        erlang:register(rotator_latch, erlang:self()),
        Cut = fun() ->
            Hidden = case CutsHidden of true -> erlang:nodes(hidden); false -> [] end,
            Strangers = (erlang:nodes(connected) -- Running) ++ Hidden,
            [erlang:disconnect_node(Node) || Node <- Strangers, Node =/= Agent]
        end,
        HangUp = fun(Row) ->
            case erlang:element(4, Row) of
                pending -> erlang:exit(erlang:element(5, Row), kill);
                up_pending -> erlang:exit(erlang:element(7, Row), kill);
                _ -> ok
            end
        end,
        Bytes = receive {rotator_cookie, Told} -> Told after Life -> erlang:exit(normal) end,
        receive
            {rotator_latch, Word} ->
                Cookie = erlang:binary_to_atom(Bytes, latin1),
                [erlang:set_cookie(Row, Cookie) || Row <- Rows],
                Cut(),
                erlang:set_cookie(Cookie),
                [try HangUp(Row) catch _:_ -> ok end || Row <- ets:tab2list(sys_dist)],
                Cut()
        after Life -> ok
        end
    catch _:_ -> ok
    end.
"""


def word(lock: LockRound) -> bytes:
    """What a latch waits for. No secret: what it does is what the member is to do anyway."""
    return f"{lock.emergency} {lock.number}".encode()


class Latch:
    """Of one node. What it knows is of one connection to the VM."""

    def __init__(self, vm: Vm, name: NodeName) -> None:
        self._vm = vm
        self._name = name
        self._process: object = None
        self._round: LockRound | None = None
        self._laid_at = 0.0
        self._is_lifted = False  #: the VM holds none, neither ours nor one of an agent before us

    def forget(self) -> None:
        """Another VM, or another connection to it."""
        self._process = self._round = None
        self._is_lifted = False

    async def lay(self, orders: Orders, seen: Seen, memory: Memory) -> None:
        """Lay the throwaway of the next round, which is remembered already, into the VM.

        It is interpreted (`erl_eval`, of stdlib), so that no code is loaded into the node.
        """
        lock, cookie = memory.next_lock, memory.next_throwaway
        if lock is None or cookie is None or self._is_laid(lock):
            return
        self.forget()
        rows = {*orders.members, *seen.pins, *seen.links}
        bindings = {
            "Word": word(lock),
            "Rows": [Atom(name) for name in rows],
            "Running": [Atom(name) for name in orders.running],
            "Agent": Atom(self._vm.our_link),
            "CutsHidden": not seen.is_hidden,
            "Life": int(_LIFE * 1000),
        }
        bound = [(Atom(name), value) for name, value in sorted(bindings.items())]
        try:
            scanned = await self._vm.call("erl_scan", "string", [Charlist(CODE)])
            parsed = await self._vm.call("erl_parse", "parse_exprs", [scanned[1]])
            # Nothing of this is secret: of arguments the emulator itself tells, and so do traces.
            evaluation = [Atom("erl_eval"), Atom("exprs"), [parsed[1], bound]]
            self._process = await self._vm.call("erlang", "spawn", evaluation)
            told = (Atom("rotator_cookie"), cookie.reveal().encode("ascii"))
            await self._vm.call("erlang", "send", [self._process, told])
            await self._wait_laid()
        except BeamError as error:
            log.warning("%s: no latch: %s", self._name, error)
            with suppress(BeamError):  # It may come up yet, after the node was reset at the worst.
                await self._vm.call("erlang", "exit", [self._process, Atom("kill")])
            return
        self._round, self._laid_at = lock, asyncio.get_running_loop().time()

    def _is_laid(self, lock: LockRound) -> bool:
        now = asyncio.get_running_loop().time()
        return self._round == lock and now - self._laid_at < _LIFE / 2

    async def fall(self, orders: Orders) -> bool:
        """Say the word of this round to every linked member; whether there was one to say."""
        lock, process = orders.lock, self._process
        if lock is None or self._round != lock:
            return False
        self.forget()
        try:
            linked = (await self._vm.connections()).keys() & orders.running
            everybody = [Atom(name) for name in (self._name, *linked)]
            message = (Atom(_NAME), word(lock))
            await self._vm.call("rpc", "abcast", [everybody, Atom(_NAME), message])
            await self._wait_gone(process)
        except BeamError as error:
            log.warning("%s: no word to the latches: %s", self._name, error)
        return True

    async def lift(self) -> None:
        """See to it that the VM holds no latch: before it is reset, or a late word would lock it."""
        if self._is_lifted:
            return
        self.forget()
        process = await self._vm.call("erlang", "whereis", [Atom(_NAME)])
        if process != Atom("undefined"):
            await self._vm.call("erlang", "exit", [process, Atom("kill")])
            await self._wait_gone(process)
        self._is_lifted = True

    async def _wait_laid(self) -> None:
        """Until it can hear the word: a VM may have to load `erl_eval` first, from disk."""
        ends_at = asyncio.get_running_loop().time() + _PATIENCE
        while await self._vm.call("erlang", "whereis", [Atom(_NAME)]) != self._process:
            if asyncio.get_running_loop().time() >= ends_at:
                raise BeamError("a latch does not come up in the node")
            await asyncio.sleep(_PAUSE)

    async def _wait_gone(self, process: object) -> None:
        """It takes far less than a millisecond; raises `BeamError` when it is still there."""
        ends_at = asyncio.get_running_loop().time() + _PATIENCE
        while asyncio.get_running_loop().time() < ends_at:
            if await self._vm.call("erlang", "is_process_alive", [process]) is not True:
                return
            await asyncio.sleep(_PAUSE)
        raise BeamError("a latch is still in the node")
