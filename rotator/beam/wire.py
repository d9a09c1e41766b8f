"""A bounded stream to a peer, with the errors of sockets in the words of `rotator.errors`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from rotator.errors import (
    BeamProtocolError,
    NodeGone,
    NodeRefused,
    NodeTimedOut,
    NodeTlsFailed,
    NoSuchNode,
)

TLS_GOODBYE: Final = 1.0  # seconds that a peer has to answer the end of TLS


@contextlib.asynccontextmanager
async def within(timeout: timedelta, what: str) -> AsyncIterator[None]:
    """Raise NodeTimedOut with `what` when the body takes longer than `timeout`."""
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            yield
    except TimeoutError as late:
        raise NodeTimedOut(what) from late


@dataclass(frozen=True, slots=True)
class Wire:
    """One connection; reading raises NodeGone when the peer ends it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def frame(self, width: int, *, most: int) -> bytes:
        """The next bytes behind a length of `width` bytes; BeamProtocolError above `most`."""
        size = int.from_bytes(await self.exactly(width), "big")
        if size > most:
            raise BeamProtocolError("the node sent a larger message than is accepted")
        return await self.exactly(size)

    async def exactly(self, size: int) -> bytes:
        """The next `size` bytes."""
        try:
            return await self.reader.readexactly(size)
        except ssl.SSLError as refused:  # with TLS 1.3, our certificate is judged this late
            raise NodeTlsFailed from refused
        except (OSError, EOFError) as lost:
            raise NodeGone from lost

    async def send(self, data: bytes) -> None:
        """Write, and wait while the peer does not read."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError as lost:
            raise NodeGone from lost

    @property
    def is_idle(self) -> bool:
        """Everything written is with the kernel."""
        return not self.writer.is_closing() and not self.writer.transport.get_write_buffer_size()

    def abort(self) -> None:
        """Close now; what was not sent yet is dropped."""
        self.writer.transport.abort()

    async def close(self) -> None:
        """Close, in a bounded time."""
        self.writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(TLS_GOODBYE):
                await self.writer.wait_closed()
        self.abort()


async def dial(
    host: str, port: int, *, tls: ssl.SSLContext | None = None, tls_name: str = ""
) -> Wire:
    """Open a connection; over TLS the peer's certificate must be for `tls_name`.

    Raises NoSuchNode for an unknown host, NodeTlsFailed, and NodeRefused for all else.
    """
    try:
        reader, writer = await asyncio.open_connection(
            host,
            port,
            ssl=tls,
            server_hostname=tls_name if tls else None,
            ssl_shutdown_timeout=TLS_GOODBYE if tls else None,
        )
    except socket.gaierror as unknown:
        raise NoSuchNode(f"the host {host} is not known") from unknown
    except OSError as failed:
        if isinstance(failed, ssl.SSLError) or (tls and isinstance(failed, ConnectionResetError)):
            raise _tls_failed(failed) from failed
        raise NodeRefused(f"{host}:{port}: {_reason(failed)}") from failed
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return Wire(reader, writer)


def _tls_failed(error: OSError) -> NodeTlsFailed:
    if isinstance(error, ssl.SSLCertVerificationError):
        return NodeTlsFailed(f"the node's certificate is not trusted: {error.verify_message}")
    return NodeTlsFailed()


def _reason(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED or isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return error.strerror or "it cannot be reached"
