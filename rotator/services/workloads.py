"""Processes that show the platform's token instead of one of ours: who they are, and what they may.

A token is looked at before anybody is asked: one that is for another audience, has expired, or is of a
service account that nobody has named costs no request. What it says is not believed, though: only
the platform's answer counts, and that for seconds.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rotator.domain.ids import NODE_NAME
from rotator.errors import IdentityAway, NotAuthenticated
from rotator.ports.state_store import TokenRow
from rotator.services.allowance import Allowance

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from rotator.ports.workloads import Workload, WorkloadReviewer

#: How long an answer counts, and so how long a revoked token may still be taken.
KEPT: Final = timedelta(seconds=10)
MAX_KEPT: Final = 10_000
MAX_TOKEN: Final = 8 * 1024  #: characters; those of Kubernetes have about 1,000
_AT_ONCE: Final = 16  #: reviews of tokens that were good before
_NEW_AT_ONCE: Final = 4  #: reviews of tokens that never were
NEW_PER_SECOND: Final = 50.0  #: of those, from everywhere together
NEW_BURST: Final = 500.0  #: at once, and that wait at most: a fleet whose service was restarted
#: Seconds of failures without an answer, after which nobody counts as silent.
OUT_OF_TOUCH: Final = 5.0
_V = TypeVar("_V")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
POD: Final = "{pod}"
NAMESPACE: Final = "{namespace}"


class TooManyNew(IdentityAway):
    """Too many tokens come for the first time just now; try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What processes of one service account may."""

    namespace: str
    account: str
    role: str
    clusters: tuple[str, ...]
    nodes: str = ""  #: role node: a node's name made of its pod's, ``rabbit@{pod}.rabbit-nodes``

    @property
    def subject(self) -> str:
        """As Kubernetes writes it into a token."""
        return f"system:serviceaccount:{self.namespace}:{self.account}"


def granted(identity: Identity, workload: Workload, *, now: datetime) -> TokenRow | None:
    """What a process may, as a token of ours would say it; None: nothing.

    A node is told by its pod: a token that is bound to no pod speaks for no node.
    """
    node = ""
    if identity.role == "node":
        # With a dot it would be another host's name: ``rabbit@app-0.prod`` by a pod called app-0.prod.
        if workload.pod is None or "." in workload.pod:
            return None
        node = identity.nodes.replace(POD, workload.pod).replace(NAMESPACE, workload.namespace)
        if NODE_NAME.fullmatch(node) is None:
            return None
    name = "/".join((workload.namespace, workload.account, *filter(None, (workload.pod,))))
    return TokenRow(
        id=f"kubernetes:{name}",
        digest="",
        role=identity.role,
        clusters=identity.clusters,
        nodes=node,
        note="",
        created_at=now,
        created_by="kubernetes",
        expires_at=now + KEPT,
    )


def claims_of(token: str) -> dict[str, Any]:
    """What a token says of itself, unchecked; nothing for what is none."""
    match = _TOKEN.fullmatch(token) if len(token) <= MAX_TOKEN else None
    if match is None:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Workloads:
    """Authenticates processes of a platform."""

    def __init__(
        self,
        reviewer: WorkloadReviewer,
        *,
        audience: str,
        identities: tuple[Identity, ...],
        on_away: Callable[[datetime], None] = lambda _now: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reviewer = reviewer
        self._audience = audience
        self._clock = clock
        self.identities = {one.subject: one for one in identities}
        self._on_away = on_away  #: is told again and again while nobody can be heard
        self._good: OrderedDict[bytes, tuple[float, Workload]] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[Workload | None]] = {}
        # Made-up tokens cost a review each: those that were good before do not queue behind them.
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._new_places = asyncio.Semaphore(_NEW_AT_ONCE)
        self._new_waiting = 0
        self._new = Allowance(NEW_BURST, clock())
        self._away_since: float | None = None

    async def authenticate(self, token: str, *, now: datetime) -> TokenRow:
        """What the process that shows it may; `NotAuthenticated`, or `IdentityAway` when nobody can say."""
        said = claims_of(token)
        if not self._may_be_good(said, now):
            raise NotAuthenticated
        try:
            workload = await self._reviewed(token)
        except TooManyNew:
            raise
        except IdentityAway:
            self._note_away(now)
            raise
        if workload is None:
            raise NotAuthenticated
        subject = f"system:serviceaccount:{workload.namespace}:{workload.account}"
        identity = self.identities.get(subject)
        row = None if identity is None else granted(identity, workload, now=now)
        if row is None:
            raise NotAuthenticated
        return row

    def covering(self, cluster: str) -> tuple[Identity, ...]:
        """Identities by which pods may speak for nodes of a cluster."""
        return tuple(
            one
            for one in self.identities.values()
            if one.role == "node" and {cluster, "*"} & set(one.clusters)
        )

    def _may_be_good(self, said: dict[str, Any], now: datetime) -> bool:
        audiences, ends = said.get("aud"), said.get("exp")
        named = audiences if isinstance(audiences, list) else [audiences]
        is_living = isinstance(ends, int | float) and ends > now.timestamp()
        subject = said.get("sub")
        is_known = isinstance(subject, str) and subject in self.identities
        return self._audience in named and is_living and is_known

    def _note_away(self, now: datetime) -> None:
        """Pods cannot be heard meanwhile, so their silence says nothing."""
        moment = self._clock()
        if self._away_since is None:
            self._away_since = moment
        if moment - self._away_since > OUT_OF_TOUCH:
            self._on_away(now)

    async def _reviewed(self, token: str) -> Workload | None:
        key, moment = hashlib.sha256(token.encode()).digest(), self._clock()
        good = self._good.get(key)
        if good is not None and good[0] > moment:
            self._good.move_to_end(key)
            return good[1]
        if self._refused.get(key, moment) > moment:
            return None
        if key not in self._asked:  # Many who ask with one token ask once.
            ask = self._ask_new if good is None else self._ask
            self._asked[key] = asyncio.ensure_future(ask(key, token))
        return await asyncio.shield(self._asked[key])

    async def _ask(self, key: bytes, token: str) -> Workload | None:
        try:
            async with self._places:
                return await self._review(key, token)
        finally:
            del self._asked[key]

    async def _ask_new(self, key: bytes, token: str) -> Workload | None:
        """Of a token that was never seen good: so many a second, and so many that wait."""
        try:
            self._new = self._new.refilled(self._clock(), rate=NEW_PER_SECOND, burst=NEW_BURST)
            if self._new.left < 1 or self._new_waiting >= NEW_BURST:
                raise TooManyNew
            self._new = self._new.minus(1)
            self._new_waiting += 1
            try:
                async with self._new_places:
                    return await self._review(key, token)
            finally:
                self._new_waiting -= 1
        finally:
            del self._asked[key]

    async def _review(self, key: bytes, token: str) -> Workload | None:
        asked_at = self._clock()
        found = await self._reviewer.review(token)
        self._away_since = None
        until = asked_at + KEPT.total_seconds()
        if found is None:
            self._good.pop(key, None)
            _keep(self._refused, key, until)
        else:
            _keep(self._good, key, (until, found))
        return found


def _keep(kept: OrderedDict[bytes, _V], key: bytes, value: _V) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > MAX_KEPT:
        kept.popitem(last=False)
