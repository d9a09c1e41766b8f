"""A service and a Kubernetes in memory, for orchestrators in virtual time: slow, lossy, and honest."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rotator.errors import ClaimOver, KubernetesAway, KubernetesRefused, RolloutAway
from rotator.kubernetes import Answer
from rotator.protocol import v1

TTL = 30.0
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def now() -> float:
    """Seconds of the virtual clock."""
    return asyncio.get_running_loop().time()


@dataclass
class Weather:
    """How long calls take, and how often their answers are lost."""

    chance: random.Random
    losses: float = 0.15
    stalls: float = 0.1

    async def before(self) -> None:
        """A while; now and then far longer than a claim lasts."""
        await asyncio.sleep(self.chance.random() * 0.3)
        if self.chance.random() < self.stalls:
            await asyncio.sleep(self.chance.random() * 3 * TTL)

    def loses(self) -> bool:
        """Whether this answer is lost."""
        return self.chance.random() < self.losses


@dataclass
class Pods:
    """A StatefulSet's pods: what an eviction does, and the Eviction API as a client sees it."""

    names: tuple[str, ...]
    weather: Weather
    version: int = 1  #: that a pod boots with
    minds_uids: bool = True  #: False: a planted mistake, which the courses have to find
    evicted: list[str] = field(default_factory=list)
    uses: dict[str, int] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _born: dict[str, tuple[str, float]] = field(default_factory=dict)
    _ready_at: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.names:
            self._born[name], self._ready_at[name] = (f"{name}/0", -1000.0), -1000.0
            self.uses[name] = self.version

    def is_up(self, name: str) -> bool:
        """Whether it is ready, and has told."""
        return now() >= self._ready_at[name] + 1.0

    async def get(self, path: str) -> Answer:
        """One pod."""
        await self.weather.before()
        name = path.rpartition("/")[2]
        uid, born = self._born[name]
        ready = "True" if now() >= self._ready_at[name] else "False"
        item = {
            "metadata": {
                "name": name, "uid": uid, "labels": {"app": "x"},
                "creationTimestamp": (_EPOCH + timedelta(seconds=born)).isoformat(),
            },
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        }  # fmt: skip
        if self.weather.loses():
            raise KubernetesAway
        return Answer(item, _EPOCH + timedelta(seconds=now()))

    async def post(self, path: str, body: Any) -> Answer:
        """An eviction; some are lost on their way, and some answers on theirs."""
        await self.weather.before()
        name, options = path.split("/")[-2], body["deleteOptions"]
        if self.weather.loses():
            raise KubernetesAway
        if self.minds_uids and options["preconditions"]["uid"] != self._born[name][0]:
            raise KubernetesRefused("another", status=409, reason="Conflict")
        if any(now() < self._ready_at[one] for one in self.names if one != name):
            raise KubernetesRefused("the budget", status=429, reason="TooManyRequests")
        if "dryRun" not in options:
            self._restart(name)
        if self.weather.loses():
            raise KubernetesAway
        return Answer({"kind": "Status", "status": "Success"}, _EPOCH)

    def _restart(self, name: str) -> None:
        self.evicted.append(name)
        begun = now() + self.weather.chance.random() * 5
        self._born[name] = (f"{name}/{next(self._numbers)}", begun)
        self._ready_at[name] = begun + self.weather.chance.random() * 20
        self.uses[name] = self.version


class Claims:
    """The service: hands out one claim at a time, by what pods tell, as `rotator.domain` does."""

    def __init__(self, pods: Pods, weather: Weather) -> None:
        self._pods = pods
        self._weather = weather
        self._claims: list[v1.Claim] = []
        self._ends: dict[str, float] = {}
        self._by_key: dict[str, list[v1.Claim]] = {}

    def _settle(self) -> None:
        for place, claim in enumerate(self._claims):
            if claim.state in {"done", "failed", "expired"}:
                continue
            pod = claim.node.partition("@")[0]
            if self._pods.uses[pod] == claim.version and self._pods.is_up(pod):
                self._claims[place] = replace(claim, state="done")
            elif now() >= self._ends[claim.id]:
                self._claims[place] = replace(claim, state="expired", detail="not renewed")

    def _open(self) -> list[v1.Claim]:
        return [one for one in self._claims if one.state in {"claimed", "restarting"}]

    def _next(self) -> list[str]:
        pods = self._pods
        if self._open() or not all(map(pods.is_up, pods.names)):
            return []
        return [f"{one}@x" for one in pods.names if pods.uses[one] != pods.version][:1]

    async def rollout(self, *, revision: int | None = None, wait: int = 0) -> v1.Rollout | None:
        """As it is."""
        await self._weather.before()
        if self._weather.loses():
            raise RolloutAway
        self._settle()
        version = self._pods.version
        done = sum(used == version for used in self._pods.uses.values())
        steps = [v1.RolloutStep(node=node, version=version, reason="") for node in self._next()]
        return v1.Rollout(
            cluster="c", revision=0, strategy="rolling", rotation="r", phase="rolling_out",
            version=version, is_paused=False, max_unavailable=1, next=steps,
            under_way=self._open(), waiting=[], unavailable=[], restarted=done,
            members=len(self._pods.names),
        )  # fmt: skip

    async def take(self, nodes: list[str], *, holder: str, key: str = "") -> list[v1.Claim]:
        """One, if one may; the same for the same key."""
        await self._weather.before()
        self._settle()
        if key not in self._by_key:
            made = [self._made(node, holder) for node in self._next() if node in nodes]
            self._by_key[key] = made
        if self._weather.loses():
            raise RolloutAway
        return self._by_key[key]

    def _made(self, node: str, holder: str) -> v1.Claim:
        number = len(self._claims) + 1
        claim = v1.Claim(
            id=f"c{number}", node=node, version=self._pods.version, rotation="r", state="claimed",
            token=number, holder=holder, claimed_at="", expires_at="", seconds_left=TTL,
        )  # fmt: skip
        self._claims.append(claim)
        self._ends[claim.id] = now() + TTL
        return claim

    async def change(self, claim: v1.Claim, state: str, *, detail: str = "") -> v1.Claim:
        """Renew, begin, or ask."""
        await self._weather.before()
        self._settle()
        place = next(n for n, one in enumerate(self._claims) if one.id == claim.id)
        found = self._claims[place]
        if found.state not in {"claimed", "restarting"}:
            if found.state == state:
                return found
            raise ClaimOver(f"the claim has {found.state}")
        if state in {"failed", "restarting"}:
            found = replace(found, state=state, detail=detail)
        self._claims[place] = found
        self._ends[claim.id] = now() + TTL
        if self._weather.loses():
            raise RolloutAway
        return found
