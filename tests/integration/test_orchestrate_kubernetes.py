"""`rotator orchestrate kubernetes` against the fake API: budgets, faults, copies of it.

Pods are reports here; real nodes are in tests/acceptance/test_kubernetes_restarts.py.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.kubernetes.cluster import FakeKubernetes, fake_kubernetes
from tests.support.kubernetes.kubelet import Nothing
from tests.support.kubernetes.manifests import budget, stateful_set
from tests.support.kubernetes.store import Item
from tests.support.orchestrator import OrchestratorProcess, evictor
from tests.support.rollout_nodes import PaperNodes
from tests.support.service import Service, wait_for

pytestmark = pytest.mark.timeout(600)

PODS = 3
LONG = 180.0  #: seconds that a loaded machine may need for what takes one or two
NAMES = tuple(f"app-{number}@127.0.0.1" for number in range(PODS))


class PaperPods(Nothing):
    """A pod that starts is its node restarted; one that stops is silent."""

    nodes: PaperNodes | None = None

    async def start(self, pod: Item) -> None:
        """As ever, then it reports."""
        await super().start(pod)
        name = f"{pod['metadata']['name']}@127.0.0.1"
        if self.nodes is not None:
            self.nodes.restart(name)
            self.nodes.down.discard(name)

    async def stop(self, pod: Item, grace: float) -> None:
        """At once."""
        await super().stop(pod, grace)
        if self.nodes is not None:
            self.nodes.down.add(f"{pod['metadata']['name']}@127.0.0.1")


@dataclass
class Ground:
    """All parts, and what was seen."""

    kubernetes: FakeKubernetes
    pods: PaperPods
    nodes: PaperNodes
    directory: Path

    @property
    def service(self) -> Service:
        """The service."""
        return self.nodes.service

    def orchestrator(self, name: str = "one", *more: str) -> OrchestratorProcess:
        """One more, not started."""
        words = ("--once", *more)
        made = evictor(self.kubernetes, self.service, self.directory / name, *words)
        self.nodes.children.append(made)
        return made

    def evicted(self) -> Counter[str]:
        """How often each pod was evicted."""
        return Counter(name for name, code in self.kubernetes.evictions if code == 201)

    def until_completed(self, rotation: str) -> None:
        """The rotation has ended well."""
        self.service.until_phase("orders", rotation, "completed")


@pytest.fixture
def ground(tmp_path) -> Iterator[Ground]:
    """Three pods whose nodes have settled on version 1."""
    policy = {
        "adoption": "restart", "grace_window": "0", "max_rotations_per_hour": 1000,
        "members": {"expect": list(NAMES), "heartbeat": "1s", "node_ttl": "120s"},
        "rollout": {"soak": "0", "claim_ttl": "30s", "max_attempts": 2},
    }  # fmt: skip
    store = {"kind": "local", "directory": str(tmp_path / "secrets")}
    service = Service(tmp_path, store, {"orders": policy})
    pods = PaperPods()
    with fake_kubernetes(tmp_path, pods) as kubernetes:
        kubernetes.apply(stateful_set(PODS), budget(maxUnavailable=1))
        kubernetes.wait_ready("app", PODS)
        service.start()
        nodes = PaperNodes(service, "orders", NAMES)
        try:
            service.initialise("orders")
            nodes.start()
            pods.nodes = nodes
            yield Ground(kubernetes, pods, nodes, tmp_path)
        finally:
            nodes.stop()
            service.kill()


def test_a_budget_that_refuses_is_waited_for_and_shown(ground: Ground) -> None:
    """While nobody may go no pod is evicted, the reason is told in Kubernetes' words, and no attempt is lost."""
    ground.kubernetes.apply(budget(maxUnavailable=0))
    orchestrator = ground.orchestrator()
    rotation = ground.nodes.rotate()
    orchestrator.start()
    said = "The disruption budget app needs 3 healthy pods and has 3 currently"
    wait_for("it says why", lambda: said in orchestrator.output(), seconds=LONG)
    assert ground.kubernetes.evictions == []
    ground.kubernetes.apply(budget(maxUnavailable=1))
    assert orchestrator.wait() == 0, orchestrator.output()
    ground.until_completed(rotation)
    assert ground.evicted() == dict.fromkeys(("app-0", "app-1", "app-2"), 1)


def test_an_answer_that_is_lost_restarts_nothing_twice(ground: Ground) -> None:
    """Evictions that were carried out though no answer came are not made again, on another pod of that name."""
    ground.kubernetes.lost = PODS
    orchestrator = ground.orchestrator()
    rotation = ground.nodes.rotate()
    orchestrator.start()
    assert orchestrator.wait() == 0, orchestrator.output()
    ground.until_completed(rotation)
    assert ground.kubernetes.lost == 0
    assert ground.evicted() == dict.fromkeys(("app-0", "app-1", "app-2"), 1)


def test_a_pod_that_is_not_ready_is_left_alone_until_it_is(ground: Ground) -> None:
    """One that hangs while it starts is named with what it says, is not evicted again, and nobody else goes."""
    ground.pods.held = {"app-0", "app-1", "app-2"}
    orchestrator = ground.orchestrator()
    rotation = ground.nodes.rotate()
    orchestrator.start()
    said = "is not ready: Pending (PodInitializing)"
    wait_for("it says why", lambda: said in orchestrator.output(), seconds=LONG)
    assert sum(ground.evicted().values()) == 1
    ground.pods.held = set()
    assert orchestrator.wait() == 0, orchestrator.output()
    ground.until_completed(rotation)
    assert ground.evicted() == dict.fromkeys(("app-0", "app-1", "app-2"), 1)


def test_a_pod_with_other_labels_is_never_evicted(ground: Ground) -> None:
    """A node's name alone makes no pod a target: without the labels the claim fails, and says so."""
    orchestrator = ground.orchestrator("one", "--selector", "app=another")
    ground.nodes.rotate()
    orchestrator.start()
    try:
        wait_for(
            "the rollout has stopped",
            lambda: "restart_failed" in {row["code"] for row in ground.nodes.rollout()["waiting"]},
        )
        assert "has other labels" in orchestrator.output()
        assert ground.kubernetes.evictions == []
        assert orchestrator.stop() == 0
        assert "Traceback" not in orchestrator.output()
    finally:
        orchestrator.kill()


def test_nodes_that_are_no_pods_of_its_own_are_left_to_others(ground: Ground) -> None:
    """A cluster may have nodes elsewhere: they are named, and no claim is taken for them."""
    orchestrator = evictor(
        ground.kubernetes, ground.service, ground.directory / "one", node_name="other@{pod}.x"
    )
    ground.nodes.rotate()
    orchestrator.start()
    try:
        said = "is not one of this orchestrator's nodes"
        wait_for("it says so", lambda: said in orchestrator.output())
        assert ground.nodes.rollout()["under_way"] == []
        assert orchestrator.stop() == 0
    finally:
        orchestrator.kill()


def test_copies_that_are_killed_and_held_still_evict_no_pod_twice(ground: Ground) -> None:
    """Of three copies one is killed and one stands still with a claim; each pod goes once in each rotation."""
    for number in range(2):
        ground.kubernetes.evictions.clear()
        copies = [ground.orchestrator(f"copy{number}{n}") for n in range(3)]
        rotation = ground.nodes.rotate()
        for copy in copies:
            copy.start()
        wait_for("a pod was evicted", lambda: sum(ground.evicted().values()) >= 1)
        copies[0].kill()
        pid = copies[1].process.pid if copies[1].process else 0
        os.kill(pid, signal.SIGSTOP)
        copies.append(ground.orchestrator(f"copy{number}3"))
        copies[3].start()
        ground.until_completed(rotation)
        os.kill(pid, signal.SIGCONT)
        for copy in copies[1:]:
            assert copy.wait() == 0, copy.output()
        assert ground.evicted() == dict.fromkeys(("app-0", "app-1", "app-2"), 1)
    assert not any("Traceback" in copy.output() for copy in copies)


def test_a_restart_of_the_service_alone_evicts_nobody(ground: Ground) -> None:
    """With nothing to roll out the service may come and go beside an orchestrator, and no pod notices."""
    orchestrator = evictor(ground.kubernetes, ground.service, ground.directory / "one")
    orchestrator.start()
    try:
        for _ in range(2):
            ground.service.stop()
            wait_for(
                "it has noticed", lambda: "does not answer" in orchestrator.output(), seconds=120
            )
            ground.service.start()
        wait_for("it goes on", lambda: "answers again" in orchestrator.output())
        assert ground.kubernetes.evictions == []
        assert orchestrator.stop() == 0
    finally:
        orchestrator.kill()
