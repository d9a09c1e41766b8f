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
from typing import TYPE_CHECKING, Any, Final

from rotator.domain.ids import NODE_NAME
from rotator.errors import NotAuthenticated
from rotator.ports.state_store import TokenRow

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from rotator.ports.workloads import Workload, WorkloadReviewer

#: How long an answer counts, and so how long a revoked token may still be taken.
KEPT: Final = timedelta(seconds=10)
MAX_KEPT: Final = 10_000
MAX_TOKEN: Final = 8 * 1024  #: characters; those of Kubernetes have about 1,000
_AT_ONCE: Final = 16  #: reviews
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
POD: Final = "{pod}"
NAMESPACE: Final = "{namespace}"


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
        if workload.pod is None:
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reviewer = reviewer
        self._audience = audience
        self._clock = clock
        self.identities = {one.subject: one for one in identities}
        self._kept: OrderedDict[bytes, tuple[float, Workload | None]] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[Workload | None]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def authenticate(self, token: str, *, now: datetime) -> TokenRow:
        """What the process that shows it may; `NotAuthenticated`, or `IdentityAway` when nobody can say."""
        said = claims_of(token)
        if not self._may_be_good(said, now):
            raise NotAuthenticated
        workload = await self._reviewed(token)
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

    async def _reviewed(self, token: str) -> Workload | None:
        key = hashlib.sha256(token.encode()).digest()
        kept = self._kept.get(key)
        if kept is not None and kept[0] > self._clock():
            return kept[1]
        if key not in self._asked:  # Many who ask with one token ask once.
            self._asked[key] = asyncio.ensure_future(self._ask(key, token))
        return await asyncio.shield(self._asked[key])

    async def _ask(self, key: bytes, token: str) -> Workload | None:
        try:
            async with self._places:
                asked_at = self._clock()
                found = await self._reviewer.review(token)
            self._kept[key] = (asked_at + KEPT.total_seconds(), found)
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return found
        finally:
            del self._asked[key]
