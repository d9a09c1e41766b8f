"""Orchestrators that are slow, killed, held still and cut off, in two hundred random courses."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from rotator.orchestrators.kubernetes import KubernetesRestarter
from rotator.orchestrators.loop import Orchestrator
from rotator.orchestrators.pods import NodeNames
from tests.support.virtual_time import run
from tests.unit.orchestrators.sim import Claims, Pods, Weather, now

NAMES = ("a", "b", "c")
_HOURS = 6 * 3600.0


def a_copy(claims: Any, pods: Any, number: int) -> asyncio.Task[None]:
    """One orchestrator, which runs until nothing is left."""
    restarter = KubernetesRestarter(
        pods,
        namespace="n",
        names=NodeNames("{pod}@x"),
        labels={"app": "x"},
        settle=timedelta(seconds=30),
    )
    orchestrator = Orchestrator(service=claims, restarter=restarter, holder=f"copy{number}")
    return asyncio.ensure_future(orchestrator.run(once=True))


async def course(seed: int, *, minds_uids: bool = True) -> list[Counter[str]]:
    """Two rotations with three copies, one of which is killed now and then; evictions in each."""
    chance = random.Random(seed)
    weather = Weather(chance)
    pods = Pods(NAMES, weather, minds_uids=minds_uids)
    claims = Claims(pods, weather)
    found = []
    for version in (2, 3):
        pods.version = version
        pods.evicted.clear()
        copies = [a_copy(claims, pods, number) for number in range(3)]
        while any(pods.uses[name] != version or not pods.is_up(name) for name in NAMES):
            await asyncio.sleep(chance.random() * 20)
            if chance.random() < 0.3:
                killed = chance.randrange(len(copies))
                copies[killed].cancel()
                copies[killed] = a_copy(claims, pods, killed)
            assert now() < _HOURS, f"not done with version {version}"
        for copy in copies:
            copy.cancel()
            with suppress(asyncio.CancelledError):
                await copy
        found.append(Counter(pods.evicted))
    return found


@pytest.mark.parametrize("hundred", range(4))
def test_no_pod_is_evicted_twice_for_one_version(hundred: int) -> None:
    """However three copies interleave, whatever answers are lost, each pod goes once for each version."""
    for seed in range(hundred * 50, hundred * 50 + 50):
        for counts in run(course(seed)):
            assert counts == dict.fromkeys(NAMES, 1), f"seed {seed}"


def test_the_courses_find_an_eviction_that_does_not_mind_the_uid() -> None:
    """Planted: were pods evicted by name alone, some course would evict one twice."""
    courses = (run(course(seed, minds_uids=False)) for seed in range(200))
    assert any(max(counts.values()) > 1 for found in courses for counts in found)
