"""A StatefulSet of real nodes takes its new cookie by evictions; the Kubernetes API is the tests' own."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.fleet import CLUSTER
from tests.support.kubernetes.beam_pods import PodFleet, node_of, pod_fleet
from tests.support.kubernetes.manifests import stateful_set
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


def test_orchestrators_die_at_random_and_each_pod_still_goes_once(five: PodFleet, tmp_path) -> None:
    """With OnDelete, and two copies of which one is killed again and again, nobody is restarted twice."""
    before, fleet = five.fleet.current(), five.fleet
    five.kubernetes.apply(stateful_set(PODS, strategy="OnDelete"))
    copies = [evictor(five.kubernetes, fleet.service, tmp_path / f"copy{n}") for n in range(2)]
    chance, deaths = random.Random(5), 0
    try:
        rotation = fleet.rotate()
        for copy in copies:
            copy.start()
        while fleet.service.rotation(CLUSTER, rotation)["phase"] != "completed":
            time.sleep(2 + 6 * chance.random())
            victim = copies[deaths % 2]
            victim.kill()
            victim.start()
            deaths += 1
    finally:
        for copy in copies:
            copy.kill()
    evicted = Counter(name for name, code in five.kubernetes.evictions if code == 201)
    assert evicted == {f"app-{number}": 1 for number in range(PODS)}
    assert deaths > 1
    five.settle()
    fleet.assert_uses(fleet.current(), retired=[before])
    fleet.assert_undisturbed()
