"""Who is there: liveness of members, judged at one instant."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        if self.now >= self._silent_since(member) + self.policy.node_ttl:
            return Liveness.LEFT if self.policy.ephemeral else Liveness.LOST
        if member.attestation is not None and member.attestation.read_from is ReadFrom.BOOT:
            return Liveness.JOINING
        return Liveness.LIVE if member.last_seen >= self.serving_since else Liveness.UNKNOWN

    def _silent_since(self, member: Member) -> datetime:
        return max(member.last_seen, self.serving_since)

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
        return next((m for m in self.lost() if self.now >= self._silent_since(m) + after), None)

    def next_silence(self) -> datetime | None:
        """When the next member becomes lost, or is excused for it, if nobody is heard again."""
        limits = [self.policy.node_ttl]
        if self.policy.excuse_lost_after is not None:
            limits.append(self.policy.excuse_lost_after)
        members = self.with_liveness(
            Liveness.LIVE, Liveness.UNKNOWN, Liveness.JOINING, Liveness.LOST
        )
        ends = [self._silent_since(member) + limit for member in members for limit in limits]
        return min((end for end in ends if end > self.now), default=None)

    def missing(self) -> tuple[str, ...]:
        """Whom the cluster expects and who never attested: names, or how many.

        A name that has left or is excused is not missing; of a number, one that has left, in good
        order or without a word, has to be made up for: nobody can know which others were meant.
        """
        expect, members = self.policy.expect, self.cluster.members
        if expect is None:
            return ()
        if isinstance(expect, int):
            short = expect - sum(self.liveness(m) is not Liveness.LEFT for m in members.values())
            return (f"{short} more",) if short > 0 else ()
        return tuple(sorted(expect - members.keys()))

    def expected_but_left(self) -> tuple[NodeName, ...]:
        """Whom the policy expects by name although they have left in good order."""
        expect = self.policy.expect
        if not isinstance(expect, frozenset):
            return ()
        return tuple(m.name for m in self.with_liveness(Liveness.LEFT) if m.name in expect)

    def left_but_heard(self) -> tuple[NodeName, ...]:
        """Who has left in good order, and whose agent tells of a VM that runs on."""
        return tuple(
            member.name
            for member in self.with_liveness(Liveness.LEFT)
            if member.has_left
            and member.attestation is not None
            and member.attestation.read_from is ReadFrom.VM
            and self.now < member.last_seen + self.policy.node_ttl
        )

    def with_cluster(self, cluster: Cluster) -> Crowd:
        """The same instant, another state of the cluster."""
        return replace(self, cluster=cluster)
