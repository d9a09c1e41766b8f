"""``make bench``: rotation, start, memory and key stretching, beside what they cannot be below.

Every figure is a median of several runs; a ratio above 1 says how much more than its floor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from rotator.adapters.derivation import Stretcher, profile
from rotator.domain.master import MasterSecret
from rotator.ports.master_store import Epoch
from tests.acceptance.conftest import Place, vault_place
from tests.bench import agent, edges, replicas
from tests.bench.measure import (
    FLOOR_CALLS,
    RUNS,
    bare_python,
    end,
    floor_of_a_rotation,
    resident_mb,
    row,
    timed,
)
from tests.support.service import Service, wait_for

CLUSTER = "orders"
IMPORTS = "import fastapi, uvicorn, sqlalchemy.ext.asyncio, aiosqlite, hvac, structlog, apscheduler"


def key_stretching() -> dict[str, Any]:
    """Argon2id, RFC 9106's second recommended option, beside Debian's C program."""
    epoch = Epoch(
        secret=MasterSecret(secrets.token_bytes(32)),
        salt=secrets.token_bytes(16),
        kdf=profile("argon2id", "rfc9106-low-memory"),
        opened_for="bench",
    )
    stretcher = Stretcher()
    program = shutil.which("argon2")
    if program is None:
        raise SystemExit("the program argon2 is missing; `make bench` installs it where it may")
    command = [
        program,
        epoch.salt.hex(),
        "-id",
        "-t",
        "3",
        "-k",
        "65536",
        "-p",
        "4",
        "-l",
        "32",
        "-r",
    ]
    ours, theirs = [], []
    asyncio.run(stretcher.stretch(epoch))
    for _ in range(RUNS):
        ours.append(timed(lambda: asyncio.run(stretcher.stretch(epoch))))
        theirs.append(
            timed(
                lambda: subprocess.run(
                    command, input=epoch.secret.reveal(), capture_output=True, check=True
                )
            )
        )
    stretcher.close()
    return row(
        "key stretching",
        statistics.median(ours),
        statistics.median(theirs),
        "s",
        "argon2 (C program, whole process)",
    )


def rotate(service: Service) -> float:
    """Seconds from the request to `completed`, as a client sees them."""

    def once() -> None:
        body = {"kind": "manual", "reason": "bench"}
        rotation = service.request("POST", f"clusters/{CLUSTER}/rotations", json=body).json()
        wait_for(
            "completed", lambda: service.rotation(CLUSTER, rotation["id"])["phase"] == "completed"
        )

    return timed(once)


def make_service(directory: Path) -> tuple[Service, Place]:
    """A service on a real OpenBao, with the default key derivation."""
    place = vault_place(directory)
    clusters = {
        CLUSTER: {
            "grace_window": "0",
            "max_rotations_per_hour": 1000,
            "members": {"expect": "none"},
        }
    }
    return Service(directory, place.settings, clusters, kdf_profile="rfc9106-low-memory"), place


def service_figures(directory: Path) -> list[dict[str, Any]]:
    """Start, memory and rotations of the real process."""
    service, place = make_service(directory)
    service.start()
    service.initialise(CLUSTER)
    service.stop()
    starts, floors, firsts = [], [], []
    for _ in range(RUNS):
        starts.append(timed(service.start))
        firsts.append(rotate(service))
        service.stop()
        floors.append(timed(lambda: end(bare_python(IMPORTS))))
    service.start()
    time.sleep(3)
    assert service.process is not None
    idle = resident_mb(service.process.pid)
    bare = bare_python(IMPORTS)
    imported = resident_mb(bare.pid)
    end(bare)
    rotate(service)
    later = [rotate(service) for _ in range(RUNS)]
    service.stop()
    floor = floor_of_a_rotation(place.settings["prefix"])
    calls = f"{FLOOR_CALLS} times read, write, read back on the same OpenBao"
    imports = "Python that only imports the libraries"
    return [
        row("first rotation after a start", statistics.median(firsts), floor, "s", calls),
        row("rotation after that", statistics.median(later), floor, "s", calls),
        row(
            "start until ready", statistics.median(starts), statistics.median(floors), "s", imports
        ),
        row("idle memory", idle, imported, "MB", imports),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("-o", choices=["table", "json"], default="table", dest="output")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rotator-bench-") as place:
        here = Path(place)
        (here / "service").mkdir()
        rows = [
            *service_figures(here / "service"),
            key_stretching(),
            *agent.figures(here),
            *edges.figures(here / "edges"),
            *replicas.figures(here / "replicas"),
        ]
    if chosen.output == "json":
        print(json.dumps(rows, indent=2))
        return
    print(f"{'':<30}{'ours':>10}{'floor':>10}{'ratio':>8}  against (median of {RUNS})")
    for r in rows:
        print(
            f"{r['name']:<30}{r['ours']:>8.3f} {r['unit']:<2}{r['floor']:>7.3f} {r['unit']:<2}"
            f"{r['ratio']:>6.2f}  {r['against']}"
        )


if __name__ == "__main__":
    main()
