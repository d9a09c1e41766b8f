"""Promises with a time in them, which no test of `make test` may hold a clock to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import edges, replicas
from tests.soak.__main__ import say, seconds

pytestmark = pytest.mark.timeout(600)


def test_half_open_connections_are_cut_in_time_and_harm_nobody(tmp_path: Path) -> None:
    """A thousand are closed within 15 s, and 99 of 100 honest requests stay under 250 ms."""
    with edges.a_service(tmp_path / "edges") as service:
        during, cut_at, left = edges.beside_half_open(service)
    say(f"{edges.HALF_OPEN} half open: last cut after, left", f"{cut_at:.1f} s, {left}")
    say("honest requests beside them", f"{len(during)}, {edges.told(during)}, {seconds(during)}")
    assert left == 0
    assert cut_at < 15
    assert edges.p99(during) < 0.25


def test_a_leader_that_is_told_to_end_hands_over_in_time(tmp_path: Path) -> None:
    """Another replica leads within 2 s of SIGTERM, each time, whatever the lease says."""
    with replicas.two(tmp_path / "replicas") as both:
        found = replicas.hand_overs(both)
    say("hand-over on SIGTERM", seconds(found))
    assert max(found) < 2
