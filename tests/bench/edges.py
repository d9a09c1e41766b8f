"""What honest requests take while a thousand connections are left half open, and in a flood."""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import local_place
from tests.bench.measure import row
from tests.support.service import Service

CLUSTER = "orders"
HALF_OPEN = 1000
FLOODING = 32
CALM_SECONDS = 5.0
FLOOD_SECONDS = 10.0
#: The promise is 15; what is still open then is counted, not waited for.
CUT_SECONDS = 20.0
PAUSE = 0.02


def _get(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def half_open(token: str) -> list[bytes]:
    """What is sent before nothing more comes, each of another kind."""
    post = f"POST /v1/clusters/{CLUSTER}/rotations HTTP/1.1\r\nHost: x\r\n".encode()
    known = f"Authorization: Bearer {token}\r\n".encode()
    return [
        b"",
        b"GET /v1/clus",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ",
        post + known + b"Content-Length: 99\r\n\r\n{",
        post + b"Content-Length: 99\r\n\r\n{",
        post + known + b"Transfer-Encoding: chunked\r\n\r\n40\r\n{",
        _get("/openapi.json", token) * 40,  # and nobody reads the answers
        _get("/v1/clusters", token) + b"\r\n",
    ]


async def ask(port: int, request: bytes) -> float:
    """Seconds of one honest request over a connection of its own."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = await asyncio.wait_for(reader.read(), 30)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"an honest request was answered {answer[-300:]!r}")
        return time.perf_counter() - began
    finally:
        writer.close()


async def honest(
    port: int, request: bytes, *, until: Callable[[], Awaitable[object]]
) -> list[float]:
    """What honest requests take, one after the other, as long as *until* runs."""
    ending = asyncio.ensure_future(until())
    took = []
    while not ending.done():
        took.append(await ask(port, request))
        await asyncio.sleep(PAUSE)
    await ending
    return took


async def _connect(port: int, sent: bytes) -> socket.socket:
    loop = asyncio.get_running_loop()
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.setblocking(False)
    await loop.sock_connect(made, ("127.0.0.1", port))
    with suppress(OSError, TimeoutError):
        await asyncio.wait_for(loop.sock_sendall(made, sent), 1)
    return made


def _established(port: int) -> int:
    """The server's ends of connections that it has not closed, as the kernel has them."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = (row.split()[1:4:2] for row in rows)
    return sum(1 for local, state in ends if int(local.split(":")[1], 16) == port and state == "01")


async def slow(port: int, token: str) -> tuple[list[float], float, int]:
    """Honest requests; seconds until the last half-open connection was cut; how many were not."""
    cut_at = [0.0]
    kinds = half_open(token)

    async def attack() -> list[socket.socket]:
        made = [await _connect(port, kinds[n % len(kinds)]) for n in range(HALF_OPEN)]
        began = time.perf_counter()
        while (left := _established(port)) > 1 and time.perf_counter() - began < CUT_SECONDS:
            await asyncio.sleep(0.1)
        cut_at[:] = [time.perf_counter() - began, max(left - 1, 0)]
        for one in made:
            one.close()
        return made

    took = await honest(port, _get(f"/v1/clusters/{CLUSTER}", token), until=attack)
    return took, cut_at[0], int(cut_at[1])


async def flood(port: int, node: str, token: str) -> tuple[list[float], int]:
    """A node's requests while others ask as fast as they can; how often those were answered."""
    count = [0]

    async def one(request: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ends_at = time.perf_counter() + FLOOD_SECONDS
        while time.perf_counter() < ends_at:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line[15:])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            await reader.readexactly(length)
            count[0] += 1
        writer.close()

    async def attack() -> None:
        guess = _get("/v1/clusters", f"rot_AAAAAAAAAAAA_{'0' * 43}")
        known = _get(f"/v1/clusters/{CLUSTER}", token)
        await asyncio.gather(*(one((guess, known)[n % 2]) for n in range(FLOODING)))

    return await honest(port, node.encode(), until=attack), count[0]


async def calm(port: int, request: bytes) -> list[float]:
    """The same with nobody else there."""
    return await honest(port, request, until=lambda: asyncio.sleep(CALM_SECONDS))


def p99(values: list[float]) -> float:
    """Seconds that 99 of 100 stayed below."""
    return statistics.quantiles(values, n=100)[98]


def figures(directory: Path) -> list[dict[str, Any]]:
    """Of a real process with the local store, over loopback."""
    directory.mkdir()
    service = Service(
        directory,
        local_place(directory).settings,
        {CLUSTER: {"members": {"expect": "none"}}},
    )
    service.start()
    try:
        service.initialise(CLUSTER)
        token = service.token("operator", clusters=(CLUSTER,))
        node = service.token("node", nodes="rabbit@a")
        mine = _get(f"/v1/clusters/{CLUSTER}", token)
        its = _get(f"/v1/clusters/{CLUSTER}/cookie?node=rabbit@a", node)
        before = asyncio.run(calm(service.port, mine))
        during, cut_at, left = asyncio.run(slow(service.port, token))
        of_node = asyncio.run(calm(service.port, its))
        flooded, answered = asyncio.run(flood(service.port, its.decode(), token))
    finally:
        service.stop()
    alone = "the same with nobody else there"
    print(
        f"{HALF_OPEN} half-open connections: the last was cut after {cut_at:.1f} s, {left} were not;"
        f" flood: {answered / FLOOD_SECONDS:.0f} requests a second"
    )
    return [
        row(f"p99 beside {HALF_OPEN} half open", p99(during), p99(before), "s", alone),
        row("p99 of a node in a flood", p99(flooded), p99(of_node), "s", alone),
    ]
