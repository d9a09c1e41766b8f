"""The state store as it lies there: read by `rotator doctor`, beside a service or without one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rotator.domain.cluster import Cluster
    from rotator.ports.state_store import TokenRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What was read in one look."""

    clusters: tuple[Cluster, ...] = ()
    tokens: tuple[TokenRow, ...] = ()
    #: When a fact of each kind was last written; kinds by name, so that one may be asked for that
    #: this program does not know.
    newest_facts: Mapping[str, datetime] = field(default_factory=dict)
    now: datetime  #: the database's clock
