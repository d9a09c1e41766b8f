"""What honest requests take while a thousand connections are left half open, and in a flood."""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from tests.acceptance.conftest import local_place
from tests.bench.measure import row
from tests.support.fleet_agents import processor_seconds
from tests.support.service import Service

_T = TypeVar("_T")

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
        _get("/openapi.json", token),  # and nobody reads the answer
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


def _established(port: int) -> int:
    """The server's ends of connections that it has not closed, as the kernel has them."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = (row.split()[1:4:2] for row in rows)
    return sum(1 for local, state in ends if int(local.split(":")[1], 16) == port and state == "01")


def leave_half_open(port: int, token: str) -> tuple[float, int]:
    """Seconds until the last of them was cut, and how many were not; in a process of its own."""
    kinds = half_open(token)
    made = []
    for number in range(HALF_OPEN):
        one = socket.create_connection(("127.0.0.1", port))
        one.sendall(kinds[number % len(kinds)])
        made.append(one)
    began = time.perf_counter()
    # One is the honest client's, now and then.
    while (left := _established(port)) > 1 and time.perf_counter() - began < CUT_SECONDS:
        time.sleep(0.1)
    cut_at = time.perf_counter() - began
    for one in made:
        one.close()
    return cut_at, max(left - 1, 0)


def ask_without_end(port: int, token: str) -> int:
    """How often it was answered; in a process of its own."""
    count = [0]

    async def one(request: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ends_at = time.perf_counter() + FLOOD_SECONDS
        while time.perf_counter() < ends_at:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            count[0] += 1
        writer.close()

    async def attack() -> None:
        guess = _get("/v1/clusters", f"rot_AAAAAAAAAAAA_{'0' * 43}")
        known = _get(f"/v1/clusters/{CLUSTER}", token)
        await asyncio.gather(*(one((guess, known)[n % 2]) for n in range(FLOODING)))

    asyncio.run(attack())
    return count[0]


async def beside(
    attack: Callable[[int, str], _T], port: int, token: str, *, request: bytes
) -> tuple[list[float], _T]:
    """What honest requests take while another process attacks, and what that one tells."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        running = asyncio.get_running_loop().run_in_executor(pool, attack, port, token)

        async def until() -> None:
            await running

        return await honest(port, request, until=until), await running


async def calm(port: int, request: bytes) -> list[float]:
    """The same with nobody else there."""
    return await honest(port, request, until=lambda: asyncio.sleep(CALM_SECONDS))


def told(values: list[float]) -> str:
    """The middle, and what 99 of 100 stayed below."""
    return f"median {statistics.median(values) * 1000:.0f} ms, p99 {p99(values) * 1000:.0f} ms"


def p99(values: list[float]) -> float:
    """Seconds that 99 of 100 stayed below."""
    return statistics.quantiles(values, n=100)[98]


@contextmanager
def a_service(directory: Path) -> Iterator[Service]:
    """A real process with the local store, on loopback, and one cluster."""
    directory.mkdir()
    service = Service(
        directory,
        local_place(directory).settings,
        {CLUSTER: {"members": {"expect": "none"}}},
    )
    service.start()
    try:
        service.initialise(CLUSTER)
        yield service
    finally:
        service.stop()


def beside_half_open(service: Service) -> tuple[list[float], float, int]:
    """Seconds of honest requests beside them; until the last one was cut; how many were not."""
    token = service.token("operator", clusters=(CLUSTER,))
    mine = _get(f"/v1/clusters/{CLUSTER}", token)
    asking = beside(leave_half_open, service.port, token, request=mine)
    during, (cut_at, left) = asyncio.run(asking)
    return during, cut_at, left


def figures(directory: Path) -> list[dict[str, Any]]:
    """Of a real process with the local store, over loopback."""
    with a_service(directory) as service:
        token = service.token("operator", clusters=(CLUSTER,))
        node = service.token("node", nodes="rabbit@a")
        mine = _get(f"/v1/clusters/{CLUSTER}", token)
        its = _get(f"/v1/clusters/{CLUSTER}/cookie?node=rabbit@a", node)
        before = asyncio.run(calm(service.port, mine))
        assert service.process is not None
        spent = processor_seconds(service.process.pid)
        during, cut_at, left = beside_half_open(service)
        spent = processor_seconds(service.process.pid) - spent
        of_node = asyncio.run(calm(service.port, its))
        asking = beside(ask_without_end, service.port, token, request=its)
        flooded, answered = asyncio.run(asking)
    print(f"{HALF_OPEN} half open: the last was cut after {cut_at:.1f} s, {left} were not")
    print(f"processor time of the service meanwhile: {spent:.1f} s")
    print(f"honest beside them: {told(during)}; with nobody else there: {told(before)}")
    print(f"a node beside {answered / FLOOD_SECONDS:.0f} requests a second: {told(flooded)}")
    alone = "the same with nobody else there"
    return [
        row(f"p99 beside {HALF_OPEN} half open", p99(during), p99(before), "s", alone),
        row("p99 of a node in a flood", p99(flooded), p99(of_node), "s", alone),
    ]
