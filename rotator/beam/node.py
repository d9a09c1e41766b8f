"""A connection to one BEAM node, and calls over it."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from rotator.beam import epmd, handshake, rpc
from rotator.beam import wire as wires
from rotator.beam.terms import Opaque
from rotator.errors import BeamError, NodeGone

MAX_FRAME: Final = 8 * 1024 * 1024
TICK: Final = bytes(4)
TICKS_APART: Final = 0.1  # seconds; more often, ticks are not answered
TICK_AFTER: Final = 15.0  # seconds: a quarter of OTP's net_ticktime, 60 s
# A peer ticks every quarter of its own net_ticktime: this serves up to 20 minutes of it.
SILENCE: Final = 300.0
PATIENCE: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a node is.

    `name` is the node's full name; over TLS the certificate must be for its part after the @.
    Without `port`, the epmd at `host` is asked. With `tls` it is TLS distribution
    (`-proto_dist inet_tls`).
    """

    name: str
    host: str
    port: int | None = None
    epmd_port: int = epmd.DEFAULT_PORT
    tls: ssl.SSLContext | None = None


async def connect(address: Address, cookie: str, *, timeout: timedelta = PATIENCE) -> Node:
    """Join a node as a hidden node; both sides prove that they hold `cookie`.

    `timeout` is for all of it. Raises NoSuchNode, NodeRefused (and NodeTlsFailed), NotABeamNode,
    WrongCookie, NodeTimedOut, NodeGone, BeamProtocolError.
    """
    alive, _, domain = address.name.partition("@")
    began = asyncio.get_running_loop().time()
    port = address.port
    if port is None:
        port = await epmd.port_of(
            alive, host=address.host, epmd_port=address.epmd_port, timeout=timeout
        )
    left = timeout - timedelta(seconds=asyncio.get_running_loop().time() - began)
    async with wires.within(left, f"{address.name} did not answer in time"):
        wire = await wires.dial(address.host, port, tls=address.tls, tls_name=domain)
        try:
            us = await handshake.shake_hands(
                wire,
                peer=address.name,
                cookie=cookie,
                width=handshake.OVER_TLS if address.tls else handshake.PLAIN,
            )
        except BaseException:
            wire.abort()
            raise
    return Node(wire, us)


class Node:
    """An open connection. Many calls may be under way; `async with` closes it."""

    def __init__(self, wire: wires.Wire, us: handshake.Identity) -> None:
        self.own_name: str = us.name
        self._us = us
        self._wire = wire
        self._process = rpc.process(us)
        self._number = secrets.randbits(64)
        self._calls: dict[Opaque, asyncio.Future[rpc.Answer | None]] = {}
        self._lost: BeamError | None = None
        self._written_at = asyncio.get_running_loop().time()
        self._reading = asyncio.create_task(self._read())
        self._ticking = asyncio.create_task(self._tick())

    async def call(
        self,
        module: str,
        function: str,
        args: Sequence[object],
        *,
        timeout: timedelta = PATIENCE,
    ) -> object:
        """Apply a function in the node; what it returns, as in `terms`.

        A call that is cancelled or late may still run in the node. Raises CallFailed,
        NodeTimedOut, NodeGone, and BeamProtocolError for an answer that cannot be decoded.
        """
        call = self._next()
        message = rpc.request(module, function, args, sender=self._process, call=call)
        future: asyncio.Future[rpc.Answer | None] = asyncio.get_running_loop().create_future()
        async with wires.within(timeout, f"the call to {module}:{function} took too long"):
            try:
                self._calls[call] = future
                await self._send(message)
                answer = await future
            finally:
                del self._calls[call]
        if answer is None:
            raise self._error()
        return answer.result()

    @property
    def is_open(self) -> bool:
        """The connection stands, as far as is known here."""
        return self._lost is None

    async def close(self) -> None:
        """End the connection; calls under way raise NodeGone. Twice is the same as once."""
        self._end(NodeGone("the connection was closed here"))
        await self._wire.close()
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the connection ends, whoever ends it."""
        await asyncio.wait({self._reading})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _next(self) -> Opaque:
        self._number += 1
        return rpc.reference(self._us, self._number)

    async def _send(self, message: bytes) -> None:
        if self._lost:
            raise self._error()
        self._written_at = asyncio.get_running_loop().time()
        try:
            await self._wire.send(len(message).to_bytes(4, "big") + message)
        except NodeGone as gone:
            raise self._error() from gone

    def _error(self) -> BeamError:
        """Why the connection ended, as an error that was not raised before."""
        return type(self._lost)(str(self._lost)) if self._lost else NodeGone()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SILENCE) as silence:
                while True:
                    frame = await self._wire.frame(4, most=MAX_FRAME)
                    silence.reschedule(loop.time() + SILENCE)
                    self._take(frame)
        except BeamError as error:
            self._end(error)
        except TimeoutError:
            self._end(NodeGone("the node fell silent"))
        finally:
            self._end(NodeGone())

    def _take(self, frame: bytes) -> None:
        if not frame:
            self._send_tick()
            return
        answer = rpc.answer(frame, receiver=self._process)
        future = self._calls.get(answer.call) if answer else None
        if answer and future and not future.done():
            future.set_result(answer)

    async def _tick(self) -> None:
        """Tick when nothing was written for a while."""
        loop = asyncio.get_running_loop()
        while True:
            due_at = self._written_at + TICK_AFTER
            if due_at <= loop.time():
                self._send_tick()
                due_at = loop.time() + TICK_AFTER
            await asyncio.sleep(due_at - loop.time())

    def _send_tick(self) -> None:
        now = asyncio.get_running_loop().time()
        # Whoever does not read what was written before gets no ticks piled on top of it.
        if self._wire.is_idle and now - self._written_at >= TICKS_APART:
            self._wire.writer.write(TICK)
            self._written_at = now

    def _end(self, why: BeamError) -> None:
        if self._lost:
            return
        self._lost = why
        self._ticking.cancel()
        self._reading.cancel()
        self._wire.abort()
        for future in self._calls.values():
            if not future.done():
                future.set_result(None)
