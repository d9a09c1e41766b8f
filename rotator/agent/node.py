"""The VM beside us, through the distribution protocol: read it, set it, and ask peers through it.

Everything about a peer is asked through the node's own mesh (`erpc`), so that the agent speaks to
no node but its own.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from rotator import failpoints
from rotator.agent import answers, listeners
from rotator.agent.files import cookie_of
from rotator.agent.pairs import View
from rotator.beam import node as beam
from rotator.beam.epmd import port_of
from rotator.beam.terms import Atom, Charlist, text
from rotator.domain.ids import NodeName
from rotator.errors import BeamError, BeamProtocolError, CallFailed, WrongCookie

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from rotator.domain.cookie import Cookie

_PEER_MS: Final = 2000  #: for what is asked of a peer
_CONNECT: Final = timedelta(seconds=15)  #: OTP gives a connection net_setuptime, 7 s, by default


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a VM says of its cookies and links."""

    own: Cookie
    pins: Mapping[NodeName, Cookie]
    links: Mapping[NodeName, bool]  #: connected → is it hidden; without our own connection


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What does not change while a VM runs."""

    name: str
    otp_release: str
    arguments: Sequence[tuple[str, tuple[str, ...]]] = field(repr=False)
    has_pins: bool  #: OTP 24.1 and later
    is_rabbit: bool
    is_hidden: bool  #: started with ``-hidden``: every link of it is
    os_pid: int


class Vm:
    """One node; reconnects by itself when asked to. No method raises for a peer's silence."""

    def __init__(self, address: beam.Address, *, cookie_file: Path | None = None) -> None:
        self._address = address
        self._cookie_file = cookie_file  #: its owner is the node's user
        self._node: beam.Node | None = None
        self._about: About | None = None
        self._table: object = None

    async def reach(self, cookies: Iterable[Cookie]) -> bool:
        """Connect, trying what the VM may answer to in turn; whether it was open already.

        Raises `WrongCookie` when it answers to none of these, else as `rotator.beam.node.connect`.
        """
        if self._node is not None and self._node.is_open:
            return True
        self._node, self._about, self._table = None, None, None
        address = await self._found()
        for cookie in cookies:
            with suppress(WrongCookie):
                self._node = await beam.connect(address, cookie.reveal())
                return False
        raise WrongCookie

    async def _found(self) -> beam.Address:
        """Where it listens; raises `NodeRefused` where that is another user's program."""
        address = self._address
        port = address.port or await port_of(
            address.name.partition("@")[0],
            host=address.host,
            epmd_port=address.epmd_port,
            timeout=beam.PATIENCE,
        )
        users = {os.geteuid()}
        if self._cookie_file is not None:
            with suppress(OSError):
                users.add(self._cookie_file.stat().st_uid)
        listeners.require_ours(address.host, port, users=users)
        return replace(address, port=port)

    async def wait_closed(self) -> None:
        """Wait until the connection that is there now ends; without one that is never."""
        if self._node is None:
            await asyncio.get_running_loop().create_future()
        else:
            await self._node.wait_closed()

    async def close(self) -> None:
        """End the connection."""
        if self._node is not None:
            await self._node.close()

    async def accepts(self, cookie: Cookie) -> bool:
        """Whether a fresh handshake with this cookie succeeds; raises all but `WrongCookie`."""
        try:
            async with await beam.connect(await self._found(), cookie.reveal()):
                return True
        except WrongCookie:
            return False

    async def look(self) -> Table:
        """Own cookie, the rows of `cookies`, links: read from the running VM."""
        own, rows, connected, hidden = await asyncio.gather(
            self.call("erlang", "get_cookie", []),
            self._rows_of_cookies(),
            self.call("erlang", "nodes", [Atom("connected")]),
            self.call("erlang", "nodes", [Atom("hidden")]),
        )
        ours = {self._open().own_name, self._address.name}
        hides = set(answers.atoms(hidden))
        pins = {NodeName(name): cookie_of(cookie) for name, cookie in answers.rows(rows)}
        return Table(
            own=cookie_of(answers.atom(own)),
            pins={name: cookie for name, cookie in pins.items() if name not in ours},
            links={name: name in hides for name in answers.atoms(connected) if name not in ours},
        )

    async def _rows_of_cookies(self) -> object:
        """Every row of OTP's table of cookies; it is another table after `net_kernel` restarted."""
        if self._table is not None:
            with suppress(CallFailed):
                return await self.call("ets", "tab2list", [self._table])
        self._table = await self._table_of_cookies()
        return await self.call("ets", "tab2list", [self._table])

    async def _table_of_cookies(self) -> object:
        """The table named `cookies` that belongs to `auth` (auth.erl): it has no global name."""
        auth = await self.call("erlang", "whereis", [Atom("auth")])
        for table in await self.call("ets", "all", []):
            name, owner = await asyncio.gather(
                self.call("ets", "info", [table, Atom("name")]),
                self.call("ets", "info", [table, Atom("owner")]),
            )
            if name == Atom("cookies") and owner == auth:
                return table
        raise CallFailed("the node has no table of cookies: distribution is not up")

    async def about(self) -> About:
        """Asked once for each connection."""
        if self._about is None:
            self._about = await self._ask_about()
        return self._about

    async def _ask_about(self) -> About:
        name, release, arguments, has_pins, rabbit, pid = await asyncio.gather(
            self.call("erlang", "node", []),
            self.call("erlang", "system_info", [Atom("otp_release")]),
            self.call("init", "get_arguments", []),
            self.call("erlang", "function_exported", [Atom("erlang"), Atom("get_cookie"), 1]),
            self.call("erlang", "whereis", [Atom("rabbit")]),
            self.call("os", "getpid", []),
        )
        return About(
            name=answers.atom(name),
            otp_release=text(release),
            arguments=answers.arguments(arguments),
            has_pins=has_pins is True,
            is_rabbit=rabbit != Atom("undefined"),
            is_hidden=any(flag == "hidden" for flag, _ in answers.arguments(arguments)),
            os_pid=int(text(pid)),
        )

    async def environment(self, names: Iterable[str]) -> dict[str, Cookie]:
        """Those of these variables of the VM that are set."""
        wanted = list(names)
        values = await asyncio.gather(
            *(self.call("os", "getenv", [Charlist(name)]) for name in wanted)
        )
        found = zip(wanted, values, strict=True)
        return {name: cookie_of(text(value)) for name, value in found if value is not False}

    async def set_own(self, cookie: Cookie) -> None:
        """`erlang:set_cookie/1`: every link stays."""
        await self.call("erlang", "set_cookie", [Atom(cookie.reveal())])

    async def pin(self, pins: Mapping[NodeName, Cookie]) -> None:
        """`erlang:set_cookie/2` for each: connects nobody."""
        await asyncio.gather(
            *(
                self.call("erlang", "set_cookie", [Atom(peer), Atom(cookie.reveal())])
                for peer, cookie in pins.items()
            )
        )

    async def cut(self, names: Iterable[NodeName]) -> None:
        """`erlang:disconnect_node/1` for each."""
        await asyncio.gather(
            *(self.call("erlang", "disconnect_node", [Atom(name)]) for name in names)
        )

    async def hang_up(self) -> int:
        """End every handshake that is under way; how many there were."""
        waiting = answers.shaking_hands(await self.call("ets", "tab2list", [Atom("sys_dist")]))
        await asyncio.gather(
            *(self.call("erlang", "exit", [owner, Atom("kill")]) for owner in waiting)
        )
        return len(waiting)

    async def connections(self) -> dict[NodeName, bytes]:
        """Who is linked, each with the process that keeps this very connection."""
        rows = await self.call("ets", "tab2list", [Atom("sys_dist")])
        ours = self._open().own_name
        return {name: owner for name, owner in answers.linked(rows) if name != ours}

    async def views(self, peers: Iterable[NodeName]) -> dict[NodeName, View]:
        """What each linked peer's VM says; without those that do not answer in time."""
        names = sorted(peers)
        if not names:
            return {}
        me = Atom(self._address.name)
        owns, uses = await asyncio.gather(
            self._of_peers(names, "get_cookie", []), self._of_peers(names, "get_cookie", [me])
        )
        return {
            name: View(own=cookie_of(own), uses_for_me=cookie_of(used))
            for name, own, used in zip(names, owns, uses, strict=True)
            if own is not None and used is not None
        }

    async def _of_peers(
        self, peers: Sequence[NodeName], function: str, args: Sequence[object]
    ) -> list[Atom | None]:
        wanted = [[Atom(name) for name in peers], Atom("erlang"), Atom(function), list(args)]
        said = await self.call("erpc", "multicall", [*wanted, _PEER_MS])
        if not isinstance(said, list) or len(said) != len(peers):
            raise BeamProtocolError
        return [answers.ok(one) for one in said]

    async def move(self, peer: NodeName, cookie: Cookie) -> bool:
        """Set a pair on both VMs, hand in hand, the peer's first; whether both read back so."""
        me, wanted = Atom(self._address.name), Atom(cookie.reveal())
        try:
            await self._at(peer, "set_cookie", [me, wanted])
            failpoints.hit("Move", "after")  # of one side
            await self.call("erlang", "set_cookie", [Atom(peer), wanted])
            theirs = await self._at(peer, "get_cookie", [me])
        except CallFailed:
            return False
        return bool(theirs == wanted)

    async def _at(self, peer: NodeName, function: str, args: Sequence[object]) -> Any:  # noqa: ANN401
        call = [Atom(peer), Atom("erlang"), Atom(function), list(args), _PEER_MS]
        return await self.call("erpc", "call", call)

    async def link(self, peer: NodeName) -> bool:
        """`net_kernel:connect_node/1`; whether it is linked now."""
        try:
            answer = await self.call("net_kernel", "connect_node", [Atom(peer)], timeout=_CONNECT)
        except CallFailed:
            return False
        return answer is True

    async def is_ready_to_link(self) -> bool:
        """A RabbitMQ node that is paused or starts decides by itself whom it speaks to."""
        if not (await self.about()).is_rabbit:
            return True
        try:
            return await self.call("rabbit", "is_running", []) is True
        except CallFailed:
            return False

    @property
    def our_link(self) -> str:
        """The name under which the VM knows this connection."""
        return self._open().own_name

    def _open(self) -> beam.Node:
        if self._node is None:
            raise BeamError
        return self._node

    async def call(
        self,
        module: str,
        function: str,
        args: Sequence[object],
        *,
        timeout: timedelta = beam.PATIENCE,
    ) -> Any:  # noqa: ANN401 - a term
        """What a function returns in the VM; raises `BeamError`."""
        return await self._open().call(module, function, args, timeout=timeout)
