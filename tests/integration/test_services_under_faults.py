"""What a secrets manager that is slow, away or tampered with must not do to the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rotator import failpoints
from rotator.adapters.derivation import PROFILES
from rotator.adapters.state.store import open_state
from rotator.domain.cookie import Cookie
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import ClusterUid, MasterName, VersionNumber
from rotator.errors import EpochForeign, StoreUnreachable
from rotator.services.documents import Documents
from rotator.services.keyring import KeyRing
from rotator.testing.memory import MemoryCookieStore, MemoryMasterStore
from tests.support.api import QuickStretcher, World, a_world

CLUSTER = "orders"
OPENED = Fact(kind=FactKind.EPOCH_OPENED, at=datetime(2026, 1, 1, tzinfo=UTC), by="local")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A service whose cluster has version 1."""
    async with a_world(tmp_path) as made:
        await made.initialise()
        yield made
    failpoints.arm("")


class Balky(MemoryCookieStore):
    """Memory whose reads can be held back, or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_away = False

    async def read(self, cluster: Any) -> Any:
        """What was there when the read began, whenever it is answered."""
        found = await super().read(cluster)
        if self.is_away:
            raise StoreUnreachable
        await self.gate.wait()
        return found


async def some_document(world: World) -> Any:
    """The document of a cluster that has version 1."""
    stored = await world.cookies.read(CLUSTER)
    assert stored is not None
    return stored.document


async def test_a_read_that_began_before_a_write_does_not_bring_back_what_was_replaced(
    world: World,
) -> None:
    """A slow answer is used by nobody after the document was written over."""
    store = Balky()
    first = await some_document(world)
    await store.create(CLUSTER, first)
    documents = Documents(store)
    store.gate.clear()
    slow = asyncio.create_task(documents.read(CLUSTER))
    await asyncio.sleep(0.01)
    second = replace(first, current=replace(first.current, number=2, cookie=Cookie("SECOND")))
    with documents.writing(CLUSTER):
        await store.replace(CLUSTER, second, mark=1)
    store.gate.set()
    await slow
    kept = await documents.read(CLUSTER, max_age=60)
    assert kept is not None
    assert kept.document == second


async def test_after_a_write_without_an_answer_nothing_kept_is_served(world: World) -> None:
    """While it is not known what is stored, a replaced cookie is not handed out of memory."""
    store = Balky()
    first = await some_document(world)
    await store.create(CLUSTER, first)
    documents = Documents(store)
    assert await documents.holding(CLUSTER, 1)

    async def write() -> None:
        with documents.writing(CLUSTER):
            await documents.read(CLUSTER)  # a node asks in the middle
            raise StoreUnreachable

    with pytest.raises(StoreUnreachable):
        await write()
    store.is_away = True
    with pytest.raises(StoreUnreachable):
        await documents.read(CLUSTER, max_age=60)
    assert await documents.holding(CLUSTER, 1) is None


class Unfinished(MemoryCookieStore):
    """Memory whose writes are decided at once, and done only when they are repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.decided: list[Any] = []
        self.done: list[Any] = []

    async def read(self, cluster: Any) -> Any:
        """What is decided; settled when it was repeated."""
        found = await super().read(cluster)
        if found is None:
            return None
        return replace(found, is_settled=found.document in [*self.done, self.decided[0]])

    async def create(self, cluster: Any, document: Any) -> None:
        """Done at once."""
        self.decided.append(document)
        await super().create(cluster, document)

    async def replace(self, cluster: Any, document: Any, *, mark: Any) -> None:
        """Decide, or finish what is decided."""
        if document == self.decided[-1]:
            self.done.append(document)
            return
        await super().replace(cluster, document, mark=mark)
        self.decided.append(document)


@pytest.mark.parametrize("kind", ["manual", "emergency"])
async def test_a_write_that_was_cut_short_is_finished_before_the_next_step(
    tmp_path: Path, kind: str
) -> None:
    """Each write is finished once, in its order, and an emergency's own as well."""
    from rotator.domain.policy import RotationPolicy

    store = Unfinished()
    policy = RotationPolicy(expect=None, grace_window=timedelta(0))
    async with a_world(tmp_path, {CLUSTER: policy}, cookies=store) as world:
        await world.initialise()
        body = {"kind": kind, "reason": "test"}
        begun = await world.call("POST", f"/v1/clusters/{CLUSTER}/rotations", json=body)
        path = f"/v1/clusters/{CLUSTER}/rotations/{begun.json()['id']}"
        async with asyncio.timeout(60):
            while (await world.call("GET", path)).json()["phase"] != "completed":
                await asyncio.sleep(0.02)
    assert store.done == store.decided[1:]
    assert len(store.done) == (3 if kind == "manual" else 1)


async def test_a_failed_read_makes_no_kept_document_fresh(world: World) -> None:
    """An outage is seen at every look, not hidden by what was read before it."""
    store = Balky()
    await store.create(CLUSTER, await some_document(world))
    documents = Documents(store)
    await documents.read(CLUSTER)
    store.is_away = True
    for _ in range(3):
        with pytest.raises(StoreUnreachable):
            await documents.read(CLUSTER)


async def fail_reads(world: World) -> list[Any]:
    """Let every read of the secrets manager fail from now on; each one is in the list."""
    asked: list[Any] = []

    async def away(cluster: Any) -> Any:
        asked.append(cluster)
        raise StoreUnreachable

    world.cookies.read = away  # type: ignore[method-assign]
    return asked


async def until_looked(world: World, asked: list[Any]) -> None:
    """A whole pass has begun and ended since: the one after it has read the secrets manager, too."""
    wanted = len(asked) + 2
    async with asyncio.timeout(60):
        while len(asked) < wanted:
            world.reconciler.poke(CLUSTER)
            await asyncio.sleep(0.02)


async def test_an_outage_stays_named_since_it_began(world: World) -> None:
    """On a cluster with nothing under way, the outage blocks by name, with one and the same since."""
    asked = await fail_reads(world)
    since = set()
    for _ in range(6):
        await until_looked(world, asked)
        found = (await world.call("GET", f"/v1/clusters/{CLUSTER}")).json()["blockers"]
        assert [blocker["code"] for blocker in found] == ["store_unreachable"]
        since.add(found[0]["since"])
    assert len(since) == 1


async def test_a_store_error_does_not_thaw_a_frozen_cluster(world: World) -> None:
    """Only a look at a document that is right again ends the freeze."""
    stored = await world.cookies.read(CLUSTER)
    assert stored is not None
    edited = replace(stored.document.current, cookie=Cookie("EDITED"))
    await world.cookies.replace(CLUSTER, replace(stored.document, current=edited), mark=stored.mark)
    await asyncio.sleep(1.1)
    world.reconciler.poke(CLUSTER)
    await world.until(CLUSTER, lambda found: found["state"] == "frozen")
    await fail_reads(world)
    await asyncio.sleep(1.1)
    world.reconciler.poke(CLUSTER)
    codes = {"edited_document", "store_unreachable"}
    await world.until(CLUSTER, lambda found: {b["code"] for b in found["blockers"]} == codes)
    refused = await world.call("POST", f"/v1/clusters/{CLUSTER}/rotations", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "frozen")
    facts = (await world.call("GET", f"/v1/facts?cluster={CLUSTER}", role="auditor")).json()
    assert "ClusterThawed" not in {fact["kind"] for fact in facts["facts"]}


async def test_a_change_whose_answer_was_lost_still_wakes_who_waits(world: World) -> None:
    """A node that waits learns of an emergency at once, though the request itself got no answer."""
    path = f"/v1/clusters/{CLUSTER}"
    generation = (await world.call("GET", path)).json()["generation"]
    waiting = asyncio.create_task(world.desired(generation=generation, wait="20s"))
    await asyncio.sleep(0.1)
    failpoints.arm("E1:lost:raise")
    body = {"kind": "emergency", "reason": "leaked"}
    lost = await world.call("POST", f"{path}/rotations", json=body)
    assert lost.status_code == 503
    answer = await asyncio.wait_for(waiting, 5)
    assert answer.json()["generation"] > generation


async def test_an_epoch_that_was_opened_for_something_else_is_not_taken_for_a_new_one(
    tmp_path: Path,
) -> None:
    """After a loss of the state store numbers begin anew; an old secret never counts as fresh."""
    master = MasterName("default")
    kdf = {master: next(iter(PROFILES.values()))}
    masters = MemoryMasterStore()
    async with open_state(tmp_path / "lost.sqlite") as state:
        keyring = KeyRing(masters, state.epochs, QuickStretcher(), kdf)
        await keyring.open(master, await keyring.current_epoch(master))
        former = await keyring.renew(master, None, fact=OPENED)
    async with open_state(tmp_path / "new.sqlite") as state:
        keyring = KeyRing(masters, state.epochs, QuickStretcher(), kdf)
        await keyring.open(master, await keyring.current_epoch(master))
        renewed = await keyring.renew(master, None, fact=OPENED)
        assert renewed > former
        assert masters.epochs[master, renewed] != masters.epochs[master, former]
        assert await keyring.next_epoch(master, "emergency") > renewed
    async with open_state(tmp_path / "third.sqlite") as state:
        keyring = KeyRing(masters, state.epochs, QuickStretcher(), kdf)
        await state.epochs.allocate(master, "first")
        stale = await state.epochs.allocate(master, "emergency of another life")
        with pytest.raises(EpochForeign):
            await keyring.open(master, stale)
        with pytest.raises(EpochForeign):
            await keyring.is_open(master, stale)


async def test_what_is_derived_from_an_epoch_that_is_open_waits_for_no_secrets_manager(
    tmp_path: Path,
) -> None:
    """Agents wait for the write that takes a version up, and that derives it once more."""
    master, masters = MasterName("default"), MemoryMasterStore()
    kdf = {master: next(iter(PROFILES.values()))}
    async with open_state(tmp_path / "state.sqlite") as state:
        before = KeyRing(masters, state.epochs, QuickStretcher(), kdf)
        epoch = await before.current_epoch(master)
        await before.open(master, epoch)
        after_restart = KeyRing(masters, state.epochs, QuickStretcher(), kdf)
        assert await after_restart.is_open(master, epoch)
        masters.epochs.clear()
        uid = ClusterUid("00" * 16)
        assert await after_restart.cookie(master, epoch, uid=uid, number=VersionNumber(1))


async def test_a_jump_of_the_clock_is_a_fact_and_begins_the_window_anew(tmp_path: Path) -> None:
    """A leap into the future does not end a grace window."""
    from rotator.domain.policy import RotationPolicy

    policy = RotationPolicy(expect=None, grace_window=timedelta(minutes=10))
    async with a_world(tmp_path, {CLUSTER: policy}) as world:
        await world.initialise()
        begun = await world.rotate()
        await world.until(
            CLUSTER, lambda found: found["rotation"] and found["rotation"]["phase"] == "grace"
        )
        real = world.state.clusters.now

        async def later() -> Any:
            return await real() + timedelta(hours=1)

        world.state.clusters.now = later  # type: ignore[method-assign]
        await world.reconciler.tick()
        world.reconciler.poke(CLUSTER)
        await asyncio.sleep(0.5)
        path = f"/v1/clusters/{CLUSTER}/rotations/{begun['id']}"
        rotation = (await world.call("GET", path)).json()
        assert rotation["phase"] == "grace"
        assert "ClockJumped" in {fact["kind"] for fact in rotation["facts"]}
