"""A StatefulSet of real nodes takes its new cookie by evictions; the Kubernetes API is the tests' own."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.fleet import CLUSTER, LONG
from tests.support.kubernetes.beam_pods import PodFleet, node_of, pod_fleet
from tests.support.kubernetes.manifests import budget, stateful_set
from tests.support.orchestrator import OrchestratorProcess, evictor
from tests.support.parts import need
from tests.support.restarts import configure, waits
from tests.support.service import wait_for
from tests.support.watch import watching

# Seconds on an idle machine; a loaded one may take its time.
pytestmark = pytest.mark.timeout(900)

PODS = 5
ROLLOUT = {"max_unavailable": 1, "restart_timeout": "5m"}
IS_FULL = os.environ.get("ROTATOR_TESTS") == "full"
SEEDS = range(10)
DEATHS = 12  #: then everybody lives, or a slow machine would only ever start things
#: What somebody has of a claim, until it is over.
BEGINS, ENDS = "RestartClaimed", ("RestartDone", "RestartFailed", "RestartClaimExpired")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodFleet]:
    """Five pods for all tests of this module."""
    need("erl", "erlc", "epmd")
    with pod_fleet(tmp_path_factory.mktemp("pods"), PODS) as made:
        yield made


@pytest.fixture
def five(shared: PodFleet) -> PodFleet:
    """The same, settled, with one pod at a time."""
    shared.kubernetes.apply(stateful_set(PODS), budget(maxUnavailable=1))
    configure(shared.fleet, **ROLLOUT)
    shared.begin()
    return shared


def each_once(five: PodFleet) -> dict[str, int]:
    """Every pod, once."""
    return dict.fromkeys(five.names, 1)


def is_completed(five: PodFleet, rotation: str) -> bool:
    """Whether it is."""
    return bool(five.fleet.service.rotation(CLUSTER, rotation)["phase"] == "completed")


def until_completed(five: PodFleet, rotation: str) -> None:
    """Longer than one phase may take: pods wait for each other, up to `node_ttl` each."""
    wait_for("it is completed", lambda: is_completed(five, rotation), seconds=8 * LONG)


def most_claimed(five: PodFleet, rotation: str) -> int:
    """How many pods were under claim at once."""
    most, under = 0, set[str]()
    for fact in five.fleet.facts(BEGINS, *ENDS):
        if fact["rotation"] == rotation:
            (under.add if fact["kind"] == BEGINS else under.discard)(fact["details"]["claim"])
            most = max(most, len(under))
    return most


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


def strike(
    five: PodFleet, copies: Sequence[OrchestratorProcess], *, seed: int, rotation: str
) -> Counter[str]:
    """Orchestrators, the service and nodes die at random moments until it is over, or often enough; how often each."""
    chance, died = random.Random(seed), Counter[str]()
    kinds = ["orchestrator", "service", "node"]
    chance.shuffle(kinds)
    while not is_completed(five, rotation) and died.total() < DEATHS:
        time.sleep(1 + 2 * chance.random())
        victim = kinds.pop() if kinds else chance.choice(("orchestrator", "service", "node"))
        if victim == "service":
            five.fleet.service.kill()
            five.fleet.service.start()
        elif victim == "node":
            five.pods.crash(chance.choice(five.names))
        else:
            copy = chance.choice(copies)
            copy.kill()
            copy.start()
        died[victim] += 1
    return died


@pytest.mark.skipif(not IS_FULL, reason="with ROTATOR_TESTS=full: it takes minutes")
@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_dies_at_random_moments_each_pod_goes_once(
    five: PodFleet, tmp_path: Path, seed: int
) -> None:
    """Orchestrators, the service and nodes: who is up loses nobody who is up, and no pod is evicted twice."""
    before, fleet = five.fleet.current(), five.fleet
    copies = [evictor(five.kubernetes, fleet.service, tmp_path / f"copy{n}") for n in range(2)]
    try:
        rotation = fleet.rotate()
        for copy in copies:
            copy.start()
        died = strike(five, copies, seed=seed, rotation=rotation)
        until_completed(five, rotation)
    finally:
        for copy in copies:
            copy.kill()
    print(f"seed {seed}: {dict(died)}")
    assert set(died) == {"orchestrator", "service", "node"}, died
    assert five.evicted() == each_once(five)
    assert Counter(five.pods.started) == each_once(five)
    assert most_claimed(five, rotation) == 1
    five.settle()
    fleet.assert_uses(fleet.current(), retired=[before])
    fleet.assert_undisturbed()


@pytest.mark.parametrize("management", ("Parallel", "OrderedReady")[: 1 + IS_FULL])
def test_two_pods_go_at_once_where_two_may_be_away(
    five: PodFleet, tmp_path: Path, management: str
) -> None:
    """Each once and never three; who is up stays linked to whoever is up (a real set is made so, not changed)."""
    before, fleet = five.fleet.current(), five.fleet
    both = stateful_set(PODS, podManagementPolicy=management), budget(maxUnavailable=2)
    five.kubernetes.apply(*both)
    configure(fleet, max_unavailable=2)
    orchestrator = evictor(five.kubernetes, fleet.service, tmp_path / "one", "--once")
    try:
        rotation = fleet.rotate()
        orchestrator.start()
        until_completed(five, rotation)
        assert orchestrator.wait() == 0, orchestrator.output()
    finally:
        orchestrator.kill()
    assert five.evicted() == each_once(five)
    assert most_claimed(five, rotation) == 2
    assert five.pods.most_away <= 2
    five.settle()
    fleet.assert_uses(fleet.current(), retired=[before])
    fleet.assert_undisturbed()


def says(orchestrator: OrchestratorProcess, what: str) -> None:
    """Wait until it does."""
    wait_for(f"it says: {what}", lambda: what in orchestrator.output(), seconds=2 * LONG)


def until_named(five: PodFleet, lost: str, *, orchestrator: OrchestratorProcess) -> None:
    """A restart of this node has had all its time: operators hear so from the service and from the orchestrator."""
    configure(five.fleet, restart_timeout="2s")
    wait_for("it is named", lambda: waits(five.fleet).get(lost) == "not_back", seconds=LONG)
    wait_for("to operators", lambda: ("not_back", lost) in five.fleet.blockers(), seconds=LONG)
    says(orchestrator, f"{lost}: its restart began at")
    configure(five.fleet, **ROLLOUT)


def test_a_pod_that_never_comes_back_stops_the_rollout_until_it_is_excused(
    five: PodFleet, tmp_path: Path
) -> None:
    """It is named and nobody else is evicted; excused, it still counts in the budget of pods, and then the others go."""
    before, fleet = five.fleet.current(), five.fleet
    lost, (first, second) = node_of("app-1"), five.names[:2]
    five.kubernetes.apply(stateful_set(PODS, podManagementPolicy="Parallel"))
    five.pods.held.add(second)
    orchestrator = evictor(five.kubernetes, fleet.service, tmp_path / "one", "--once")
    try:
        rotation = fleet.rotate()
        orchestrator.start()
        says(orchestrator, f"pod {second} is not ready: Pending (PodInitializing)")
        until_named(five, lost, orchestrator=orchestrator)
        body = {"reason": "its machine is gone", "force": True}
        path = f"clusters/{CLUSTER}/nodes/{lost}/excuse"
        assert fleet.service.request("POST", path, json=body).is_success
        says(orchestrator, "The disruption budget app needs 4 healthy pods and has 4 currently")
        assert five.evicted() == {first: 1, second: 1}
        five.kubernetes.apply(budget(maxUnavailable=2))
        until_completed(five, rotation)
        assert orchestrator.wait() == 0, orchestrator.output()
    finally:
        orchestrator.kill()
        five.pods.held.clear()
    assert five.evicted() == each_once(five)
    five.settle()
    fleet.assert_uses(fleet.current(), retired=[before])
    fleet.assert_undisturbed()
