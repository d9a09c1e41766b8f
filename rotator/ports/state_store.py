"""Where what should happen, and what was attested, is kept. Never cookie or master material."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rotator.domain.ids import Fence

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime, timedelta

    from rotator.domain.cluster import Change, Cluster
    from rotator.domain.document import FactsHead
    from rotator.domain.facts import Fact
    from rotator.domain.ids import (
        ClusterName,
        EpochNumber,
        MasterName,
        NodeName,
        RotationId,
    )
    from rotator.domain.rotation import Rotation

#: How `opened_for` of an epoch begins whose secret a person gave.
IMPORTED = "import "


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainedFact:
    """A fact with its place in its cluster's hash chain."""

    cluster: ClusterName | None  #: None: a fact of the whole service (tokens)
    seq: int  #: 1, 2, 3 … within the cluster
    position: int  #: 1, 2, 3 … over all; the cursor of listings
    fact: Fact
    hash: str  #: SHA-256 over the previous hash and the fact, 64 hex digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The answer to a command that carried an idempotency key."""

    principal: str
    key: str
    request_hash: str  #: SHA-256 of method, path and body
    status: int
    body: str  #: JSON; never holds a secret
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """An epoch as the state store knows it."""

    master: MasterName
    number: EpochNumber
    opened_for: str
    is_open: bool  #: it was seen in the secrets manager
    opened_at: datetime | None = None  #: when it was first seen there

    @property
    def is_imported(self) -> bool:
        """Whether a person gave its secret; what it was opened for says so, in both stores."""
        return self.opened_for.startswith(IMPORTED)


class ClusterStates(Protocol):
    """Clusters as aggregates, and their history.

    `save` is one transaction: cluster, versions, members, rotations, facts and receipt, or none.
    Any method may raise `StateUnavailable`; a write that raised it may have happened, so the
    caller loads again and looks.
    """

    async def declare(self, names: Collection[ClusterName], *, now: datetime) -> None:
        """Make rows for new names; mark those no longer named as undeclared, others as declared.

        All of it or nothing. Where nothing differs, it costs one look.
        """
        ...

    async def names(self) -> tuple[ClusterName, ...]:
        """Every cluster that there ever was, by name."""
        ...

    async def load(self, name: ClusterName) -> Cluster | None:
        """The cluster as it is now."""
        ...

    async def save(
        self,
        before: Cluster,
        change: Change,
        *,
        line: str = "",
        fence: Fence | None = None,
        receipt: Receipt | None = None,
    ) -> Cluster:
        """Write *change* if the cluster is still at *before*'s revision, else `RevisionConflict`.

        With *fence*: only while that is the newest one, else `FenceLost`. Facts that are there
        already (`Fact.once_key`) are not repeated. *line* names the failpoint. Returns the
        cluster as stored, with its new revision and head of facts.
        """
        ...

    async def touch(self, seen: Mapping[ClusterName, Mapping[NodeName, datetime]]) -> None:
        """Move members' last_seen forward, in one transaction; whoever is no member is passed over.

        It changes no revision. Other writers of these clusters wait for it.
        """
        ...

    async def stand(self, cluster: Cluster, *, fence: Fence | None = None) -> None:
        """Store the cluster's blockers alone, if it is still at its revision; changes no revision.

        With *fence*: only while that is the newest one, else `FenceLost`.
        """
        ...

    async def rotation(self, rotation_id: RotationId) -> Rotation | None:
        """One rotation, finished or not."""
        ...

    async def rotations(
        self,
        cluster: ClusterName | None,
        *,
        before: str | None = None,
        limit: int = 50,
        emergency_id: str | None = None,
    ) -> tuple[Rotation, ...]:
        """Newest first; *before* is the id of the last one of the page before."""
        ...

    async def facts(
        self,
        cluster: ClusterName | None,
        *,
        after: int = 0,
        limit: int = 100,
        rotation: RotationId | None = None,
        newest_first: bool = False,
    ) -> tuple[ChainedFact, ...]:
        """Facts by position; *after* is the position of the last one of the page before."""
        ...

    async def holds(self, cluster: ClusterName, head: FactsHead) -> bool:
        """Whether this is a link of the cluster's chain of facts; of none: the genesis."""
        ...

    async def add_fact(self, fact: Fact, *, cluster: ClusterName | None = None) -> None:
        """A fact that changes no cluster (a refused report, a token)."""
        ...

    async def keep(self, receipt: Receipt) -> None:
        """Store a receipt before what it is for begins; `StateUnavailable` if its key is in use."""
        ...

    async def receipt(self, principal: str, key: str, *, now: datetime) -> Receipt | None:
        """The answer that was given to this key within 24 h."""
        ...

    async def now(self) -> datetime:
        """The database's clock, UTC; windows end by it."""
        ...


class Epochs(Protocol):
    """Numbers of master secret epochs are given out here, before anything is written."""

    async def allocate(self, master: MasterName, opened_for: str) -> EpochNumber:
        """The next number; the same one again for the same *opened_for*."""
        ...

    async def newest(self, master: MasterName) -> EpochRow | None:
        """The newest epoch that is open."""
        ...

    async def get(self, master: MasterName, number: EpochNumber) -> EpochRow | None:
        """One epoch."""
        ...

    async def mark_open(
        self, master: MasterName, number: EpochNumber, *, fact: Fact | None = None
    ) -> None:
        """It was seen in the secrets manager; from now on its absence is an error.

        The first time sets `opened_at` by the database's clock, and writes *fact* with it.
        """
        ...

    async def take_up(self, row: EpochRow) -> None:
        """Have it on record as the secrets manager has it, whatever was on record before.

        For a state store that was lost, or is an old copy. Repeating it changes nothing.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """Who has the lease."""

    fence: Fence  #: the newest fencing token; 0: nobody ever had the lease
    holder: str | None  #: a name for people; None: nobody, or it cannot be told
    is_free: bool  #: to be taken


class Lease(Protocol):
    """The right of one process to reconcile."""

    #: How long it lasts when it is not renewed, by the database's clock. None: as long as the
    #: process, and then nobody else may serve beside it.
    life: timedelta | None

    async def acquire(self, *, above: Fence = Fence(0)) -> Fence:
        """Take it, with a fencing token above all before; `AnotherProcess` if it is taken.

        *above*: a token known from elsewhere, which this one is above, too.
        """
        ...

    async def renew(self) -> None:
        """Have it for another `life` from now on; `FenceLost` if somebody has taken it."""
        ...

    async def release(self) -> None:
        """Give it back, if it is still ours; who waits for it is told."""
        ...

    async def look(self) -> Tenure:
        """Who has it now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """An API token as stored: never the token itself."""

    id: str
    digest: str  #: SHA-256 of the whole token, 64 hex digits
    role: str
    clusters: tuple[str, ...]  #: names, or ("*",)
    nodes: str  #: for role node: a name, or a pattern with ``*``; else empty
    note: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class Tokens(Protocol):
    """API tokens."""

    async def add(self, token: TokenRow) -> None:
        """Store a new one."""
        ...

    async def find(self, token_id: str) -> TokenRow | None:
        """The newest state of it; revocation is seen at once."""
        ...

    async def all(self) -> tuple[TokenRow, ...]:
        """Every token, newest first."""
        ...

    async def usable(
        self, *, now: datetime, since: datetime | None = None
    ) -> tuple[tuple[str, str], ...]:
        """Digest and nodes of those neither revoked nor expired, made after *since*, oldest first."""
        ...

    async def revoke(self, token_id: str, *, now: datetime) -> bool:
        """Whether there was such a token that was not revoked yet."""
        ...

    async def used(self, last_used: Mapping[str, datetime]) -> None:
        """Note when tokens were last used."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergencyRow:
    """An emergency over many clusters."""

    id: str
    at: datetime
    by: str
    reason: str
    rows: tuple[Mapping[str, Any], ...]  #: per cluster: its rotation, or the error


class Emergencies(Protocol):
    """Emergencies over many clusters."""

    async def add(self, emergency: EmergencyRow) -> None:
        """Store it; again with the same id: no change."""
        ...

    async def get(self, emergency_id: str) -> EmergencyRow | None:
        """One of them."""
        ...
