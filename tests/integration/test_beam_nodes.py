"""The distribution protocol with real nodes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest

from rotator.beam import epmd
from rotator.beam.node import Address, Node, connect
from rotator.beam.terms import Atom, Charlist, text
from rotator.errors import (
    BeamError,
    CallFailed,
    NodeGone,
    NodeRefused,
    NodeTimedOut,
    NoSuchNode,
    NotABeamNode,
    WrongCookie,
)
from tests.support.beam import COOKIE, Program, free_port, need_erl, start_epmd, start_node

NAME = "one@127.0.0.1"
LONG = timedelta(seconds=60)


@pytest.fixture(scope="module")
def epmd_port() -> Iterator[int]:
    """A port mapper for these tests."""
    need_erl()
    port = free_port()
    program = start_epmd(port)
    yield port
    program.stop()


@pytest.fixture(scope="module")
def one(epmd_port: int) -> Iterator[Address]:
    """A node that they share."""
    program = start_node(NAME, epmd_port=epmd_port)
    yield Address(name=NAME, host="127.0.0.1", epmd_port=epmd_port)
    program.stop()


@contextlib.contextmanager
def node_of_its_own(
    name: str, *arguments: str, epmd_port: int
) -> Iterator[tuple[Program, Address]]:
    """A node that its test may break."""
    program = start_node(name, *arguments, epmd_port=epmd_port)
    try:
        yield program, Address(name=name, host="127.0.0.1", epmd_port=epmd_port)
    finally:
        program.stop()


async def joined(address: Address, cookie: str = COOKIE) -> Node:
    """A connection, however slow the machine is."""
    return await connect(address, cookie, timeout=LONG)


async def test_a_node_gives_a_hidden_node_its_name(one: Address) -> None:
    """The peer lists us under the name that it gave, as hidden and not as visible."""
    async with await joined(one) as node:
        assert await node.call("erlang", "node", [], timeout=LONG) == NAME
        assert await node.call("erlang", "nodes", [Atom("hidden")], timeout=LONG) == [node.own_name]
        assert await node.call("erlang", "nodes", [], timeout=LONG) == []


async def test_terms_come_back_as_they_were_sent(one: Address) -> None:
    """Each kind of term survives the way there and back through a real node."""
    sent = [
        Atom("ä-atom"),
        [0, -1, 255, 2**31, -(2**63), 2**80, 1.5],
        b"binary",
        Charlist("text €"),
        [],
        (),
        {Atom("key"): (1, [2]), b"k": {}, 3: True},
    ]
    async with await joined(one) as node:
        assert await node.call("lists", "map", [await echo(node), sent], timeout=LONG) == sent
        assert text(await node.call("erlang", "atom_to_list", [Atom("abc")], timeout=LONG)) == "abc"


async def echo(node: Node) -> object:
    """A fun of the node's, which goes back as it came."""
    return (
        await node.call("erlang", "make_fun", [Atom("lists"), Atom("last"), 1])
        and (await node.call("erl_eval", "expr", [_fun(), []], timeout=LONG))[1]
    )  # type: ignore[index]


def _fun() -> object:
    """The abstract form of `fun(X) -> X end`."""
    x = (Atom("var"), 1, Atom("X"))
    clauses = [(Atom("clause"), 1, [x], [], [x])]
    return (Atom("fun"), 1, (Atom("clauses"), clauses))


async def test_a_wrong_cookie_is_told_apart(one: Address, caplog: pytest.LogCaptureFixture) -> None:
    """A node that has another cookie is WrongCookie, and nothing repeats the one we tried."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(WrongCookie) as caught:
        await joined(one, "TRIEDCOOKIE")

    assert "TRIEDCOOKIE" not in repr(caught.value) + str(caught.value) + caplog.text


async def test_a_pin_for_another_name_does_not_let_us_in(one: Address) -> None:
    """What counts is the node's own cookie, whatever it has pinned for other names."""
    async with await joined(one) as node:
        await node.call("erlang", "set_cookie", [Atom("two@127.0.0.1"), Atom("PINNED")])
        with pytest.raises(WrongCookie):
            await joined(one, "PINNED")
        async with await joined(one) as second:
            assert second.own_name != node.own_name


async def test_reconnecting_makes_no_atom_and_uses_one_name(one: Address) -> None:
    """Fifty connections, one after the other, are one name and no new atom in the node."""
    names, atoms = set(), []
    for _ in range(50):
        async with await joined(one) as node:
            names.add(node.own_name)
            count = await node.call("erlang", "system_info", [Atom("atom_count")], timeout=LONG)
            atoms.append(count)
        await until_alone(one, node.own_name)

    assert len(set(atoms[5:])) == 1
    assert len(names) <= 2  # the watcher of `until_alone` may hold the first one


async def until_alone(address: Address, name: str) -> None:
    """Wait until the node has seen that the connection named so is gone."""
    async with asyncio.timeout(60):
        while True:
            async with await joined(address) as watcher:
                seen = await watcher.call("erlang", "nodes", [Atom("hidden")], timeout=LONG)
            if watcher.own_name == name or name not in seen:  # type: ignore[operator]
                return


async def test_calls_run_side_by_side(one: Address) -> None:
    """A long call does not hold up those after it, and each gets its own answer."""
    async with await joined(one) as node:
        slow = asyncio.create_task(node.call("timer", "sleep", [60_000], timeout=LONG))
        numbers = range(200)
        answers = await asyncio.gather(
            *(node.call("erlang", "abs", [-number], timeout=LONG) for number in numbers)
        )
        assert not slow.done()
        slow.cancel()

    assert answers == list(numbers)


async def test_a_cancelled_call_leaves_nothing(one: Address) -> None:
    """Cancelled and late calls are forgotten, and the connection goes on."""
    async with await joined(one) as node:
        with pytest.raises(NodeTimedOut):
            await node.call("timer", "sleep", [300], timeout=timedelta(milliseconds=1))
        cancelled = asyncio.create_task(node.call("timer", "sleep", [300], timeout=LONG))
        await node.call("timer", "sleep", [1], timeout=LONG)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        await node.call("timer", "sleep", [600], timeout=LONG)

        assert node._calls == {}
        assert node.is_open


async def test_a_large_answer_arrives(one: Address) -> None:
    """A megabyte, as a binary, as a list and as a string."""
    async with await joined(one) as node:
        binary = await node.call("binary", "copy", [b"x", 1_000_000], timeout=LONG)
        listed = await node.call("lists", "seq", [1, 100_000], timeout=LONG)
        string = await node.call("lists", "duplicate", [500_000, 65], timeout=LONG)

    assert binary == b"x" * 1_000_000
    assert listed == list(range(1, 100_001))
    assert text(string) == "A" * 500_000


async def test_an_answer_beyond_the_bounds_fails_its_call_alone(one: Address) -> None:
    """A term that is too large is refused, and the connection serves the next call."""
    async with await joined(one) as node:
        with pytest.raises(BeamError):
            await node.call("lists", "duplicate", [100_000, (1, 2, 3)], timeout=LONG)
        assert await node.call("erlang", "abs", [-1], timeout=LONG) == 1


@pytest.mark.parametrize(
    ("module", "function", "args", "reason"),
    [
        ("no_such_module", "f", [b"CANARY"], "undef"),
        ("erlang", "atom_to_list", [b"CANARY"], "badarg"),
        ("erlang", "error", [Atom("CANARY")], "another reason"),
        ("erlang", "error", [(Atom("badmatch"), b"CANARY")], "badmatch"),
        ("erlang", "exit", [(Atom("CANARY"), Atom("badarg"))], "another reason"),
        ("lists", "nth", [Atom("CANARY"), []], "function_clause"),
    ],
)
async def test_a_failed_call_says_its_class_alone(
    one: Address, module: str, function: str, args: list[object], reason: str
) -> None:
    """An exception's class is told, its terms and the call's arguments are not."""
    async with await joined(one) as node:
        with pytest.raises(CallFailed) as caught:
            await node.call(module, function, args, timeout=LONG)

    assert caught.value.reason == reason
    assert "CANARY" not in repr(caught.value)


async def test_a_node_that_dies_ends_its_calls(epmd_port: int) -> None:
    """A node that is killed in the middle of a call is NodeGone, at once and from then on."""
    with node_of_its_own("dying@127.0.0.1", epmd_port=epmd_port) as (program, address):
        node = await joined(address)
        call = asyncio.create_task(node.call("timer", "sleep", [60_000], timeout=LONG))
        await node.call("erlang", "node", [], timeout=LONG)
        program.process.kill()
        with pytest.raises(NodeGone):
            await call
        await node.wait_closed()
        assert not node.is_open
        with pytest.raises(NodeGone):
            await node.call("erlang", "node", [])
        await node.close()


async def test_a_node_that_stands_still_costs_the_timeout(epmd_port: int) -> None:
    """Calls to, and connections with, a stopped process end with NodeTimedOut."""
    with node_of_its_own("still@127.0.0.1", epmd_port=epmd_port) as (program, address):
        async with await joined(address) as node:
            program.pause()
            with pytest.raises(NodeTimedOut):
                await node.call("erlang", "node", [], timeout=timedelta(seconds=1))
            with pytest.raises(NodeTimedOut):
                await connect(address, COOKIE, timeout=timedelta(seconds=1))


async def test_ticks_keep_the_connection(epmd_port: int) -> None:
    """A node that drops whoever is silent for four seconds keeps us for twelve without a call."""
    with node_of_its_own(
        "ticking@127.0.0.1", *("-kernel", "net_ticktime", "4"), epmd_port=epmd_port
    ) as (_, address):
        async with await joined(address) as node:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(node.wait_closed(), 12)
            assert await node.call("erlang", "node", [], timeout=LONG) == address.name


async def test_a_node_with_short_names_is_joined(epmd_port: int) -> None:
    """Short names are served as long ones are."""
    program = start_node("short@localhost", epmd_port=epmd_port, long_names=False)
    try:
        address = Address(name="short@localhost", host="127.0.0.1", epmd_port=epmd_port)
        async with await joined(address) as node:
            assert await node.call("erlang", "node", [], timeout=LONG) == "short@localhost"
    finally:
        program.stop()


async def test_a_fixed_port_needs_no_epmd() -> None:
    """A node without epmd is reached by its port."""
    need_erl()
    port = str(free_port())
    program = start_node(
        "fixed@127.0.0.1",
        *("-start_epmd", "false", "-erl_epmd_port", port),
        *("-kernel", "inet_dist_listen_min", port, "inet_dist_listen_max", port),
    )
    try:
        address = Address(name="fixed@127.0.0.1", host="127.0.0.1", port=int(port))
        async with await joined(address) as node:
            assert await node.call("erlang", "node", [], timeout=LONG) == address.name
    finally:
        program.stop()


async def test_another_node_at_the_port_is_not_the_one(one: Address, epmd_port: int) -> None:
    """A node that answers under another name is NoSuchNode, before the cookie is used."""
    port = await epmd.port_of("one", host="127.0.0.1", epmd_port=epmd_port, timeout=LONG)
    with pytest.raises(NoSuchNode):
        await joined(Address(name="two@127.0.0.1", host="127.0.0.1", port=port))


async def test_epmd_that_does_not_know_the_node_says_so(epmd_port: int) -> None:
    """A name that nobody registered is NoSuchNode."""
    with pytest.raises(NoSuchNode):
        await epmd.port_of("nobody", host="127.0.0.1", epmd_port=epmd_port, timeout=LONG)


async def test_where_nobody_listens_is_refused() -> None:
    """A closed port is NodeRefused, for the node as for its epmd."""
    closed = free_port()
    with pytest.raises(NodeRefused):
        await joined(Address(name=NAME, host="127.0.0.1", port=closed))
    with pytest.raises(NodeRefused, match="epmd"):
        await joined(Address(name=NAME, host="127.0.0.1", epmd_port=closed))


async def test_a_node_that_allows_others_alone_refuses(epmd_port: int) -> None:
    """A node whose `net_kernel:allow/1` leaves us out is NodeRefused, and not a wrong cookie."""
    with node_of_its_own("choosy@127.0.0.1", epmd_port=epmd_port) as (_, address):
        async with await joined(address) as node:
            await node.call("net_kernel", "allow", [[Atom("x@elsewhere.org")]], timeout=LONG)
            with pytest.raises(NodeRefused):
                await joined(address)


async def test_epmd_is_not_a_node(epmd_port: int) -> None:
    """A server of another protocol that hangs up is NotABeamNode."""
    with pytest.raises(NotABeamNode):
        await joined(Address(name=NAME, host="127.0.0.1", port=epmd_port))
