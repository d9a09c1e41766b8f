"""Master secrets, stretched once per epoch and process, and what is derived from them."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Final

from rotator import failpoints
from rotator.domain.derivation import derive_cookie, derive_fingerprint_key
from rotator.domain.master import MasterSecret
from rotator.errors import (
    EpochForeign,
    EpochMissing,
    InputError,
    SecretStoreError,
    StoreUnreachable,
    WeakMaster,
)
from rotator.ports.master_store import Epoch
from rotator.ports.state_store import IMPORTED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rotator.domain.actions import Line
    from rotator.domain.cookie import Cookie
    from rotator.domain.facts import Fact
    from rotator.domain.ids import ClusterUid, EpochNumber, MasterName, VersionNumber
    from rotator.domain.kdf import KdfParameters
    from rotator.ports.key_stretcher import KeyStretcher
    from rotator.ports.master_store import MasterStore
    from rotator.ports.state_store import EpochRow, Epochs

SALT_BYTES: Final = 16
SECRET_BYTES: Final = 32


def generate() -> MasterSecret:
    """A fresh random master secret of 32 bytes."""
    while True:
        try:
            return MasterSecret(secrets.token_bytes(SECRET_BYTES))
        except WeakMaster:  # 32 random bytes with fewer than 16 distinct: once in 10**9 or less
            continue


def _require_ours(
    found: Epoch, row: EpochRow | None, master: MasterName, epoch: EpochNumber
) -> None:
    if row is not None and found.opened_for != row.opened_for:
        raise EpochForeign(
            f"epoch {epoch} of master {master} was opened for something else:"
            " the state store is older than the secrets manager"
        )


class KeyRing:
    """Opens epochs and derives from them."""

    def __init__(
        self,
        masters: MasterStore,
        epochs: Epochs,
        stretcher: KeyStretcher,
        parameters: Mapping[MasterName, KdfParameters],
    ) -> None:
        self._masters = masters
        self._epochs = epochs
        self._stretcher = stretcher
        self.parameters = parameters  #: of the epochs to come
        self._stretched: dict[tuple[MasterName, EpochNumber], bytes] = {}
        self._stretching = asyncio.Lock()

    async def current_epoch(self, master: MasterName) -> EpochNumber:
        """The newest open epoch, else the number of the first one, which is to be opened."""
        newest = await self._epochs.newest(master)
        return newest.number if newest else await self._epochs.allocate(master, "first")

    async def next_epoch(self, master: MasterName, opened_for: str) -> EpochNumber:
        """The number of a new epoch; the same again for the same *opened_for*.

        A number that the secrets manager has for something else is passed over: after a loss of
        the state store numbers begin anew, and an old secret is not a new one.
        """
        for again in count():
            wanted = f"{opened_for} ({again})" if again else opened_for
            epoch = await self._epochs.allocate(master, wanted)
            try:
                there = await self._masters.read(master, epoch)
            except SecretStoreError:
                return epoch  # `open` will look again before anything is derived from it
            if there is None or there.opened_for == wanted:
                return epoch
        raise AssertionError  # pragma: no cover - count() does not end

    async def is_open(self, master: MasterName, epoch: EpochNumber) -> bool:
        """Whether the epoch is in the secrets manager; `EpochMissing` if it was and is not.

        After a yes, what is derived from it needs the secrets manager no more.
        """
        if (master, epoch) in self._stretched:
            return True
        row = await self._epochs.get(master, epoch)
        found = await self._masters.read(master, epoch)
        if found is None:
            if row is not None and row.is_open:
                raise EpochMissing(f"epoch {epoch} of master {master} is gone")
            return False
        _require_ours(found, row, master, epoch)
        if row is None or not row.is_open:
            await self._epochs.mark_open(master, epoch)
        await self._key(master, epoch, found)
        return True

    async def open(
        self,
        master: MasterName,
        epoch: EpochNumber,
        *,
        line: Line | None = None,
        secret: MasterSecret | None = None,
        fact: Fact | None = None,
    ) -> Epoch:
        """Write the epoch unless it is there (KE1, KI1); what is there then wins.

        A new one gets *secret*, or a random one, and *fact* tells of it. Repeating it is harmless.
        """
        row = await self._epochs.get(master, epoch)
        wanted = Epoch(
            secret=secret or generate(),
            salt=secrets.token_bytes(SALT_BYTES),
            kdf=self._kdf(master),
            opened_for=row.opened_for if row else "unknown",
        )
        try:
            if line is not None:
                failpoints.hit(line, "before")
            there = await self._masters.create(master, epoch, wanted)
            if line is not None:
                failpoints.hit(line, "after")
                failpoints.hit(line, "lost")
        except failpoints.AnswerLost as lost:
            raise StoreUnreachable(str(lost)) from None
        _require_ours(there, row, master, epoch)
        await self._epochs.mark_open(master, epoch, fact=fact)
        return there

    async def renew(
        self, master: MasterName, secret: MasterSecret | None, *, fact: Fact
    ) -> EpochNumber:
        """Open the next epoch, with *secret* or a random one, and tell of it with *fact*.

        Later versions come from it.
        """
        purpose = "renewal " if secret is None else IMPORTED
        opened_for = f"{purpose}{secrets.token_hex(8)}"
        return await self._open_next(master, opened_for, secret=secret, fact=fact)

    async def renew_when_due(self, master: MasterName, due_at: datetime, fact: Fact) -> EpochNumber:
        """Open the epoch for this due date, with *fact*; again for the same date: no change."""
        return await self._open_next(master, f"due {due_at.isoformat()}", fact=fact)

    async def _open_next(
        self,
        master: MasterName,
        opened_for: str,
        *,
        secret: MasterSecret | None = None,
        fact: Fact,
    ) -> EpochNumber:
        self._kdf(master)
        epoch = await self.next_epoch(master, opened_for)
        told = replace(fact, details={**fact.details, "epoch": epoch})
        await self.open(master, epoch, secret=secret, fact=told)
        return epoch

    def _kdf(self, master: MasterName) -> KdfParameters:
        try:
            return self.parameters[master]
        except KeyError:
            raise InputError(f"master {master} is not declared in the configuration") from None

    async def _key(
        self, master: MasterName, epoch: EpochNumber, found: Epoch | None = None
    ) -> bytes:
        if (master, epoch) not in self._stretched:
            async with self._stretching:
                await self._stretch(master, epoch, found)
        return self._stretched[master, epoch]

    async def _stretch(self, master: MasterName, epoch: EpochNumber, found: Epoch | None) -> None:
        if (master, epoch) in self._stretched:
            return  # meanwhile
        found = found or await self._masters.read(master, epoch)
        if found is None:
            raise EpochMissing(f"epoch {epoch} of master {master} is not there")
        self._stretched[master, epoch] = await self._stretcher.stretch(found)

    async def cookie(
        self, master: MasterName, epoch: EpochNumber, *, uid: ClusterUid, number: VersionNumber
    ) -> Cookie:
        """The cookie of a version; the slow step runs once per epoch and process."""
        return derive_cookie(await self._key(master, epoch), uid=uid, number=number)

    async def fingerprint_key(
        self, master: MasterName, epoch: EpochNumber, *, uid: ClusterUid
    ) -> bytes:
        """The cluster's fingerprint key, 32 bytes, from its first epoch."""
        return derive_fingerprint_key(await self._key(master, epoch), uid=uid)
