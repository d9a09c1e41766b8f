"""The agent beside OpenBao's own agent, which renders the same cookie into a file, and beside floors.

`bao agent` does less: it changes no running node and proves nothing. It is what whoever has a Vault
would take to bring a cookie into a file.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from rotator.agent import files
from rotator.beam.node import Address, connect
from rotator.beam.terms import Atom
from rotator.cli.demo.intruder import intruder
from rotator.errors import WrongCookie
from tests.bench.beside import NODES, Bench, bench
from tests.bench.measure import RUNS, bare_python, end, floor_of_a_rotation, row, timed
from tests.support import places
from tests.support.service import wait_for

IDLE_SECONDS = 30.0
EMERGENCIES = 5
BAO = "bao agent, which renders the same cookie"
CALLS = "the bare calls, one after another"


def figures(directory: Path) -> list[dict[str, Any]]:
    """Start, memory, rest, rotations and emergencies, each beside a peer or a floor of this run."""
    (directory / "agent").mkdir()
    with bench(directory / "agent") as made:
        return [*_starts(made), *_at_rest(made), *_rotations(made), *_emergencies(made)]


def _starts(made: Bench) -> list[dict[str, Any]]:
    agent = made.first
    ours, theirs, imports, bare = [], [], [], []

    def until_it_reports() -> float:
        """By the clock that both use: asking costs more time than there is to be measured."""
        before, begun = made.last_seen(agent.name), time.time()
        agent.start()
        wait_for("a report", lambda: made.last_seen(agent.name) > before)
        return _unix(made.last_seen(agent.name)) - begun

    for _ in range(RUNS):
        agent.stop()
        ours.append(until_it_reports())
        with ExitStack() as stack:
            theirs.append(timed(lambda: stack.enter_context(made.bao_agent())))
        imports.append(timed(lambda: end(bare_python("import rotator.agent.main"))))
        bare.append(timed(lambda: end(bare_python("import asyncio, ssl"))))
    middle = statistics.median
    python = "Python with asyncio and ssl"
    return [
        row(
            "agent: start to first report", middle(ours), middle(theirs), "s", f"{BAO}, to its file"
        ),
        row("agent: imports alone", middle(imports), middle(bare), "s", python),
    ]


def _memory_mb(pid: int) -> tuple[float, float]:
    """Resident and proportional memory of a process, in MB (10**6 bytes)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    found = {name: value for name, value, *_ in (line.split() for line in lines[1:])}
    return int(found["Rss:"]) * 1024 / 1e6, int(found["Pss:"]) * 1024 / 1e6


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads, as the scheduler counts it, in nanoseconds."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def _at_rest(made: Bench) -> list[dict[str, Any]]:
    with made.bao_agent() as bao:
        assert made.first.process is not None
        pids = (made.first.process.pid, bao)
        time.sleep(5)
        before = [_cpu_seconds(pid) for pid in pids]
        time.sleep(IDLE_SECONDS)
        ours, theirs = (
            100 * (_cpu_seconds(pid) - was) / IDLE_SECONDS
            for pid, was in zip(pids, before, strict=True)
        )
        (rss, pss), (bao_rss, bao_pss) = (_memory_mb(pid) for pid in pids)
    return [
        row("agent: resident memory", rss, bao_rss, "MB", BAO),
        row("agent: proportional memory", pss, bao_pss, "MB", BAO),
        row("agent: CPU at rest", ours, theirs, "%", f"{BAO}, asked every second"),
    ]


def _unix(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _at(rotation: dict[str, Any], kind: str) -> float:
    """When this fact of a rotation was written; Unix time."""
    return next(_unix(fact["at"]) for fact in rotation["facts"] if fact["kind"] == kind)


def _rotations(made: Bench) -> list[dict[str, Any]]:
    ours, theirs, whole = [], [], []
    cookie_file: Path = made.first.node["cookie_file"]
    with made.bao_agent():
        made.rotate()
        for _ in range(RUNS):
            begun = time.perf_counter()
            rotation = made.rotate()
            whole.append(time.perf_counter() - begun)
            promoted = _at(rotation, "VersionPromoted")
            cookie = cookie_file.read_text()
            wait_for("bao agent has it", lambda c=cookie: made.bao_file.read_text() == c)
            ours.append(cookie_file.stat().st_mtime - promoted)
            theirs.append(made.bao_file.stat().st_mtime - promoted)
    floor = floor_of_a_rotation(made.place.settings["prefix"]) + _floor_of_a_node(made)
    middle = statistics.median
    every = f"{BAO}, asked every second"
    return [
        row("promoted to the node's file", middle(ours), middle(theirs), "s", every),
        row(f"rotation with {NODES} nodes", middle(whole), floor, "s", CALLS),
    ]


def _floor_of_a_node(made: Bench) -> float:
    """Seconds: what no agent can do without, on a real node, by a client that keeps its connection.

    Two files written twice, each pair pinned twice and the own cookie set (all to what they are),
    two looks, one fresh handshake that is refused and one that is accepted.
    """
    name = made.nodes.names[0]
    cookie_file = made.nodes[name].cookie_file
    cookie = cookie_file.read_text()
    address = Address(name=name, host="127.0.0.1", epmd_port=made.ground.epmd_port)

    async def once() -> float:
        async with await connect(address, cookie) as node:
            begun = time.perf_counter()
            for peer in [*made.nodes.names[1:]] * 2:
                await node.call("erlang", "set_cookie", [Atom(peer), Atom(cookie)])
            await node.call("erlang", "set_cookie", [Atom(cookie)])
            for _ in range(2):
                files.replace(cookie_file, cookie, mode=0o400)
                files.replace(cookie_file.with_name("floor"), cookie, mode=0o400)
                await node.call("erlang", "get_cookie", [])
                await node.call("erlang", "nodes", [Atom("connected")])
            with suppress(WrongCookie):
                await connect(address, "not" + cookie)
            async with await connect(address, cookie):
                return time.perf_counter() - begun

    async def median() -> float:
        return statistics.median([await once() for _ in range(RUNS)])

    return asyncio.run(median())


def _emergencies(made: Bench) -> list[dict[str, Any]]:
    out, whole = [], []
    for _ in range(EMERGENCIES):
        cookie = made.nodes[made.nodes.names[0]].cookie_file.read_text()
        name = f"him{places.cookie()[:8]}@127.0.0.1"
        with intruder(made.ground, made.nodes.names, cookie=cookie, name=name) as him:
            begun, wall = time.perf_counter(), time.time()
            made.rotate("emergency")
            whole.append(time.perf_counter() - begun)
            found = him.intrusion()
            assert not found.links, "the intruder is still in"
            out.append(max(found.seen.values()) / 1000 - wall)
    floor = floor_of_a_rotation(made.place.settings["prefix"]) + _floor_of_a_node(made)
    middle = statistics.median
    return [
        row("emergency: intruder out", middle(out), floor, "s", CALLS),
        row("emergency: completed", middle(whole), floor, "s", CALLS),
    ]
