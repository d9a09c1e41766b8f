"""Agents that report all the time, and a secrets manager that takes its time, at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rotator.domain.ids import ClusterName, NodeName
from rotator.testing.factories import an_attestation
from rotator.testing.memory import MemoryCookieStore, MemoryMasterStore
from tests.support.api import POLICY, World, a_world

CLUSTER = ClusterName("orders")
NODES = [NodeName(f"n{number}@h") for number in range(20)]


class Reports:
    """Twenty agents, each of which has something new to tell whenever its last report was taken."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._numbers = count()
        self._taken = asyncio.Condition()
        self.taken = 0

    async def take(self, node: NodeName) -> None:
        """One report, all the way in."""
        news = an_attestation(None, generation=0, otp_release=str(next(self._numbers)))
        await self._world.attestations.take(CLUSTER, node, news)
        async with self._taken:
            self.taken += 1
            self._taken.notify_all()

    async def more(self, number: int) -> None:
        """Until so many more were taken."""
        wanted = self.taken + number
        async with self._taken:
            await self._taken.wait_for(lambda: self.taken >= wanted)

    @asynccontextmanager
    async def pouring_in(self) -> AsyncIterator[None]:
        """From every node, one after the other without a pause."""

        async def report(node: NodeName) -> None:
            while True:
                await self.take(node)

        tasks = [asyncio.create_task(report(node)) for node in NODES]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


class Slow:
    """What is asked or told of a store takes as long as some reports take."""

    reports: Reports | None = None

    async def linger(self) -> None:
        """Whatever was decided on before this is late after it."""
        if self.reports is not None:
            await self.reports.more(5)


class SlowCookies(Slow, MemoryCookieStore):
    """Documents."""

    async def read(self, cluster: Any) -> Any:
        """As it was when it was asked for."""
        found = await super().read(cluster)
        await self.linger()
        return found

    async def replace(self, cluster: Any, document: Any, *, mark: Any) -> None:
        """Written first, answered later."""
        await super().replace(cluster, document, mark=mark)
        await self.linger()


class SlowMasters(Slow, MemoryMasterStore):
    """Master secrets."""

    async def read(self, master: Any, epoch: Any) -> Any:
        """As it was when it was asked for."""
        found = await super().read(master, epoch)
        await self.linger()
        return found

    async def create(self, master: Any, epoch: Any, value: Any) -> Any:
        """Written first, answered later."""
        found = await super().create(master, epoch, value)
        await self.linger()
        return found


@pytest.mark.parametrize("kind", ["manual", "emergency"])
async def test_a_pass_comes_to_an_end_among_agents_that_report_all_the_time(
    tmp_path: Path, kind: str
) -> None:
    """And no report waits for the secrets manager: each of its answers waits for reports here."""
    cookies, masters = SlowCookies(), SlowMasters()
    policies = {CLUSTER: replace(POLICY, lock_timeout=timedelta(0))}
    async with a_world(tmp_path, policies, cookies=cookies, masters=masters) as world:
        await world.initialise()
        reports = Reports(world)
        async with asyncio.timeout(100), reports.pouring_in():
            cookies.reports = masters.reports = reports
            begun = await world.rotate(kind=kind, reason="test")
            path = f"/v1/clusters/{CLUSTER}/rotations/{begun['id']}"
            goal = "installing" if kind == "manual" else "rolling_out"
            while (await world.call("GET", path)).json()["phase"] != goal:
                await reports.more(1)
            # What is waited for is named, too, however fast the reports come.
            while not (await world.call("GET", f"/v1/clusters/{CLUSTER}")).json()["blockers"]:
                await reports.more(1)
            cookies.reports = masters.reports = None
