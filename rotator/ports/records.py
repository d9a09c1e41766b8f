"""The state store as it lies there: read beside a service, or without one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rotator.domain.cluster import Cluster
    from rotator.domain.document import FactsHead
    from rotator.domain.ids import ClusterName
    from rotator.ports.state_store import TokenRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What was read in one look."""

    clusters: tuple[Cluster, ...] = ()
    tokens: tuple[TokenRow, ...] = ()
    #: When a fact of each kind was last written; kinds by name, so that one may be asked for that
    #: this program does not know.
    newest_facts: Mapping[str, datetime] = field(default_factory=dict)
    #: The details of the same facts, by kind.
    newest_details: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    #: The clusters whose document ends in a fact that is here; of those that were asked about.
    native: frozenset[ClusterName] = frozenset()
    now: datetime  #: the database's clock


class Break(StrEnum):
    """How a chain of facts ends before its end."""

    CHANGED = "changed"  #: a fact is not what its hash says
    MISSING = "missing"  #: a fact is not there, and later ones are
    CUT = "cut"  #: the last facts are not there, of which a head tells that was kept elsewhere
    ADDED = "added"  #: there are facts after what the cluster's head says is the last one
    ANOTHER = "another"  #: a chain of its own right, and not that of which the kept head is


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What came of following a chain of facts from its beginning."""

    head: FactsHead  #: the last fact that verifies; its seq is how many do
    broken_at: int | None = None  #: the seq of the first one that does not
    why: Break | None = None
