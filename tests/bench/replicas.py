"""How long nobody leads when the leader is told to end: promised are 2 s, the lease lasts 60."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.measure import RUNS, row, timed
from tests.support.replicas import Replicas, replicas
from tests.support.service import wait_for

LEASE = "60s"
POLICY = {"grace_window": "0", "members": {"expect": "none"}}


@contextmanager
def two(directory: Path) -> Iterator[Replicas]:
    """Two replicas on a real PostgreSQL, with one cluster."""
    directory.mkdir()
    store = {"kind": "local", "directory": str(directory / "secrets")}
    with replicas(directory, store, {"orders": POLICY}, count=2, lease=LEASE) as both:
        both.leader().initialise("orders")
        yield both


def hand_overs(both: Replicas) -> list[float]:
    """Seconds from SIGTERM to the next term, again and again."""
    return [_hand_over(both) for _ in range(RUNS)]


def figures(directory: Path) -> list[dict[str, Any]]:
    """From SIGTERM to the next term, with two replicas on a real PostgreSQL."""
    with two(directory) as both:
        found = hand_overs(both)
        floor = statistics.median(_floor(both) for _ in range(RUNS))
    against = "give a row back, tell it, take it: three statements on the same PostgreSQL"
    return [
        row("hand-over on SIGTERM", statistics.median(found), floor, "s", against),
        row("hand-over, the slowest", max(found), floor, "s", against),
    ]


def _hand_over(both: Replicas) -> float:
    """Seconds from the signal until the database has another term; the former leader is back."""
    leader = both.leader()
    fence, _ = both.holder()
    assert leader.process is not None
    with both.database.connect() as connection:

        def is_taken() -> bool:
            found = connection.execute("SELECT fence FROM lease WHERE holder IS NOT NULL")
            return bool(found.fetchone() not in {None, (fence,)})

        begun = time.perf_counter()
        leader.process.terminate()
        while not is_taken():
            time.sleep(0.001)
            assert time.perf_counter() - begun < 120, "nobody leads"
        lasted = time.perf_counter() - begun
    leader.wait_ended()
    leader.start()
    wait_for("the former leader follows", lambda: both.says(leader))
    return lasted


def _floor(both: Replicas) -> float:
    """The same statements by clients that do nothing else."""
    with both.database.connect() as one, both.database.connect() as other:
        one.execute("CREATE TABLE IF NOT EXISTS bench (term int, holder text)")
        other.execute("LISTEN bench")

        def once() -> None:
            one.execute("UPDATE bench SET holder = NULL")
            one.execute("NOTIFY bench")
            next(other.notifies(timeout=60))
            other.execute("UPDATE bench SET term = term + 1, holder = 'other'")

        return timed(once)
