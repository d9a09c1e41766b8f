"""Small builders of domain values: each gives one that is valid, and changes what is named.

Cookies here are a function of number and epoch; nothing is derived, and nothing is secret.
"""

# ruff: noqa: ANN401 - the fields are checked where each value is made

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rotator.domain.cluster import Attestation, Cluster, Member, ReadFrom
from rotator.domain.cookie import Cookie
from rotator.domain.document import ClusterDocument, FactsHead, Stamp, StoredVersion
from rotator.domain.ids import (
    ClusterName,
    ClusterUid,
    EpochNumber,
    Fence,
    Generation,
    MasterName,
    NodeName,
    RotationId,
    VersionNumber,
)
from rotator.domain.liveness import Crowd
from rotator.domain.policy import RotationPolicy
from rotator.domain.rotation import Kind, Phase, Rotation
from rotator.domain.version import Origin, Stage, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rotator.domain.ids import Fingerprint

NOW: Final = datetime(2026, 11, 23, 6, 45, tzinfo=UTC)
UID: Final = ClusterUid("0f" * 16)
KEY: Final = bytes(range(32))  #: the fingerprint key
NAME: Final = ClusterName("orders")


def a_cookie(number: int, epoch: int = 1) -> Cookie:
    """The cookie of a version: the same one whenever it is asked for."""
    text = hashlib.sha256(f"{epoch}/{number}".encode()).hexdigest()
    return Cookie(text[:43])


def a_fingerprint(number: int, epoch: int = 1) -> Fingerprint:
    """The fingerprint of `a_cookie`."""
    return a_cookie(number, epoch).fingerprint(KEY, UID)


def a_version(number: int, stage: Stage, *, epoch: int = 1, is_written: bool = True) -> Version:
    """A derived version; one that is not written yet has no fingerprint."""
    return Version(
        number=VersionNumber(number),
        stage=stage,
        origin=Origin.DERIVED,
        epoch=EpochNumber(epoch),
        created_at=NOW,
        fingerprint=a_fingerprint(number, epoch) if is_written else None,
    )


def a_rotation(phase: Phase, **changes: Any) -> Rotation:
    """From version 11 to version 12, entered NOW with generation 42."""
    rotation = Rotation(
        id=RotationId("r1"),
        cluster=NAME,
        kind=Kind.MANUAL,
        phase=phase,
        from_version=VersionNumber(11),
        to_version=VersionNumber(12),
        epoch=EpochNumber(1),
        reason="because",
        by="operator",
        started_at=NOW,
        entered_at=NOW,
        entered_generation=Generation(42),
    )
    return replace(rotation, **changes)


def an_emergency(phase: Phase, **changes: Any) -> Rotation:
    """The same as an emergency in its first round, that revokes version 11."""
    fields = {"kind": Kind.EMERGENCY, "lock_round": 1, "revokes": (VersionNumber(11),)}
    return a_rotation(phase, **(fields | changes))


def _stages(rotation: Rotation | None) -> dict[int, Stage]:
    if rotation is None:
        return {11: Stage.CURRENT}
    if rotation.phase in {Phase.STAGED, Phase.INSTALLING, Phase.LOCKING, Phase.PROMOTING}:
        return {11: Stage.CURRENT, 12: Stage.PENDING}
    if rotation.kind is Kind.EMERGENCY:
        return {11: Stage.REVOKED, 12: Stage.CURRENT}
    if rotation.is_rollback:
        return {11: Stage.CURRENT, 12: Stage.PREVIOUS}
    return {11: Stage.PREVIOUS, 12: Stage.CURRENT}


def a_cluster(
    rotation: Rotation | None = None,
    *,
    members: Iterable[Member] = (),
    stages: Mapping[int, Stage] | None = None,
    **changes: Any,
) -> Cluster:
    """Initialised, at generation 42, its versions in the stages that the rotation's phase wants."""
    wanted = _stages(rotation) if stages is None else stages
    versions = (a_version(number, stage) for number, stage in wanted.items())
    cluster = Cluster(
        name=NAME,
        revision=7,
        generation=Generation(42),
        uid=UID,
        is_initialised=True,
        master=MasterName("default"),
        first_epoch=EpochNumber(1),
        versions={version.number: version for version in versions},
        rotation=rotation,
        members={member.name: member for member in members},
    )
    return replace(cluster, **changes)


def an_attestation(uses: int | None = 11, **changes: Any) -> Attestation:
    """A VM that uses this version for itself and in its file, and has no rows."""
    used = None if uses is None else a_fingerprint(uses)
    said = Attestation(
        generation=Generation(42),
        at=NOW,
        read_from=ReadFrom.VM,
        uses=None if uses is None else VersionNumber(uses),
        own=used,
        file=used,
    )
    return replace(said, **changes)


def a_member(name: str, attestation: Attestation | None = None, **changes: Any) -> Member:
    """A member that was heard NOW."""
    member = Member(name=NodeName(name), joined_at=NOW, last_seen=NOW, attestation=attestation)
    return replace(member, **changes)


def a_policy(**changes: Any) -> RotationPolicy:
    """One that expects nobody, with every other field at its default."""
    return replace(RotationPolicy(expect=None), **changes)


def a_crowd(
    cluster: Cluster,
    policy: RotationPolicy | None = None,
    *,
    now: datetime = NOW,
    serving_since: datetime = NOW,
) -> Crowd:
    """The cluster as seen NOW, by a leader that serves since NOW."""
    return Crowd(cluster=cluster, policy=policy or a_policy(), now=now, serving_since=serving_since)


def a_document(
    current: int,
    previous: int | None = None,
    pending: int | None = None,
    *,
    last: int | None = None,
    rotation: str | None = "r1",
    fence: int = 1,
) -> ClusterDocument:
    """The document with these versions, written for rotation r1 under fence 1."""

    def stored(number: int | None) -> StoredVersion | None:
        if number is None:
            return None
        return StoredVersion(
            number=VersionNumber(number),
            cookie=a_cookie(number),
            epoch=EpochNumber(1),
            origin=Origin.DERIVED,
        )

    now = stored(current)
    assert now is not None
    return ClusterDocument(
        cluster_uid=UID,
        last_version=VersionNumber(last or max(current, previous or 0, pending or 0)),
        fingerprint_key=KEY,
        stamp=Stamp(
            fence=Fence(fence),
            generation=Generation(1),
            facts_head=FactsHead(seq=0, hash="0" * 64),
            rotation=None if rotation is None else RotationId(rotation),
        ),
        current=now,
        previous=stored(previous),
        pending=stored(pending),
    )
