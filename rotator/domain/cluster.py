"""A cluster as the state store knows it: one aggregate, changed as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from rotator.domain.document import FactsHead
from rotator.domain.ids import Generation, VersionNumber
from rotator.domain.version import NEXT as NEXT_STAGES
from rotator.domain.version import Stage, Version
from rotator.errors import InvariantViolated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rotator.domain.claim import Claim
    from rotator.domain.facts import Fact
    from rotator.domain.ids import (
        ClaimId,
        ClusterName,
        ClusterUid,
        EpochNumber,
        Fingerprint,
        MasterName,
        NodeName,
        RotationId,
    )
    from rotator.domain.rotation import Rotation
    from rotator.domain.schedule import Progress

GENESIS = FactsHead(seq=0, hash="0" * 64)
#: How far numbers go on after a loss: beyond whatever was given out and is not on record.
LEAP: Final = 1_000_000


class ReadFrom(StrEnum):
    """Where the evidence of an attestation comes from."""

    VM = "vm"
    BOOT = "boot"  #: about to boot
    NONE = "none"  #: the VM cannot be reached


class Proof(StrEnum):
    """How a node knows that a cookie is refused or accepted."""

    HANDSHAKE = "handshake"
    READ_BACK = "read_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """A node's report with evidence: fingerprints read back from the running VM."""

    generation: Generation
    at: datetime
    read_from: ReadFrom
    holds: Mapping[VersionNumber, Fingerprint] = field(default_factory=dict)
    uses: VersionNumber | None = None  #: None with *own* set: a cookie that the agent does not know
    own: Fingerprint | None = None
    file: Fingerprint | None = None  #: of the cookie file
    pins: Mapping[NodeName, Fingerprint] = field(default_factory=dict)
    boot_pins: Mapping[NodeName, Fingerprint] = field(default_factory=dict)
    refuses: Mapping[VersionNumber, Proof] = field(default_factory=dict)
    accepts: Mapping[VersionNumber, Proof] = field(default_factory=dict)
    locked_round: int | None = None
    foreign_links: tuple[str, ...] = ()
    links: Mapping[NodeName, bool] = field(default_factory=dict)  #: peer → is the link hidden
    otp_release: str = ""
    agent: str = ""
    run: str = ""  #: another one each time that the agent is started; empty: it does not say
    preflight: tuple[str, ...] = ()

    def says_the_same(self, other: Attestation | None) -> bool:
        """Whether it brings no news besides its time."""
        return other is not None and replace(self, at=other.at) == other


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node of the cluster."""

    name: NodeName
    joined_at: datetime
    last_seen: datetime
    attestation: Attestation | None = None
    is_admitted: bool = False  #: was told to boot, and has not attested from its VM yet
    asked_generation: Generation | None = (
        None  #: since which it wants to boot, until it is admitted
    )
    drift: Fingerprint | None = None  #: the cookie of the last drift seen, until it is healed
    has_left: bool = False
    is_excused: bool = False
    #: By an emergency or a removal: nothing that it says counts until an operator readmits it.
    is_shut_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What a node has seen that this state store has never given out: an old copy was restored."""

    node: NodeName
    generation: Generation
    version: VersionNumber = VersionNumber(0)  #: the highest that it has named; 0: none

    def after(self, other: Ahead | None) -> Ahead:
        """Both taken together: the highest numbers that were named."""
        if other is None:
            return self
        newest = max(self, other, key=lambda one: (one.version, one.generation))
        return replace(newest, generation=max(self.generation, other.generation))


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """What a cluster waits for, by name."""

    code: str
    subject: str = ""  #: the node, store or person it waits for
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A blocker and since when it stands."""

    blocker: Blocker
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Everything that decisions about one cluster depend on, but cookies and the clock."""

    name: ClusterName
    revision: int = 0  #: grows with every change; for compare-and-set
    generation: Generation = Generation(0)
    uid: ClusterUid | None = None  #: None: nobody has said `init` or `import` yet
    is_initialised: bool = False
    is_declared: bool = True
    master: MasterName | None = None
    first_epoch: EpochNumber | None = None  #: the fingerprint key comes from it
    versions: Mapping[VersionNumber, Version] = field(default_factory=dict)
    rotation: Rotation | None = None  #: the unfinished one
    last_writer: RotationId | None = None  #: whose id the document may carry besides
    recent_starts: tuple[datetime, ...] = ()  #: scheduled and manual, of the last hour
    last_emergency_at: datetime | None = None
    members: Mapping[NodeName, Member] = field(default_factory=dict)
    claims: Mapping[ClaimId, Claim] = field(default_factory=dict)  #: of this rotation and hour
    last_claim_token: int = 0  #: the highest fencing token of a claim ever given out
    blockers: tuple[Standing, ...] = ()
    schedule: Progress | None = None  #: how far it has come in its schedule
    facts_head: FactsHead = GENESIS
    recovered_from: FactsHead | None = None  #: head of the document that `recover` took up
    ahead: Ahead | None = None  #: until an emergency, or `recover`: this state store is behind

    @property
    def last_version(self) -> VersionNumber:
        """The highest number ever given out; 0 if none."""
        return max(self.versions, default=VersionNumber(0))

    def at_stage(self, stage: Stage) -> Version | None:
        """The version at *stage*, of those stages that one version holds at a time."""
        return next((v for v in self.versions.values() if v.stage is stage), None)

    @property
    def current(self) -> Version | None:
        """What nodes shall use, and new nodes get."""
        return self.at_stage(Stage.CURRENT)

    def at(self, number: VersionNumber) -> Stage:
        """The stage of a version."""
        return self.versions[number].stage

    def accepted(self) -> frozenset[VersionNumber]:
        """The versions that a live node may use at this moment."""
        stages = (Stage.CURRENT, Stage.PREVIOUS)
        refused = (
            self.rotation.refused if self.rotation and self.rotation.phase == "retiring" else ()
        )
        return frozenset(
            v.number
            for v in self.versions.values()
            if v.stage in stages and v.number not in refused
        )

    def number_of(self, fingerprint: Fingerprint | None) -> VersionNumber | None:
        """The version that has this fingerprint, whatever its stage."""
        if fingerprint is None:
            return None
        return next(
            (v.number for v in self.versions.values() if v.fingerprint == fingerprint), None
        )

    def with_version(self, version: Version) -> Cluster:
        """Add a version, or put it in the place of the one with its number."""
        return replace(self, versions={**self.versions, version.number: version})

    def to_stage(self, number: VersionNumber, stage: Stage) -> Cluster:
        """Move a version; raises `InvariantViolated` where its stage does not allow it."""
        version = self.versions[number]
        if stage not in NEXT_STAGES[version.stage]:
            raise InvariantViolated(f"version {number} cannot go from {version.stage} to {stage}")
        return self.with_version(replace(version, stage=stage))

    def with_member(self, member: Member) -> Cluster:
        """Add a member, or put it in the place of the one with its name."""
        return replace(self, members={**self.members, member.name: member})

    def with_claim(self, claim: Claim) -> Cluster:
        """Add a claim, or put it in the place of the one with its id."""
        return replace(self, claims={**self.claims, claim.id: claim})

    def open_claims(self) -> tuple[Claim, ...]:
        """Those that somebody may act on, by token."""
        opened = (claim for claim in self.claims.values() if claim.is_open)
        return tuple(sorted(opened, key=lambda claim: claim.token))

    def next_generation(self) -> Cluster:
        """The desired state has changed; before `init` there is none, and it stays at 0."""
        if not self.is_initialised:
            return self
        return replace(self, generation=Generation(self.generation + 1))

    def leap(self, *seen: Generation) -> Cluster:
        """The generation goes on above everything that nodes may have seen before a loss."""
        return replace(self, generation=Generation(max(self.generation, *seen, 0) + LEAP))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one transaction of the state store writes: a cluster, its facts, touched rotations."""

    cluster: Cluster
    facts: tuple[Fact, ...] = ()
    rotations: tuple[Rotation, ...] = ()
