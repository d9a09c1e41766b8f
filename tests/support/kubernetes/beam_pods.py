"""Pods that are real BEAM nodes: `agent boot` as init container, then the node, and an agent beside it.

A pod's volume is its own and empty when it begins (emptyDir): files of the pod before are gone. A node
that dies by itself is started again on the files that are there, without the init container.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rotator.cli.demo.epmd import erlang
from rotator.cli.demo.mesh import Mesh
from rotator.cli.demo.nodes import write_private
from rotator.cli.demo.processes import DemoFailed
from tests.support.fleet import CLUSTER, LONG, Fleet
from tests.support.kubernetes.cluster import FakeKubernetes, fake_kubernetes
from tests.support.kubernetes.manifests import budget, stateful_set
from tests.support.kubernetes.store import Item
from tests.support.service import Service, wait_for

CREATED = 201
HOST = "127.0.0.1"
SET = "app"


def node_of(pod: str) -> str:
    """The pattern `{pod}@127.0.0.1`."""
    return f"{pod}@{HOST}"


@dataclass
class BeamPods:
    """A `Runtime`; `held` names pods whose init container does not begin."""

    fleet: Fleet
    started: list[str] = field(default_factory=list)  #: pods, in order, once for each incarnation
    crashed: list[str] = field(default_factory=list)  #: pods whose node died by itself, in order
    away: set[str] = field(default_factory=set)  #: pods of which nothing runs just now
    most_away: int = 0
    held: set[str] = field(default_factory=set)
    is_closing: bool = False
    _turns: dict[str, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))

    async def start(self, pod: Item) -> None:
        """Until the node is up and linked to everyone."""
        name = pod["metadata"]["name"]
        while name in self.held:
            await asyncio.sleep(0.05)
        self.started.append(name)
        await asyncio.to_thread(self._start, node_of(name))

    async def ended(self, pod: Item) -> None:
        """Until the VM is gone."""
        node = self.fleet.mesh[node_of(pod["metadata"]["name"])]
        while node.is_alive:
            await asyncio.sleep(0.05)

    async def again(self, pod: Item) -> None:
        """The node alone, on its files."""
        await asyncio.to_thread(self._again, node_of(pod["metadata"]["name"]))

    async def stop(self, pod: Item, grace: float) -> None:
        """Agent and node, in good order."""
        await asyncio.to_thread(self._stop, node_of(pod["metadata"]["name"]))

    def crash(self, pod: str) -> None:
        """SIGKILL its node once it is up; the kubelet starts it again, without the init container."""
        name = node_of(pod)
        with self._turns[name]:
            node = self.fleet.mesh[name]
            if (pid := node.pid) is not None:
                _patiently(lambda: self.fleet.down(name))
                self.crashed.append(pod)
                os.kill(pid, signal.SIGKILL)
                wait_for(f"{name} is dead", lambda: not node.is_alive)

    def _start(self, name: str) -> None:
        with self._turns[name]:
            if self.is_closing:
                return
            if name not in self.fleet.mesh.nodes:
                self.fleet.recruit(name)
            node, agent = self.fleet.mesh[name], self.fleet.agents[name]
            write_private(node.cookie_file, "OFTHEIMAGEANDUSEDBYNOBODY", mode=0o400)
            node.boot_file.unlink(missing_ok=True)
            shutil.rmtree(agent.directory / "state", ignore_errors=True)
            while agent.boot() != 0:  # a service that is away for long: the kubelet tries again
                if self.is_closing:
                    return
            self.fleet.start_node(name, boot=False)
            agent.start()
            self.away.discard(name)
            _patiently(lambda: self.fleet.readmit(name))

    def _again(self, name: str) -> None:
        with self._turns[name]:
            self.fleet.mesh[name].kill()  # what is left of a process that has ended
            self.fleet.mesh.restart(name, connect=False)
            _patiently(lambda: self.fleet.readmit(name))

    def _stop(self, name: str) -> None:
        with self._turns[name]:
            if name in self.fleet.mesh.nodes:
                if not self.is_closing:
                    _patiently(lambda: self.fleet.down(name))
                self.away.add(name)
                self.most_away = max(self.most_away, len(self.away))
                self.fleet.agents[name].stop()
                self.fleet.mesh[name].stop()


def _patiently(act: Callable[[], None]) -> None:
    """Again, when another node that was asked has gone meanwhile."""
    ends_at = time.monotonic() + LONG
    while True:
        try:
            return act()
        except DemoFailed:
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.05)


@dataclass
class PodFleet:
    """A StatefulSet of real nodes, the service, and the Kubernetes that runs them."""

    kubernetes: FakeKubernetes
    fleet: Fleet
    pods: BeamPods
    replicas: int

    @property
    def names(self) -> list[str]:
        """The pods' names, by ordinal."""
        return [f"{SET}-{number}" for number in range(self.replicas)]

    def evicted(self) -> Counter[str]:
        """How often each pod was evicted."""
        return Counter(name for name, code in self.kubernetes.evictions if code == CREATED)

    def begin(self) -> None:
        """Count from now on; every pod is there, and nothing is under way."""
        self.pods.held.clear()
        self.settle()
        self.fleet.begin_to_count()
        for counted in (self.pods.started, self.pods.crashed, self.kubernetes.evictions):
            counted.clear()
        self.pods.most_away = 0

    def settle(self) -> None:
        """Every pod is ready, and the cluster is as it should be."""
        self.kubernetes.wait_ready(SET, self.replicas, seconds=300)
        self.fleet.settle()

    def incarnations(self) -> dict[str, str]:
        """The uid of each pod."""
        found = self.kubernetes.request("GET", "/api/v1/namespaces/default/pods").json()["items"]
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in found}


@contextmanager
def pod_fleet(
    directory: Path, replicas: int, *, strategy: str = "RollingUpdate", **policy: Any
) -> Iterator[PodFleet]:
    """*replicas* pods that are ready, in a cluster that was made by `init`; all settled."""
    ground = directory / "nodes"
    ground.mkdir()
    crew = {"expect": replicas, "heartbeat": "1s", "node_ttl": "60s"}
    windows = {
        "grace_window": "0", "emergency_cooldown": "0", "max_rotations_per_hour": 1000,
        "adoption": "restart", "members": crew,
        "rollout": {"soak": "0", "claim_ttl": "20s", "restart_timeout": "5m"},
    }  # fmt: skip
    store = {"kind": "local", "directory": str(directory / "secrets")}
    with ExitStack() as stack:
        epmd = stack.enter_context(erlang(ground))
        service = Service(directory, store, {CLUSTER: {**windows, **policy}})
        stack.callback(service.kill)
        service.start()
        service.initialise(CLUSTER)
        fleet = Fleet(epmd, Mesh({}), service)
        pods = BeamPods(fleet)
        kubernetes = stack.enter_context(fake_kubernetes(directory, pods))
        stack.callback(setattr, pods, "is_closing", True)
        made = PodFleet(kubernetes, fleet, pods, replicas)
        kubernetes.apply(stateful_set(replicas, strategy=strategy), budget(maxUnavailable=1))
        fleet.mesh._pause_ms = 25
        made.settle()
        fleet.begin_to_count()
        yield made
