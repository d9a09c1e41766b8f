from __future__ import annotations

import asyncio
import random
import tracemalloc
from datetime import timedelta

import pytest

from rotator.beam import epmd
from rotator.beam import node as nodes
from rotator.beam.node import Address, connect
from rotator.errors import (
    BeamError,
    BeamProtocolError,
    NodeGone,
    NodeRefused,
    NodeTimedOut,
    NoSuchNode,
    NotABeamNode,
    WrongCookie,
)
from tests.support.peer import (
    ACK,
    ANSWER,
    CHALLENGE,
    COOKIE,
    NAME,
    STATUS,
    Lie,
    Peer,
    only,
    serving,
)

LONG = timedelta(seconds=30)
SHORT = timedelta(milliseconds=200)


def address(peer: Peer) -> Address:
    """Where the peer listens."""
    return Address(name=NAME, host="127.0.0.1", port=peer.port)


async def talk(peer: Peer, timeout: timedelta = LONG) -> object:
    """Connect and make one call."""
    async with await connect(address(peer), COOKIE, timeout=timeout) as node:
        return await node.call("net_adm", "ping", [], timeout=timeout)


async def test_an_honest_peer_is_understood() -> None:
    """Handshake, call and answer, without a real node."""
    async with serving(Peer()) as peer:
        assert await talk(peer) == "pong"


def framed(message: bytes) -> bytes:
    """A message of the handshake with its length."""
    return len(message).to_bytes(2, "big") + message


@pytest.mark.parametrize(
    ("stage", "instead", "error"),
    [
        (STATUS, None, NotABeamNode),
        (STATUS, framed(b"snok"), NodeRefused),
        (STATUS, framed(b"snot_allowed"), NodeRefused),
        (STATUS, framed(b"salive"), NodeRefused),
        (STATUS, framed(b"sok"), BeamProtocolError),
        (STATUS, framed(b"snamed:\xff\xffx"), BeamProtocolError),
        (STATUS, framed(b"hello"), NotABeamNode),
        (STATUS, framed(b""), NotABeamNode),
        (CHALLENGE, None, NodeGone),
        (CHALLENGE, framed(b"N" + bytes(18)), BeamProtocolError),
        (CHALLENGE, framed(b"N" + b"\xff" * 16 + b"\0\1x"), NoSuchNode),
        (ACK, None, WrongCookie),
        (ACK, framed(b"a" + bytes(16)), WrongCookie),
        (ACK, framed(b"a"), BeamProtocolError),
        (ANSWER, None, NodeGone),
        (ANSWER, b"\xff\xff\xff\xff", BeamProtocolError),
        (ANSWER, b"\0\0\0\1x", BeamProtocolError),
        (ANSWER, b"\0\0\0\6p\x83h\3a\2", BeamProtocolError),
    ],
)
async def test_each_stage_has_its_error(
    stage: str, instead: bytes | None, error: type[BeamError]
) -> None:
    """What a peer says or leaves unsaid at each stage is told apart."""
    async with serving(Peer(only(stage, instead))) as peer:
        with pytest.raises(error):
            await talk(peer)


async def test_a_web_server_is_no_beam_node() -> None:
    """A server that answers with an HTTP error and hangs up is NotABeamNode."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotABeamNode):
            await connect(Address(name=NAME, host="127.0.0.1", port=port), COOKIE, timeout=LONG)
    finally:
        server.close()


async def test_the_cookie_is_not_used_with_another_node() -> None:
    """A peer that answers under another name gets no digest."""
    lie = only(CHALLENGE, framed(b"N" + b"\xff" * 16 + b"\0\1x"))
    async with serving(Peer(lie)) as peer:
        with pytest.raises(NoSuchNode):
            await talk(peer)
        assert len(peer.heard) == 1


async def test_a_wrong_cookie_is_nowhere_in_the_error() -> None:
    """A peer with another cookie is WrongCookie, and the error's chain does not hold ours."""
    async with serving(Peer(cookie="OTHER")) as peer:
        with pytest.raises(WrongCookie) as caught:
            await talk(peer)
    chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert COOKIE not in repr(chain) + "".join(map(str, chain))


@pytest.mark.parametrize("stage", [STATUS, CHALLENGE, ACK, ANSWER])
async def test_silence_costs_the_timeout_and_nothing_more(stage: str) -> None:
    """A peer that says nothing more is NodeTimedOut, and its connection is closed."""
    async with serving(Peer(only(stage, b""))) as peer:
        with pytest.raises(NodeTimedOut):
            await talk(peer, SHORT)
        await until(lambda: peer.connections == 0)


async def until(holds: object) -> None:
    """Wait for a condition, generously."""
    assert callable(holds)
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


def mutations(seed: int) -> Lie:
    """One of the messages is damaged, in a way that the seed decides."""
    chance = random.Random(seed)
    stage = chance.choice([STATUS, CHALLENGE, ACK, ANSWER])

    def lie(at: str, message: bytes) -> bytes | None:
        if at != stage:
            return message
        raw = bytearray(message)
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(raw) + 1)
            raw[place : place + chance.choice([0, 1, 1, 4])] = chance.randbytes(
                chance.randint(0, 4)
            )
        return bytes(raw)

    return lie


@pytest.mark.parametrize("block", range(4))
async def test_damaged_messages_end_in_an_answer_or_an_error(block: int) -> None:
    """Mutated recordings of every stage never raise anything but BeamError, and never hang."""
    for seed in range(block * 100, block * 100 + 100):
        async with serving(Peer(mutations(seed))) as peer:
            try:
                async with asyncio.timeout(30):
                    await talk(peer, timedelta(milliseconds=100))
            except BeamError:
                pass
    assert {task for task in asyncio.all_tasks() if "Node" in repr(task)} == set()


async def test_a_flood_takes_no_memory_and_no_turn() -> None:
    """Ticks, unknown messages and answers to nobody, without end, leave memory as it was."""
    noise = bytes(4000) + b"\0\0\0\6p\x83h\2a\1"

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer()
        talking = asyncio.create_task(peer.serve(reader, writer))
        await until(lambda: len(peer.heard) == 2)
        for _ in range(2000):
            writer.write(noise)
            await writer.drain()
        await talking

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        at = Address(name=NAME, host="127.0.0.1", port=port)
        async with await connect(at, COOKIE, timeout=LONG) as node:
            tracemalloc.start()
            answers = [await node.call("net_adm", "ping", [], timeout=LONG) for _ in range(20)]
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert answers == ["pong"] * 20
            assert peak < 4 * 1024 * 1024
    finally:
        server.close()


async def test_an_idle_connection_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing was sent for a while, an empty message is."""
    monkeypatch.setattr(nodes, "TICK_AFTER", 0.15)
    async with serving(Peer()) as peer, await connect(address(peer), COOKIE, timeout=LONG):
        await until(lambda: peer.heard.count(b"") >= 2)


async def test_a_peer_that_falls_silent_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a sign of life the connection ends by itself."""
    monkeypatch.setattr(nodes, "SILENCE", 0.1)
    async with serving(Peer()) as peer:
        node = await connect(address(peer), COOKIE, timeout=LONG)
        await node.wait_closed()
        with pytest.raises(NodeGone, match="silent"):
            await node.call("net_adm", "ping", [])
        await node.close()


async def test_closing_ends_the_calls() -> None:
    """Calls under way raise NodeGone when the connection is closed here, and closing twice is fine."""
    async with serving(Peer(only(ANSWER, b""))) as peer:
        node = await connect(address(peer), COOKIE, timeout=LONG)
        call = asyncio.create_task(node.call("net_adm", "ping", [], timeout=LONG))
        await until(lambda: len(peer.heard) == 3)
        await node.close()
        await node.close()
        with pytest.raises(NodeGone):
            await call
        assert COOKIE not in repr(node) + repr(vars(node))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", BeamProtocolError),
        (b"w\0", BeamProtocolError),
        (b"HTTP/1.1 400", BeamProtocolError),
        (b"w\1", NoSuchNode),
        (b"w\0\x1f\x90M\0\0\5\0\5", BeamProtocolError),
    ],
)
async def test_what_is_no_epmd_is_told_apart(answer: bytes, error: type[BeamError]) -> None:
    """A port mapper that knows nothing, knows old nodes alone, or is something else."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(error):
            await epmd.port_of("peer", host="127.0.0.1", epmd_port=port, timeout=LONG)
    finally:
        server.close()
