"""API tokens: random, shown once, stored as SHA-256, revoked at once."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rotator.domain.derivation import ALPHABET, KEY_BYTES, base62
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import NODE_NAME, ClusterName
from rotator.errors import InputError, NotAuthenticated, NotFound
from rotator.ports.state_store import TokenRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rotator.domain.ids import NodeName
    from rotator.ports.state_store import ClusterStates, Tokens
    from rotator.ports.wakeups import Wakeups
    from rotator.services.workloads import Workloads

ROLES: Final = ("node", "orchestrator", "operator", "auditor", "admin")
MAX_LIFETIME: Final = timedelta(days=90)
ANY: Final = "*"

_PREFIX: Final = "rot"
_ID_LENGTH: Final = 12
_TOKEN: Final = re.compile(r"rot_([0-9A-Za-z]{8,24})_[0-9A-Za-z]{43}")
_NAME: Final = re.compile(r"[!-~]{1,255}")
_MAX_CLUSTERS: Final = 1000
_MAX_NOTE: Final = 1000
#: How much of the time between two notes of `last_used_at` may be lost.
_USED_AGAIN: Final = timedelta(minutes=1)
#: A token's date is read before it is written; no write takes as long as this.
_LONGEST_WRITE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """What was revoked for some nodes, and what still covers them."""

    revoked: tuple[str, ...]  #: ids of tokens
    covering: tuple[TokenRow, ...]  #: patterns with ``*``, and tokens that reach out of scope


def covers(pattern: str, name: str) -> bool:
    """Whether *name* matches a pattern in which ``*`` alone is special, as any run of characters."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == name
    if not name.startswith(first):
        return False
    position = len(first)
    *middle, last = rest
    for part in middle:
        found = name.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return len(name) - len(last) >= position and name.endswith(last)


def may_see(token: TokenRow, cluster: str) -> bool:
    """Whether the cluster is in the token's scope."""
    return ANY in token.clusters or cluster in token.clusters


def is_within(clusters: Sequence[str], scope: Sequence[str]) -> bool:
    """Whether a scope holds all of these clusters; either may be ``*``."""
    return ANY in scope or (ANY not in clusters and set(scope).issuperset(clusters))


class TokenService:
    """Makes, checks and revokes tokens. Each is a fact; none holds the secret."""

    def __init__(
        self,
        *,
        tokens: Tokens,
        states: ClusterStates,
        wakeups: Wakeups | None = None,
        workloads: Workloads | None = None,
    ) -> None:
        self.workloads = workloads  #: who shows a platform's token; None: nobody may
        self._tokens = tokens
        self._states = states
        self._wakeups = wakeups
        self._used: dict[str, datetime] = {}
        self._looked_at: datetime | None = None
        self.revocations = 0  #: heard of; whoever waits with a token looks whether it grew

    async def create(
        self,
        *,
        role: str,
        clusters: Sequence[str],
        by: str,
        nodes: str = "",
        note: str = "",
        expires_in: timedelta = MAX_LIFETIME,
        token_id: str | None = None,
    ) -> tuple[TokenRow, str]:
        """A new token and its text, which exists nowhere else; `InputError` for a bad wish."""
        _require_good(role=role, clusters=clusters, nodes=nodes, note=note, expires_in=expires_in)
        found = token_id or "".join(secrets.choice(ALPHABET) for _ in range(_ID_LENGTH))
        text = f"{_PREFIX}_{found}_{base62(secrets.token_bytes(KEY_BYTES))}"
        now = await self._states.now()
        row = TokenRow(
            id=found,
            digest=_digest(text),
            role=role,
            clusters=tuple(dict.fromkeys(clusters)),
            nodes=nodes,
            note=note,
            created_at=now,
            created_by=by,
            expires_at=now + expires_in,
        )
        await self._tokens.add(row)
        await self._states.add_fact(_fact(FactKind.TOKEN_CREATED, row, at=now, by=by, reason=note))
        return row, text

    async def authenticate(self, text: str) -> TokenRow:
        """The token that *text* is; `NotAuthenticated`, which does not say why."""
        match = _TOKEN.fullmatch(text)
        if match is None and self.workloads is not None:
            return await self.workloads.authenticate(text, now=await self._states.now())
        row = await self._tokens.find(match[1]) if match else None
        # Compared even when there is no such id, so that time does not tell ids apart.
        expected = row.digest if row else "0" * 64
        is_same = hmac.compare_digest(expected.encode(), _digest(text).encode())
        now = await self._states.now()
        if row is None or not is_same or row.revoked_at is not None or now >= row.expires_at:
            raise NotAuthenticated
        self._note_use(row, now)
        return row

    def _note_use(self, row: TokenRow, now: datetime) -> None:
        if row.last_used_at is None or now - row.last_used_at >= _USED_AGAIN:
            self._used[row.id] = now

    async def flush_used(self) -> None:
        """Write when tokens were last used; called now and then, never on the way of a request."""
        writing, self._used = self._used, {}
        if not writing:
            return
        try:
            await self._tokens.used(writing)
        except BaseException:
            self._used = writing | self._used
            raise

    async def newcomers(self) -> tuple[tuple[str, bool], ...]:
        """Tokens made since the last call, on any replica; at first every usable one.

        The SHA-256 of each (hex), and whether it is for many nodes. Some may come twice.
        """
        now = await self._states.now()
        since = None if self._looked_at is None else self._looked_at - _LONGEST_WRITE
        found = await self._tokens.usable(now=now, since=since)
        self._looked_at = now
        return tuple((digest, ANY in nodes) for digest, nodes in found)

    async def find(self, token_id: str) -> TokenRow | None:
        """One token, whatever its state."""
        return await self._tokens.find(token_id)

    async def list(self) -> tuple[TokenRow, ...]:
        """Every token, newest first."""
        return await self._tokens.all()

    async def revoke(self, token_id: str, *, by: str, reason: str = "") -> TokenRow:
        """Refuse it from the next look on; repeating it is harmless. `NotFound`."""
        row = await self._tokens.find(token_id)
        if row is None:
            raise NotFound("there is no such token")
        now = await self._states.now()
        if await self._tokens.revoke(token_id, now=now):
            self.revocations += 1
            fact = _fact(FactKind.TOKEN_REVOKED, row, at=now, by=by, reason=reason)
            await self._states.add_fact(fact)
            await self._wake(row)
        return await self._tokens.find(token_id) or row

    async def _wake(self, row: TokenRow) -> None:
        """Whoever waits with this token looks again, and is refused."""
        if self._wakeups is None:
            return
        names = await self._states.names() if ANY in row.clusters else row.clusters
        for name in names:
            await self._wakeups.notify(ClusterName(name))

    async def revoke_for_nodes(
        self,
        cluster: ClusterName,
        nodes: Sequence[NodeName],
        *,
        scope: Sequence[str],
        by: str,
        reason: str = "",
    ) -> Revoked:
        """Revoke each node token of the cluster that is exactly for one of *nodes*.

        One that also opens clusters out of *scope* is another's to revoke, and only named.
        """
        now = await self._states.now()
        usable = [
            row
            for row in await self._tokens.all()
            if row.role == "node"
            and may_see(row, cluster)
            and row.revoked_at is None
            and row.expires_at > now
        ]
        exact = [row for row in usable if row.nodes in nodes and is_within(row.clusters, scope)]
        for row in exact:
            await self.revoke(row.id, by=by, reason=reason)
        covering = [
            row
            for row in usable
            if row not in exact and any(covers(row.nodes, node) for node in nodes)
        ]
        return Revoked(revoked=tuple(row.id for row in exact), covering=tuple(covering))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _require_good(
    *, role: str, clusters: Sequence[str], nodes: str, note: str, expires_in: timedelta
) -> None:
    if role not in ROLES:
        raise InputError(f"a role is one of {', '.join(ROLES)}")
    if not 1 <= len(clusters) <= _MAX_CLUSTERS or not all(map(_NAME.fullmatch, clusters)):
        raise InputError('clusters are names, or "*" for all of them')
    if ANY in clusters and len(clusters) > 1:
        raise InputError('"*" stands alone')
    if (role == "node") != bool(nodes):
        raise InputError("a token for a node names it (or a pattern with *), and no other does")
    if nodes and not (_NAME if "*" in nodes else NODE_NAME).fullmatch(nodes):
        raise InputError("the node's full name is wanted, as in rabbit@host, or a pattern with *")
    if len(note) > _MAX_NOTE or not all(char.isprintable() for char in note):
        raise InputError(f"a note is one line of at most {_MAX_NOTE} characters")
    if not timedelta(0) < expires_in <= MAX_LIFETIME:
        raise InputError(f"a token lives at most {MAX_LIFETIME.days} days")


def _fact(kind: FactKind, row: TokenRow, *, at: datetime, by: str, reason: str) -> Fact:
    details = {
        "token": row.id,
        "role": row.role,
        "clusters": list(row.clusters),
        "nodes": row.nodes,
        "expires_at": row.expires_at.isoformat(),
    }
    return Fact(kind=kind, at=at, by=by, reason=reason, details=details)
