"""Epochs, tokens and emergencies."""

# ruff: noqa: PLR2004 - numbers are what the promises say

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rotator.domain.facts import FactKind
from rotator.domain.ids import (
    EpochNumber,
    MasterName,
)
from rotator.errors import InvariantViolated
from rotator.ports.state_store import EmergencyRow, EpochRow
from rotator.testing.factories import NOW
from rotator.testing.state.values import (
    a_fact,
    a_token,
    later,
)

if TYPE_CHECKING:
    from rotator.adapters.state.store import State

    Meddle = Callable[[str], Awaitable[None]]


class EpochsContract:
    """Numbers of epochs are given out once."""

    async def test_an_epoch_is_allocated_once_for_each_purpose(
        self, state: State, other: State
    ) -> None:
        """The same purpose gets the same number again, another one the next, per master."""
        default, spare = MasterName("default"), MasterName("spare")
        assert await state.epochs.allocate(default, "first") == 1
        assert await other.epochs.allocate(default, "r1") == 2
        assert await other.epochs.allocate(default, "first") == 1
        assert await state.epochs.allocate(spare, "first") == 1

    async def test_many_ask_at_the_same_time(self, state: State, other: State) -> None:
        """Numbers are gapless, and each purpose has one, however many ask."""
        asked = [(through, f"r{n}") for n in range(10) for through in (state, other)]
        numbers = await asyncio.gather(
            *(through.epochs.allocate(MasterName("m"), reason) for through, reason in asked)
        )
        assert sorted(numbers) == sorted([*range(1, 11)] * 2)
        assert numbers[0::2] == numbers[1::2]

    async def test_only_open_epochs_are_the_newest(self, state: State) -> None:
        """A number that was given out, and never seen in the secrets manager, is not used."""
        master = MasterName("default")
        assert await state.epochs.newest(master) is None
        for purpose in ("first", "r1", "r2"):
            await state.epochs.allocate(master, purpose)
        assert await state.epochs.newest(master) is None
        for number in (2, 1, 1):
            await state.epochs.mark_open(master, EpochNumber(number))
        newest = await state.epochs.newest(master)
        assert newest is not None
        assert (newest.number, newest.opened_for, newest.is_open) == (2, "r1", True)
        third = await state.epochs.get(master, EpochNumber(3))
        assert third is not None
        assert not third.is_open
        assert await state.epochs.get(master, EpochNumber(4)) is None

    async def test_an_epoch_is_opened_once_with_its_fact(self, state: State, other: State) -> None:
        """When it was first seen stays, however often it is seen; its fact is of that moment."""
        master, fact = MasterName("default"), a_fact(FactKind.EPOCH_OPENED)
        number = await state.epochs.allocate(master, "due 2026-11-23")
        closed = await state.epochs.get(master, number)
        assert closed is not None
        assert (closed.is_open, closed.opened_at) == (False, None)
        await state.epochs.mark_open(master, number, fact=fact)
        first = await other.epochs.get(master, number)
        assert first is not None
        assert first.opened_at is not None
        assert first.opened_at.tzinfo is not None
        await other.epochs.mark_open(master, number, fact=fact)
        assert await state.epochs.get(master, number) == first
        told = [one.fact.kind for one in await state.clusters.facts(None)]
        assert told.count(FactKind.EPOCH_OPENED) == 1

    async def test_an_epoch_is_taken_up_as_the_secrets_manager_has_it(
        self, state: State, other: State
    ) -> None:
        """After a loss what is there wins over what an old copy had on record; a repeat is harmless."""
        await state.epochs.allocate(MasterName("default"), "first")
        await state.epochs.allocate(MasterName("default"), "renewal")
        found = EpochRow(
            master=MasterName("default"), number=EpochNumber(5), opened_for="renewal", is_open=True
        )
        for _ in range(2):
            await state.epochs.take_up(found)
        assert await other.epochs.get(MasterName("default"), EpochNumber(5)) == found
        assert await other.epochs.get(MasterName("default"), EpochNumber(2)) is None
        assert await other.epochs.newest(MasterName("default")) == found
        same = replace(found, number=EpochNumber(1), opened_for="something else")
        await state.epochs.take_up(same)
        assert await other.epochs.get(MasterName("default"), EpochNumber(1)) == same
        assert await other.epochs.allocate(MasterName("default"), "next") == 6


class TokensContract:
    """Tokens are looked up fresh, so that revoking works at once."""

    async def test_tokens_come_back_newest_first(self, state: State, other: State) -> None:
        """Every field survives."""
        for number in (1, 3, 2):
            await state.tokens.add(a_token(number))
        assert await other.tokens.all() == tuple(a_token(number) for number in (3, 2, 1))
        assert await other.tokens.find("t2") == a_token(2)
        assert await state.tokens.find("t9") is None

    async def test_usable_tokens_are_told_by_their_digests(
        self, state: State, other: State
    ) -> None:
        """None that is revoked or expired, and where a date is given, none from before it."""
        for number in (1, 2, 3):
            await state.tokens.add(a_token(number))
        await state.tokens.add(a_token(4, expires_at=NOW))
        await state.tokens.revoke("t2", now=NOW)
        one, three = [(token.digest, token.nodes) for token in (a_token(1), a_token(3))]
        assert await other.tokens.usable(now=NOW) == (one, three)
        after = a_token(1).created_at
        assert await other.tokens.usable(now=NOW, since=after) == (three,)

    async def test_a_revoked_token_is_revoked_everywhere_at_once(
        self, state: State, other: State
    ) -> None:
        """The first revocation counts, and its time is not moved by a second."""
        await state.tokens.add(a_token(1))
        assert await state.tokens.find("t1") == a_token(1)
        assert await other.tokens.revoke("t1", now=NOW)
        assert not await other.tokens.revoke("t1", now=later(hours=1))
        assert not await other.tokens.revoke("t9", now=NOW)
        assert await state.tokens.find("t1") == a_token(1, revoked_at=NOW)

    async def test_last_use_moves_forward(self, state: State) -> None:
        """A late flush does not make a token look less used than it is."""
        await state.tokens.add(a_token(1))
        for at in (later(hours=2), later(hours=1)):
            await state.tokens.used({"t1": at, "t9": at})
        assert await state.tokens.find("t1") == a_token(1, last_used_at=later(hours=2))

    async def test_a_token_id_is_used_once(self, state: State) -> None:
        """A second token cannot take the place of the first."""
        await state.tokens.add(a_token(1))
        with pytest.raises(InvariantViolated):
            await state.tokens.add(a_token(1, role="admin"))
        assert await state.tokens.find("t1") == a_token(1)


class EmergenciesContract:
    """An emergency over many clusters is written down once."""

    async def test_an_emergency_is_stored_once(self, state: State, other: State) -> None:
        """Adding it again changes nothing, whatever it says."""
        rows = ({"cluster": "orders", "rotation": "r1"}, {"cluster": "payments", "error": "x"})
        emergency = EmergencyRow(id="e1", at=NOW, by="token:1", reason="leak", rows=rows)
        await state.emergencies.add(emergency)
        await other.emergencies.add(replace(emergency, reason="other"))
        assert await state.emergencies.get("e1") == await other.emergencies.get("e1") == emergency
        assert await state.emergencies.get("e2") is None
