"""Commands at random moments to random replicas, some of which die, and what must hold after it."""

from __future__ import annotations

import random
import secrets
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from rotator.adapters.secret_stores.registry import SecretStores
from rotator.adapters.state.store import State, open_postgres
from rotator.domain.cluster import Change
from rotator.domain.facts import REPEATABLE
from rotator.domain.ids import ClusterName
from rotator.domain.invariants import check
from rotator.domain.liveness import Crowd
from rotator.domain.policy import RotationPolicy
from rotator.domain.rotation import Phase, Rotation
from rotator.domain.version import Stage
from tests.support.replicas import Replicas
from tests.support.service import Service, wait_for

#: By the clock alone, at once; by the clock, with a way back; one that waits for somebody.
POLICIES = {
    "swift": {"grace_window": "0", "members": {"expect": "none"}},
    "patient": {"grace_window": "1h", "members": {"expect": "none"}},
    "waiting": {"grace_window": "0", "install_timeout": "1h", "members": {"expect": 1}},
}
CLUSTERS = {
    f"{name}{number}": {**policy, "emergency_cooldown": "0", "max_rotations_per_hour": 1000}
    for name, policy in POLICIES.items()
    for number in (1, 2)
}
#: An emergency of a cluster that waits for its first member would never end.
KINDS = ("manual", "manual", "emergency", "abort", "rollback", "hold", "release", "end-grace")
POLICY = RotationPolicy(expect=None)
WORKERS = 4
GOOD = 400
ENDS = {
    "abort": {Phase.ABORTED, Phase.SUPERSEDED},
    "rollback": {Phase.ROLLED_BACK, Phase.SUPERSEDED},
}


@dataclass
class Turmoil:
    """One run; what was answered well is kept."""

    replicas: Replicas
    seed: int
    answered: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    strikes: Counter[str] = field(default_factory=Counter)
    promised: dict[str, set[str]] = field(default_factory=dict)  #: rotation → what was accepted

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._lock = threading.Lock()
        self.token = self.replicas.services[0].token("operator")

    def run(self, commands: int, *, strikes: int) -> None:
        """That many commands, by several callers at a time; replicas die meanwhile."""
        self.replicas.services[0].token("admin")
        for name in CLUSTERS:
            self.replicas.services[0].initialise(name)
        with ThreadPoolExecutor(WORKERS) as pool:
            running = [pool.submit(self.command, self.random.random()) for _ in range(commands)]
            for number in range(strikes):
                share = (number + 1) * commands // (strikes + 1)
                wait_for(
                    "commands go on",
                    lambda wanted=share: sum(one.done() for one in running) >= wanted,
                    seconds=300,
                )
                self.strike()
            for one in running:
                one.result()
        self.settle()

    def strike(self) -> None:
        """One replica dies, or is told to end, and comes back."""
        how = self.random.choice((signal.SIGKILL, signal.SIGTERM))
        is_leader = self.strikes.total() % 2 == 0
        victim = self.replicas.leader() if is_leader else self.random.choice(self.replicas.services)
        self.strikes[how.name] += 1
        assert victim.process is not None
        victim.process.send_signal(how)
        victim.wait_ended()
        victim.start()

    def command(self, chance: float) -> None:
        """One command, under one key, repeated at another replica until somebody answers."""
        dice = random.Random(chance)
        name, kind = dice.choice(sorted(CLUSTERS)), dice.choice(KINDS)
        if kind == "emergency" and name.startswith("waiting"):
            kind = "manual"
        path, body = f"clusters/{name}/rotations", {"reason": "test", "force": True}
        key = secrets.token_hex(16)
        if kind in {"manual", "emergency"}:
            body["kind"] = kind
        else:
            found = self.ask("GET", path, key, dice).json()["rotations"]
            if not found:
                return
            path = f"{path}/{found[0]['id']}/{kind}"
        answer = self.ask("POST", path, key, dice, json=body)
        again = self.ask("POST", path, key, dice, json=body)
        with self._lock:
            if answer.status_code >= GOOD:
                assert answer.status_code == httpx.codes.CONFLICT, answer.text
                self.refused[kind] += 1
                return
            assert again.status_code < GOOD, again.text
            assert again.json()["id"] == answer.json()["id"], "one key, two outcomes"
            self.answered[kind] += 1
            self.promised.setdefault(answer.json()["id"], set()).add(kind)

    def ask(
        self, method: str, path: str, key: str, dice: random.Random, **more: Any
    ) -> httpx.Response:
        """An answer that is not only for now, from whichever replica."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            service: Service = dice.choice(self.replicas.services)
            try:
                answer = service.request(method, path, token=self.token, key=key, **more)
            except httpx.HTTPError:
                time.sleep(0.1)
                continue
            if answer.status_code < 500 and "running" not in answer.text[:200]:
                return answer
            assert answer.status_code != 500, answer.text
            time.sleep(0.05)
        raise AssertionError(f"nobody answers {method} {path}")

    def settle(self) -> None:
        """End what is under way, as an operator would, until nothing is."""
        for service in self.replicas.services:
            wait_for("every replica is ready", service.is_ready)
        for name in CLUSTERS:
            wait_for(f"{name} has come to rest", lambda one=name: self.is_at_rest(one))

    def is_at_rest(self, name: str) -> bool:
        """Whether nothing is under way; if something is, it is asked to end."""
        service = self.random.choice(self.replicas.services)
        shown = service.get(f"clusters/{name}")
        if shown["state"] == "stable":
            return True
        rotations = service.get(f"clusters/{name}/rotations")["rotations"]
        path = f"clusters/{name}/rotations/{rotations[0]['id']}"
        for kind in ("release", "abort" if name.startswith("waiting") else "end-grace"):
            service.request("POST", f"{path}/{kind}", json={"reason": "at rest", "force": True})
        time.sleep(0.1)
        return False

    async def check(self, stores: SecretStores) -> Counter[str]:
        """Everything that must hold; how the rotations have ended."""
        ends: Counter[str] = Counter()
        async with open_postgres(self.replicas.database.server) as state:
            for name in CLUSTERS:
                for rotation in await self._check_cluster(state, stores, ClusterName(name)):
                    ends[str(rotation.phase)] += 1
        return ends

    async def _check_cluster(
        self, state: State, stores: SecretStores, name: ClusterName
    ) -> list[Rotation]:
        cluster, stored = await state.clusters.load(name), await stores.cookies.read(name)
        assert cluster is not None
        assert stored is not None
        document = stored.document
        rotations = list(await state.clusters.rotations(name, limit=1000))
        for rotation in rotations:
            assert rotation.is_finished
            for kind in self.promised.get(rotation.id, set()) & ENDS.keys():
                assert rotation.phase in ENDS[kind], f"{kind} was accepted, and then {rotation}"
        assert sorted(cluster.versions) == list(range(1, len(rotations) + 2))
        # The same in both stores: one version, current, with the cookie that is on record.
        current = [v for v in cluster.versions.values() if v.stage is Stage.CURRENT]
        assert [v.number for v in document.versions()] == [v.number for v in current]
        assert document.current.number == current[0].number
        assert document.last_version <= cluster.last_version
        assert document.fingerprints()[current[0].number] == current[0].fingerprint
        over = {v.stage for v in cluster.versions.values()} - {Stage.CURRENT}
        assert over <= {Stage.RETIRED, Stage.REVOKED, Stage.DISCARDED}
        now = await state.clusters.now()
        crowd = Crowd(cluster=cluster, policy=POLICY, now=now, serving_since=now)
        check(crowd, Change(cluster=cluster))
        # The chain verifies, to beyond the head that the secrets manager was given.
        kept = document.stamp.facts_head
        assert await state.clusters.broken_link(name, kept=kept) is None
        facts = await state.clusters.facts(name, limit=100_000)
        once = Counter(f.fact.once_key for f in facts if f.fact.kind not in REPEATABLE)
        assert [key for key, times in once.items() if key and times > 1] == []
        return rotations
