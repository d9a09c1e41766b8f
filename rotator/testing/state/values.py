"""Values with every field set, and short ways to write and read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from rotator import failpoints
from rotator.domain.claim import Claim, ClaimState, Step
from rotator.domain.cluster import (
    Ahead,
    Attestation,
    Blocker,
    Cluster,
    Member,
    Proof,
    ReadFrom,
    Standing,
)
from rotator.domain.document import FactsHead
from rotator.domain.facts import Fact, FactKind
from rotator.domain.ids import (
    ClaimId,
    ClusterName,
    ClusterUid,
    EpochNumber,
    Fingerprint,
    Generation,
    MasterName,
    NodeName,
    RotationId,
    VersionNumber,
)
from rotator.domain.rotation import Kind, Phase, Rotation
from rotator.domain.schedule import PassedOver, Progress, Run, Skip
from rotator.domain.version import Origin, Stage, Version
from rotator.ports.state_store import ChainedFact, Receipt, TokenRow
from rotator.testing.factories import NOW, a_member, a_version

if TYPE_CHECKING:
    from datetime import datetime

    from rotator.adapters.state.store import State


ORDERS = ClusterName("orders")
PAYMENTS = ClusterName("payments")
A, B = NodeName("rabbit@a"), NodeName("rabbit@b")
UID = ClusterUid("0f" * 16)


def later(**passed: float) -> datetime:
    """NOW and a while."""
    return NOW + timedelta(**passed)


def a_fact(kind: FactKind = FactKind.MEMBER_ATTESTED, *, rotation: str | None = None) -> Fact:
    """A fact that may repeat, unless a rotation and another kind are named."""
    of = None if rotation is None else RotationId(rotation)
    return Fact(kind=kind, at=NOW, by="test", reason="because", rotation=of)


def a_receipt(key: str = "k1", *, at: datetime = NOW) -> Receipt:
    """An answer to the test's principal."""
    return Receipt(
        principal="token:1", key=key, request_hash="0" * 64, status=200, body="{}", at=at
    )


def full_attestation() -> Attestation:
    """One with every field set."""
    one, two = Fingerprint("f1:" + "1" * 32), Fingerprint("f1:" + "2" * 32)
    return Attestation(
        generation=Generation(41),
        at=later(seconds=1),
        read_from=ReadFrom.BOOT,
        holds={VersionNumber(11): one, VersionNumber(12): two},
        uses=VersionNumber(11),
        own=one,
        file=two,
        pins={B: one},
        boot_pins={B: two},
        refuses={VersionNumber(10): Proof.HANDSHAKE},
        accepts={VersionNumber(11): Proof.READ_BACK},
        locked_round=2,
        foreign_links=("intruder@x",),
        links={B: True, A: False},
        otp_release="25",
        agent="0.1.0",
        run="0a1b2c3d",
        preflight=("umask",),
    )


def full_rotation() -> Rotation:
    """One with every field set, unfinished."""
    return Rotation(
        id=RotationId("0001-r"),
        cluster=ORDERS,
        kind=Kind.EMERGENCY,
        phase=Phase.LOCKING,
        from_version=VersionNumber(11),
        to_version=VersionNumber(12),
        epoch=EpochNumber(2),
        reason="an „Übung“ 🔥",
        by="token:1",
        started_at=NOW,
        entered_at=later(microseconds=1),
        entered_generation=Generation(41),
        ends_at=later(seconds=30),
        is_held=True,
        abort_requested=True,
        is_rollback=True,
        lock_round=2,
        may_have_been_read=(A,),
        revokes=(VersionNumber(11), VersionNumber(10)),
        supersedes=RotationId("0000-r"),
        excludes=(B,),
        emergency_id="e1",
    )


def full_claim(number: int = 1, **changes: object) -> Claim:
    """One with every field set, that has ended."""
    claim = Claim(
        id=ClaimId(f"c{number}"),
        node=B,
        version=VersionNumber(12),
        rotation=RotationId("0001-r"),
        state=ClaimState.FAILED,
        token=number,
        holder="ci-runner 1",
        step=Step.START,
        claimed_at=NOW,
        expires_at=later(minutes=2),
        restarting_at=later(seconds=1),
        back_at=later(seconds=2),
        ended_at=later(seconds=3),
        detail="an „Übung“",
        links=(A, B),
        up=3,
        is_forgiven=True,
    )
    return replace(claim, **changes)  # type: ignore[arg-type]


def open_claim(number: int = 1, **changes: object) -> Claim:
    """One that was just handed out."""
    fresh = {
        "state": ClaimState.CLAIMED,
        "restarting_at": None,
        "back_at": None,
        "ended_at": None,
        "is_forgiven": False,
    }
    return full_claim(number, **(fresh | changes))


def full_progress() -> Progress:
    """One with every field set."""
    return Progress(
        rules="0 3 * * sun Europe/Berlin",
        since=NOW,
        settled_until=later(hours=1),
        paused_at=later(hours=2),
        paused_by="token:1",
        pause_reason="end of year",
        run=Run(slot=NOW, at=later(minutes=1), rotation=RotationId("0000-r")),
        skip=Skip(slot=NOW, at=later(minutes=2), why=PassedOver.FRESH, detail="version 11"),
    )


def full_cluster(before: Cluster) -> Cluster:
    """*before* with every field set to something else than its default."""
    imported = Version(
        number=VersionNumber(10),
        stage=Stage.REVOKED,
        origin=Origin.IMPORTED,
        epoch=None,
        created_at=NOW,
        fingerprint=Fingerprint("f1:" + "3" * 32),
    )
    versions = (imported, a_version(11, Stage.CURRENT), a_version(12, Stage.PENDING, epoch=2))
    member = Member(
        name=A,
        joined_at=NOW,
        last_seen=later(seconds=2),
        attestation=full_attestation(),
        is_admitted=True,
        asked_generation=Generation(40),
        drift=Fingerprint("f1:" + "4" * 32),
        has_left=True,
        is_excused=True,
    )
    standing = Standing(blocker=Blocker(code="lost", subject=A, detail="silent"), since=NOW)
    return replace(
        before,
        generation=Generation(41),
        uid=UID,
        is_initialised=True,
        is_declared=False,
        master=MasterName("default"),
        first_epoch=EpochNumber(1),
        versions={version.number: version for version in versions},
        rotation=full_rotation(),
        last_writer=RotationId("0000-r"),
        recent_starts=(NOW, later(minutes=1)),
        last_emergency_at=NOW,
        members={A: member, B: a_member(B)},
        claims={"c1": full_claim(1), "c2": open_claim(2)},  # type: ignore[dict-item]
        last_claim_token=2,
        blockers=(standing,),
        schedule=full_progress(),
        recovered_from=FactsHead(seq=7, hash="5" * 64),
        ahead=Ahead(node=B, generation=Generation(50), version=VersionNumber(14)),
    )


async def declared(state: State, *names: ClusterName) -> Cluster:
    """The first of these clusters, new in the store."""
    await state.clusters.declare(names or (ORDERS,), now=NOW)
    return await loaded(state, names[0] if names else ORDERS)


async def loaded(state: State, name: ClusterName = ORDERS) -> Cluster:
    """A cluster that is there."""
    cluster = await state.clusters.load(name)
    assert cluster is not None
    return cluster


async def history(state: State, name: ClusterName | None = ORDERS) -> list[ChainedFact]:
    """All facts of a cluster, oldest first."""
    return list(await state.clusters.facts(name, limit=1000))


@pytest.fixture
def failing() -> Iterator[Callable[[str], None]]:
    """Arms failpoints for one test."""
    yield failpoints.arm
    failpoints.arm("")


def a_token(number: int, **changes: object) -> TokenRow:
    """A token of an operator."""
    row = TokenRow(
        id=f"t{number}",
        digest=f"{number:064x}",
        role="operator",
        clusters=("orders", "payments"),
        nodes="rabbit@*",
        note="for the test",
        created_at=later(minutes=number),
        created_by="local",
        expires_at=later(days=90),
    )
    return replace(row, **changes)  # type: ignore[arg-type]
