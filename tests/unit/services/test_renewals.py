from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rotator.adapters.derivation import PROFILES
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import EpochNumber, MasterName
from rotator.domain.master import MasterSecret
from rotator.errors import StoreUnreachable
from rotator.services.keyring import KeyRing
from rotator.services.renewals import Renewals
from rotator.testing.memory import MemoryMasterStore
from rotator.testing.states import MemoryEpochs
from tests.support.api import QuickStretcher

MASTER = MasterName("default")
QUARTER, DAY = timedelta(days=90), timedelta(days=1)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
OPENED = Fact(kind=FactKind.EPOCH_OPENED, at=BEGIN, by="local", details={"master": MASTER})


class World:
    """Two stores and a clock; every process makes its services anew."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.masters, self.epochs = MemoryMasterStore(), MemoryEpochs(lambda: self.now)

    def keyring(self) -> KeyRing:
        """Of a new process."""
        kdf = {MASTER: next(iter(PROFILES.values()))}
        return KeyRing(self.masters, self.epochs, QuickStretcher(), kdf)

    def renewals(self, every: timedelta | None = QUARTER) -> Renewals:
        """Of a new process."""

        async def now() -> datetime:
            return self.now

        return Renewals(
            keyring=self.keyring(), epochs=self.epochs, intervals={MASTER: every}, now=now
        )

    async def begin(self) -> None:
        """The first epoch."""
        keyring = self.keyring()
        await keyring.open(MASTER, await keyring.current_epoch(MASTER))


@pytest.fixture
async def world() -> World:
    """A master with one epoch."""
    made = World()
    await made.begin()
    return made


async def test_a_master_is_renewed_when_it_is_due_and_once(world: World) -> None:
    """Not before, and not again until the next time; each has its fact."""
    for day in range(1, 365):
        world.now = BEGIN + day * DAY
        for _ in range(2):
            await world.renewals().tick()
    assert len(world.masters.epochs) == 1 + 364 // 90
    due = [fact.details["due_at"] for fact in world.epochs.facts]
    assert due == [(BEGIN + n * QUARTER).isoformat() for n in range(1, 5)]
    assert [fact.details["epoch"] for fact in world.epochs.facts] == [2, 3, 4, 5]


@pytest.mark.parametrize("at", ["allocate", "create", "mark_open"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_interrupted_renewal_is_finished_and_not_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch, at: str, when: str
) -> None:
    """Killed before or after any of its writes: one epoch, one secret, one fact."""
    world.now = BEGIN + QUARTER
    owner: Any = world.masters if at == "create" else world.epochs
    real = getattr(owner, at)

    async def dies(*arguments: Any, **named: Any) -> Any:
        if when == "after":
            await real(*arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(owner, at, dies)
        with pytest.raises(KeyboardInterrupt):
            await world.renewals().tick()
    written = dict(world.masters.epochs)
    world.now += timedelta(minutes=1)
    await world.renewals().tick()
    await world.renewals().tick()
    assert set(world.masters.epochs) == {(MASTER, EpochNumber(1)), (MASTER, EpochNumber(2))}
    assert written.items() <= world.masters.epochs.items()
    assert len(world.epochs.facts) == 1


async def test_an_imported_master_is_overdue_and_never_renewed(world: World) -> None:
    """A person brought it, and a person replaces it; it is told once."""
    await world.keyring().renew(MASTER, MasterSecret(bytes(range(32))), fact=OPENED)
    world.epochs.facts.clear()
    renewals = world.renewals()
    world.now = BEGIN + 2 * QUARTER
    for _ in range(3):
        await renewals.tick()
    assert len(world.masters.epochs) == 2
    assert world.epochs.facts == []
    found = await renewals.standing(MASTER)
    assert found is not None
    assert (found.is_imported, found.overdue_since(world.now)) == (True, BEGIN + QUARTER)
    await world.keyring().renew(MASTER, None, fact=OPENED)
    found = await renewals.standing(MASTER)
    assert found is not None
    assert (found.is_imported, found.overdue_since(world.now)) == (False, None)


async def test_an_epoch_that_a_person_opens_has_its_fact_in_the_same_write(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the write that opens it, the fact is there; before it, neither is."""
    real = world.epochs.mark_open

    async def dies(*arguments: Any, **named: Any) -> Any:
        await real(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(world.epochs, "mark_open", dies)
    with pytest.raises(KeyboardInterrupt):
        await world.keyring().renew(MASTER, None, fact=OPENED)
    (fact,) = world.epochs.facts
    assert fact.details == {"master": MASTER, "epoch": 2}
    newest = await world.epochs.newest(MASTER)
    assert newest is not None
    assert newest.number == 2


async def test_an_epoch_that_a_wrong_clock_has_opened_is_renewed_and_once(world: World) -> None:
    """Opened a year ahead, nobody knows how old it is: the next one is opened, by the clock of now."""
    world.now = BEGIN + timedelta(days=365)
    await world.keyring().renew(MASTER, None, fact=OPENED)
    world.epochs.facts.clear()
    world.now = BEGIN + DAY
    for _ in range(3):
        await world.renewals().tick()
        world.now += timedelta(minutes=1)
    assert [fact.details["epoch"] for fact in world.epochs.facts] == [3]
    found = await world.renewals().standing(MASTER)
    assert found is not None
    assert found.due_at == BEGIN + DAY + QUARTER


async def test_without_an_interval_or_an_epoch_nothing_is_renewed(world: World) -> None:
    """A master has a schedule only where one is written, and only once it is in use."""
    world.now = BEGIN + 100 * QUARTER
    await world.renewals(None).tick()
    assert len(world.masters.epochs) == 1
    empty = World()
    empty.now = world.now
    await empty.renewals().tick()
    assert empty.masters.epochs == {}


async def test_a_store_that_is_away_delays_a_renewal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, and nothing was lost."""
    world.now = BEGIN + QUARTER

    async def away(*_: object) -> None:
        raise StoreUnreachable

    with monkeypatch.context() as patched:
        patched.setattr(world.masters, "create", away)
        await world.renewals().tick()
    assert len(world.masters.epochs) == 1
    await world.renewals().tick()
    assert len(world.masters.epochs) == 2
