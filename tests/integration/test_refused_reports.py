from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from rotator.domain import membership
from rotator.domain.cluster import Attestation
from rotator.domain.facts import FactKind
from rotator.domain.ids import ClusterName, NodeName
from rotator.errors import StaleGeneration, StateUnavailable, WrongFingerprint
from rotator.services.attestations import Attestations
from rotator.services.turns import Turns
from rotator.testing.factories import an_attestation
from tests.support.api import World, a_world

CLUSTER = ClusterName("orders")
FROM_THE_FUTURE = an_attestation(None, generation=99)
WRONG = an_attestation(None, generation=0, holds={1: "f1:wrong"})
GOOD = an_attestation(None, generation=0)


def _attestations(world: World) -> Attestations:
    return Attestations(
        states=world.state.clusters,
        crowds=world.crowds,
        wakeups=world.wakeups,
        poke=world.reconciler.poke,
        turns=Turns(),
    )


async def _refuse(service: Attestations, said: Attestation, node: str = "rabbit@a") -> None:
    with pytest.raises((StaleGeneration, WrongFingerprint)):
        await service.take(CLUSTER, NodeName(node), said)


async def _refusals(world: World) -> Counter[tuple[str, str]]:
    rows = await world.state.clusters.facts(CLUSTER, limit=10_000)
    return Counter((row.fact.by, row.fact.kind) for row in rows if "Refused" in row.fact.kind)


async def test_a_hundred_identical_stale_reports_make_one_fact(tmp_path: Path) -> None:
    """An agent that repeats itself does not fill the database, also when it does so at once."""
    async with a_world(tmp_path) as world:
        service = _attestations(world)
        for _ in range(50):
            await _refuse(service, FROM_THE_FUTURE)
        await asyncio.gather(*(_refuse(service, FROM_THE_FUTURE) for _ in range(50)))
        found = await _refusals(world)
    assert found == {("rabbit@a", FactKind.STALE_GENERATION_REFUSED): 1}


async def test_each_node_and_each_kind_of_refusal_has_a_fact_of_its_own(tmp_path: Path) -> None:
    """A noisy node hides neither another one nor another fault of its own."""
    async with a_world(tmp_path) as world:
        service = _attestations(world)
        for said in (FROM_THE_FUTURE, WRONG) * 2:
            for node in ("rabbit@a", "rabbit@b"):
                await _refuse(service, said, node)
        found = await _refusals(world)
    assert len(found) == 4
    assert set(found.values()) == {1}


async def test_a_refusal_after_a_good_report_is_a_fact_again(tmp_path: Path) -> None:
    """Reporting well ends the silence, also without news, and for that node alone."""
    async with a_world(tmp_path) as world:
        service = _attestations(world)
        for _ in range(3):
            await service.take(CLUSTER, NodeName("rabbit@a"), GOOD)
            await _refuse(service, FROM_THE_FUTURE)
            await _refuse(service, FROM_THE_FUTURE, "rabbit@b")
        found = await _refusals(world)
    assert sorted(found.values()) == [1, 3]


async def test_made_up_names_end_in_silence_and_hide_no_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused strangers are bounded like members, and a member's refusal is still a fact."""
    monkeypatch.setattr(membership, "MAX_MEMBERS", 3)
    async with a_world(tmp_path) as world:
        service = _attestations(world)
        await service.take(CLUSTER, NodeName("rabbit@a"), GOOD)
        for number in range(10):
            await _refuse(service, FROM_THE_FUTURE, f"rabbit@x{number}")
        await _refuse(service, FROM_THE_FUTURE)
        found = await _refusals(world)
    assert len(found) == 4
    assert found["rabbit@a", FactKind.STALE_GENERATION_REFUSED] == 1


async def test_a_refusal_that_could_not_be_written_is_written_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not in the audit log does not count as said."""

    async def fails(*_: object, **__: object) -> None:
        raise StateUnavailable

    async with a_world(tmp_path) as world:
        service = _attestations(world)
        with monkeypatch.context() as broken:
            broken.setattr(type(world.state.clusters), "add_fact", fails)
            with pytest.raises(StateUnavailable):
                await service.take(CLUSTER, NodeName("rabbit@a"), FROM_THE_FUTURE)
        await _refuse(service, FROM_THE_FUTURE)
        found = await _refusals(world)
    assert found == {("rabbit@a", FactKind.STALE_GENERATION_REFUSED): 1}
