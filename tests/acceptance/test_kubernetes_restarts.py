"""A StatefulSet of real nodes takes its new cookie by evictions; the Kubernetes API is the tests' own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kubernetes.beam_pods import PodFleet, node_of, pod_fleet
from tests.support.orchestrator import evictor
from tests.support.parts import need
from tests.support.watch import watching

# Seconds on an idle machine; a loaded one may take its time.
pytestmark = pytest.mark.timeout(900)

PODS = 5


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodFleet]:
    """Five pods for all tests of this module."""
    need("erl", "erlc", "epmd")
    with pod_fleet(tmp_path_factory.mktemp("pods"), PODS) as made:
        yield made


@pytest.fixture
def five(shared: PodFleet) -> PodFleet:
    """The same, settled."""
    shared.settle()
    shared.fleet.begin_to_count()
    shared.pods.started.clear()
    shared.kubernetes.evictions.clear()
    return shared


def test_each_pod_is_evicted_once_and_no_link_between_running_nodes_goes(
    five: PodFleet, tmp_path
) -> None:
    """One at a time, by name; who is up loses nobody who is up, and a template is never touched."""
    before, fleet = five.fleet.current(), five.fleet
    template = (five.kubernetes.get("StatefulSet", "app") or {})["metadata"]["generation"]
    orchestrator = evictor(five.kubernetes, fleet.service, tmp_path / "one", "--once")
    with watching(fleet.mesh.nodes) as watch:
        rotation = fleet.rotate()
        orchestrator.start()
        fleet.until(rotation, "completed")
    names = [f"app-{number}" for number in range(PODS)]
    assert [name for name, _ in five.kubernetes.evictions] == names, orchestrator.output()
    assert five.pods.started == names
    five.settle()
    fleet.assert_uses(fleet.current(), retired=[before])
    fleet.assert_undisturbed()
    assert watch.longest < 1, watch.worst
    assert orchestrator.wait() == 0
    found = five.kubernetes.get("StatefulSet", "app") or {}
    assert found["metadata"]["generation"] == template
    assert before not in orchestrator.output()
    assert fleet.current() not in orchestrator.output()
    assert node_of("app-0") in orchestrator.output()
