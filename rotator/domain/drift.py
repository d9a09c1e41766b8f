"""Drift: a VM that answers to a cookie which is no accepted version, unknown or long over.

It is a fact once for each appearance (`Member.drift` remembers it), a blocker while it lasts, and
its healing is a fact, too. It never stands in the way of an emergency, which resets everybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain.cluster import Blocker, ReadFrom
from rotator.domain.rotation import Kind
from rotator.domain.version import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rotator.domain.cluster import Attestation, Cluster, Member
    from rotator.domain.ids import VersionNumber
    from rotator.domain.liveness import Crowd

OVER: Final = frozenset({Stage.RETIRED, Stage.DISCARDED, Stage.REVOKED})


def _is_locked(cluster: Cluster, said: Attestation) -> bool:
    """Whether it answers to a throwaway that a round of the emergency under way has asked for.

    Any other round is only said, and would hide a cookie that somebody else knows.
    """
    rotation = cluster.rotation
    if rotation is None or rotation.kind is not Kind.EMERGENCY or said.locked_round is None:
        return False
    return 1 <= said.locked_round <= rotation.lock_round


def uses_unknown_cookie(cluster: Cluster, member: Member) -> bool:
    """Whether its VM answers to a cookie that is none of ours and no throwaway of a lock."""
    said = member.attestation
    if said is None or said.own is None or said.read_from is not ReadFrom.VM:
        return False
    return cluster.number_of(said.own) is None and not _is_locked(cluster, said)


def retired_cookie(cluster: Cluster, member: Member) -> VersionNumber | None:
    """The version that its VM answers to, if that is retired, discarded or revoked.

    What the emergency under way revokes is none: who still uses it lags behind.
    """
    said = member.attestation
    if said is None or said.read_from is not ReadFrom.VM:
        return None
    number = cluster.number_of(said.own)
    if number is None or cluster.at(number) not in OVER:
        return None
    return None if cluster.rotation and number in cluster.rotation.revokes else number


def is_adrift(cluster: Cluster, member: Member) -> bool:
    """Whether its last report shows drift."""
    is_unknown = uses_unknown_cookie(cluster, member)
    return is_unknown or retired_cookie(cluster, member) is not None


def is_well(cluster: Cluster, member: Member) -> bool:
    """Whether its VM answers to a version that is accepted."""
    said = member.attestation
    if said is None or said.read_from is not ReadFrom.VM:
        return False
    return cluster.number_of(said.own) in cluster.accepted()


def drifters(crowd: Crowd) -> Iterator[Blocker]:
    """The awaited members that are adrift, by name."""
    cluster = crowd.cluster
    for member in crowd.awaited():
        number = retired_cookie(cluster, member)
        if uses_unknown_cookie(cluster, member):
            yield Blocker(code="unknown_cookie", subject=member.name)
        elif number is not None:
            detail = f"uses {cluster.at(number)} version {number}"
            yield Blocker(code="retired_cookie", subject=member.name, detail=detail)
