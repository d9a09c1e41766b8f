from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from rotator.errors import KubernetesAway
from rotator.kubernetes import KubernetesApi, Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
PIECE = b" " * 65_536


@asynccontextmanager
async def answering(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Place]:
    """A server that answers each request in this way."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Place(address=f"http://127.0.0.1:{port}", token_file=None, ca_cert=None)
        await ended.wait()


@pytest.mark.timeout(120)
async def test_an_answer_without_end_is_cut_while_it_is_read() -> None:
    """What is read is bounded, so that no server can fill the memory."""
    sent = 0
    cut = asyncio.Event()

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(HEAD + b"\r\n")
        try:
            while True:
                writer.write(PIECE)
                await writer.drain()
                sent += len(PIECE)
        finally:
            cut.set()

    async with answering(endless) as place:
        api = KubernetesApi(place, seconds=30)
        with pytest.raises(KubernetesAway):
            await api.get("/version")
        await cut.wait()
        await api.close()
    assert sent < 64 * 1024 * 1024


@pytest.mark.timeout(120)
async def test_an_answer_that_drips_has_an_end() -> None:
    """Each byte comes in time, and all of them would take for ever."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with answering(drip) as place:
        api = KubernetesApi(place, seconds=0.5)
        with pytest.raises(KubernetesAway, match="in time"):
            await api.get("/version")
        await api.close()


async def test_an_object_is_read_whole() -> None:
    """And in pieces as they come."""

    async def two(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b'content-length: 15\r\n\r\n{"kind":')
        await writer.drain()
        writer.write(b'"Pod" }')

    async with answering(two) as place:
        api = KubernetesApi(place, seconds=30)
        assert (await api.get("/x")).item == {"kind": "Pod"}
        await api.close()
