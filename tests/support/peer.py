"""A peer out of asyncio that speaks the distribution protocol, and lies where it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from rotator.beam import terms
from rotator.beam.handshake import FLAGS, digest
from rotator.beam.terms import Atom

NAME = "peer@127.0.0.1"
COOKIE = "CANARYCOOKIE"
GIVEN = b"given@127.0.0.1"

Lie = Callable[[str, bytes], bytes | None]
STATUS, CHALLENGE, ACK, ANSWER = "status", "challenge", "ack", "answer"


def honest(_: str, message: bytes) -> bytes | None:
    """Say everything as it is."""
    return message


def only(stage: str, instead: bytes | None) -> Lie:
    """Say `instead` at this stage, raw; None closes the connection, b"" is silence from then on."""
    return lambda at, message: instead if at == stage else message


class Silence(Exception):
    """From here on the peer reads and says nothing."""


@dataclass
class Peer:
    """Each message passes `lie` with its length; None from it closes the connection."""

    lie: Lie = honest
    cookie: str = COOKIE
    port: int = 0
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            with contextlib.suppress(Silence):
                await self._talk(reader, writer)
            while await reader.read(65536):
                pass
        except (OSError, EOFError):
            pass
        finally:
            self.connections -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(stage: str, message: bytes, width: int = 2) -> None:
            told = self.lie(stage, len(message).to_bytes(width, "big") + message)
            if told is None:
                raise EOFError
            if not told:
                raise Silence
            writer.write(told)

        async def hear(width: int = 2) -> bytes:
            size = int.from_bytes(await reader.readexactly(width), "big")
            self.heard.append(await reader.readexactly(size))
            return self.heard[-1]

        await hear()
        say(STATUS, b"snamed:" + struct.pack("!H", len(GIVEN)) + GIVEN + struct.pack("!I", 7))
        name = NAME.encode()
        say(CHALLENGE, struct.pack("!cQIIH", b"N", FLAGS, 42, 1, len(name)) + name)
        reply = await hear()
        if reply[5:] != digest(42, self.cookie):
            raise EOFError
        say(ACK, b"a" + digest(int.from_bytes(reply[1:5], "big"), self.cookie))
        while True:
            request = await hear(4)
            if request:
                say(ANSWER, answer_to(request), 4)


def answer_to(request: bytes, value: object = Atom("pong")) -> bytes:
    """The message with which `rex` answers this request."""
    control, message = request[1:].split(b"\x83", 2)[1:]
    sender = terms.decode(b"\x83" + control)
    asked = terms.decode(b"\x83" + message)
    assert isinstance(sender, tuple)
    assert isinstance(asked, tuple)
    to, call = asked[1]
    return b"p" + terms.encode((2, Atom(""), to)) + terms.encode((call, value))


@contextlib.asynccontextmanager
async def serving(peer: Peer) -> AsyncIterator[Peer]:
    """The peer at a free port of 127.0.0.1."""
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
