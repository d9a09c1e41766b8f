"""Who is there: liveness of members, judged at one instant."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rotator.domain.cluster import ReadFrom

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.domain.cluster import Cluster, Member
    from rotator.domain.ids import NodeName
    from rotator.domain.policy import RotationPolicy


class Liveness(StrEnum):
    """What is known of a member."""

    JOINING = "joining"  #: about to boot
    LIVE = "live"
    UNKNOWN = "unknown"  #: not heard since this leader began to serve; counts as live
    LOST = "lost"  #: silent for longer than node_ttl
    EXCUSED = "excused"
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """The members of a cluster at one instant, seen by a leader that serves since some time."""

    cluster: Cluster
    policy: RotationPolicy
    now: datetime
    serving_since: datetime

    def liveness(self, member: Member) -> Liveness:
        """Silence counts from the later of the last heartbeat and the begin of serving."""
        if member.has_left:
            return Liveness.LEFT
        if member.is_excused:
            return Liveness.EXCUSED
        if self.now - max(member.last_seen, self.serving_since) > self.policy.node_ttl:
            return Liveness.LEFT if self.policy.ephemeral else Liveness.LOST
        if member.attestation is not None and member.attestation.read_from is ReadFrom.BOOT:
            return Liveness.JOINING
        return Liveness.LIVE if member.last_seen >= self.serving_since else Liveness.UNKNOWN

    def of(self, name: NodeName) -> Liveness | None:
        """The liveness of a member, or None if there is none of that name."""
        member = self.cluster.members.get(name)
        return None if member is None else self.liveness(member)

    def with_liveness(self, *wanted: Liveness) -> tuple[Member, ...]:
        """The members of these kinds, by name."""
        members = sorted(self.cluster.members.values(), key=lambda member: member.name)
        return tuple(member for member in members if self.liveness(member) in wanted)

    def awaited(self) -> tuple[Member, ...]:
        """Whom gates wait for: whoever runs, or was told to boot and may run at any moment."""
        running = self.with_liveness(Liveness.LIVE, Liveness.UNKNOWN, Liveness.JOINING)
        return tuple(
            m for m in running if m.is_admitted or self.liveness(m) is not Liveness.JOINING
        )

    def lost(self) -> tuple[Member, ...]:
        """Members that fell silent and that nobody has excused."""
        return self.with_liveness(Liveness.LOST)

    def to_excuse(self) -> Member | None:
        """A lost member that the policy no longer waits for."""
        after = self.policy.excuse_lost_after
        if after is None:
            return None
        silent = (m for m in self.lost() if self.now - max(m.last_seen, self.serving_since) > after)
        return next(silent, None)

    def missing(self) -> tuple[str, ...]:
        """Whom the cluster expects and who never attested: names, or how many."""
        expect = self.policy.expect
        if expect is None:
            return ()
        known = {m.name for m in self.cluster.members.values() if not m.has_left}
        if isinstance(expect, int):
            short = expect - len(known)
            return (f"{short} more",) if short > 0 else ()
        return tuple(sorted(name for name in expect if name not in known))

    def may_join(self) -> bool:
        """Whether a node may boot now: not among running nodes whose cookies are mixed."""
        rotation = self.cluster.rotation
        if self.cluster.current is None:
            return False
        if rotation is None or not rotation.has_mixed_cookies:
            return True
        running = self.with_liveness(Liveness.LIVE, Liveness.UNKNOWN)
        return not running and not any(m.is_admitted for m in self.awaited())
