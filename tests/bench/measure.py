"""What every benchmark measures with."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.support import openbao

RUNS = 7
#: A rotation without members, as few calls as it can be: read, write and read back, three times.
FLOOR_CALLS = 3


def timed(call: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def row(name: str, ours: float, floor: float, unit: str, against: str) -> dict[str, Any]:
    """One line of the report."""
    ratio = ours / floor
    return {
        "name": name,
        "ours": ours,
        "floor": floor,
        "ratio": ratio,
        "unit": unit,
        "against": against,
    }


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB (10**6 bytes)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / 1e6


def bare_python(code: str) -> subprocess.Popen[bytes]:
    """A Python that has imported this and waits."""
    child = subprocess.Popen(
        [sys.executable, "-c", f"{code}\nprint(1, flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


def end(child: subprocess.Popen[bytes]) -> None:
    """Let a bare Python go."""
    child.communicate(b"\n")


def floor_of_a_rotation(prefix: str) -> float:
    """The calls to OpenBao that no rotation can do without, by a client that keeps its connection."""
    server = openbao.shared()
    url = f"{server.address}/v1/secret/data/{prefix}/floor"
    headers = {"X-Vault-Token": server.root_token}
    with httpx.Client(headers=headers, trust_env=False) as client:

        def once() -> None:
            for _ in range(FLOOR_CALLS):
                client.get(url)
                client.post(url, json={"data": {"cookie": "x" * 43}}).raise_for_status()
                client.get(url).raise_for_status()

        once()
        return statistics.median(timed(once) for _ in range(RUNS))
