"""A mesh that takes its new cookie by restarts: one node at a time, and nobody up loses anybody up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fleet import Fleet, fleet
from tests.support.parts import need
from tests.support.restarts import Orchestrator
from tests.support.watch import watching

# Seconds on an idle machine; a loaded one may take its time.
pytestmark = pytest.mark.timeout(900)

NODES = 5
ROLLOUT = {"soak": "0", "claim_ttl": "60s", "restart_timeout": "5m"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Five nodes for all tests of this module."""
    need("erl", "erlc", "epmd")
    directory = tmp_path_factory.mktemp("fleet")
    with fleet(directory, NODES, adoption="restart", rollout=ROLLOUT) as made:
        yield made


@pytest.fixture
def five(shared: Fleet) -> Fleet:
    """The same, settled."""
    shared.begin()
    return shared


def test_nodes_are_restarted_one_at_a_time_and_calls_go_on(five: Fleet) -> None:
    """Each node once, by name; no running node is touched before, and no link goes but its own."""
    before = five.current()
    orchestrator = Orchestrator(five)
    with watching(five.mesh.nodes) as watch:
        rotation = five.rotate()
        orchestrator.run(rotation)
        five.until(rotation, "completed")
    assert orchestrator.restarted == sorted(five.names)
    assert orchestrator.most_at_once <= 1
    five.settle()
    five.assert_uses(five.current(), retired=[before])
    five.assert_undisturbed()
    assert watch.longest < 1, watch.worst
