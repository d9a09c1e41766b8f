"""What a node's report says of a loss, and how an emergency goes over it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotator.domain import commands, invariants, membership, steps
from rotator.domain.actions import Line
from rotator.domain.agreement import disagreement, may_be_finished, view
from rotator.domain.cluster import LEAP, Ahead, Change, Cluster
from rotator.domain.commands import Request, Start
from rotator.domain.facts import FactKind
from rotator.domain.resolver import Snapshot, resolve
from rotator.domain.rotation import Kind, Phase
from rotator.errors import InvariantViolated
from rotator.testing.factories import (
    NAME,
    NOW,
    a_cluster,
    a_crowd,
    a_document,
    a_fingerprint,
    a_rotation,
    an_attestation,
    an_emergency,
)

NODE = "rabbit@a"
LOST = Cluster(name=NAME, revision=1)
AHEAD = Ahead(node=NODE, generation=99)


def _code(wait):
    return None if wait is None else wait.blockers[0].code


def test_a_report_from_a_later_generation_is_a_sign_of_a_loss() -> None:
    """A generation or a version that was never given out; nothing else, and nothing absurd."""
    cluster = a_cluster()
    ours = an_attestation(generation=cluster.generation)
    assert membership.ahead_of(cluster, NODE, ours) is None
    newer = replace(ours, generation=cluster.generation + 1)
    assert membership.ahead_of(cluster, NODE, newer) == Ahead(
        node=NODE, generation=cluster.generation + 1
    )
    named = replace(ours, uses=40, own=a_fingerprint(40))
    assert membership.ahead_of(cluster, NODE, named) == Ahead(
        node=NODE, generation=cluster.generation, version=40
    )
    held = replace(ours, holds={41: a_fingerprint(41)}, uses=None)
    assert membership.ahead_of(cluster, NODE, held) is not None
    absurd = replace(ours, generation=cluster.generation + membership.CREDIBLE + 1)
    assert membership.ahead_of(cluster, NODE, absurd) is None
    absurd = replace(ours, holds={12 + membership.CREDIBLE: a_fingerprint(1)})
    assert membership.ahead_of(cluster, NODE, absurd) is None


def test_what_nodes_know_is_noted_once_and_only_grows() -> None:
    """One fact, until a node names a higher version; a repeat changes nothing."""
    cluster = a_cluster()
    change = membership.note_ahead(cluster, AHEAD, now=NOW)
    assert change is not None
    assert [fact.kind for fact in change.facts] == [FactKind.NODES_AHEAD_SEEN]
    assert change.cluster.ahead == AHEAD
    assert membership.note_ahead(change.cluster, AHEAD, now=NOW) is None
    lower = replace(AHEAD, generation=90)
    assert membership.note_ahead(change.cluster, lower, now=NOW) is None
    higher = membership.note_ahead(change.cluster, replace(AHEAD, generation=120), now=NOW)
    assert higher is not None
    assert (higher.facts, higher.cluster.ahead) == ((), replace(AHEAD, generation=120))
    named = membership.note_ahead(change.cluster, replace(lower, version=40), now=NOW)
    assert named is not None
    assert len(named.facts) == 1
    assert named.cluster.ahead == Ahead(node=NODE, generation=99, version=40)


def test_it_freezes_by_name_and_stays_so_whatever_grows() -> None:
    """A generation that grows past the node's does not thaw: it was given out twice."""
    cluster = replace(a_cluster(last_writer="r1", ahead=AHEAD), generation=200)
    assert _code(disagreement(cluster, view(a_document(11), cluster), fence=1)) == (
        "both_stores_behind"
    )
    newer = view(a_document(11), cluster, knows_more=True)
    assert _code(disagreement(cluster, newer, fence=1)) == "state_store_behind"


@pytest.mark.parametrize(
    ("ahead", "document", "code"),
    [
        (None, None, None),
        (None, a_document(11), "state_store_lost"),
        (AHEAD, a_document(11), "state_store_lost"),
        (replace(AHEAD, version=12), a_document(11), "both_stores_behind"),
    ],
)
def test_a_document_of_an_unknown_cluster_freezes_it(ahead, document, code) -> None:
    """An empty state store begins nothing where there is a document already."""
    cluster = Cluster(name=NAME, ahead=ahead)
    seen = None if document is None else view(document, cluster)
    snapshot = Snapshot(crowd=a_crowd(cluster), document=seen, epoch_is_open=False, fence=1)
    assert _code(resolve(snapshot)) == code


def _emergency(cluster, **known):
    crowd = a_crowd(cluster)
    wanted = Start(id="e9", kind=Kind.EMERGENCY, epoch=2)
    change = commands.start(crowd, Request(by="me", reason="test", at=NOW), wanted, **known)
    invariants.check(crowd, change)
    return change.cluster


def test_an_emergency_goes_over_a_loss_with_numbers_that_nobody_used() -> None:
    """Version and generation leap, nodes obey again, and the loss is over once it is written."""
    cluster = _emergency(a_cluster(last_writer="r1", ahead=replace(AHEAD, version=40)))
    assert cluster.last_version == 40 + LEAP
    assert cluster.generation == 99 + LEAP
    assert disagreement(cluster, view(a_document(11), cluster), fence=1) is None
    rotation = cluster.rotation
    assert rotation is not None
    promoting = rotation.enter(Phase.PROMOTING, at=NOW, generation=cluster.generation)
    moved = steps.enter(a_crowd(replace(cluster, rotation=promoting)), Line.E3)
    assert moved.cluster.ahead is None


def test_an_emergency_over_an_old_copy_goes_above_the_document() -> None:
    """The document's generation was given out to nodes already."""
    cluster = a_cluster()
    assert _emergency(cluster, seen=cluster.generation).generation == cluster.generation + 1
    assert _emergency(cluster, seen=500).generation == 500 + LEAP


def test_a_loss_that_is_noticed_while_locking_does_not_stop_the_emergency() -> None:
    """Its generation leaps over the node's; only where its number was used already it waits."""
    cluster = a_cluster(an_emergency(Phase.LOCKING))
    change = membership.note_ahead(cluster, AHEAD, now=NOW)
    assert change is not None
    invariants.check(a_crowd(cluster), change)
    assert change.cluster.generation == 99 + LEAP
    seen = view(a_document(11), change.cluster)
    assert disagreement(change.cluster, seen, fence=1) is None
    known = membership.note_ahead(cluster, Ahead(node=NODE, generation=1, version=12), now=NOW)
    assert known is not None
    assert known.cluster.generation == cluster.generation
    assert _code(disagreement(known.cluster, seen, fence=1)) == "both_stores_behind"


def test_no_other_change_leaps() -> None:
    """A generation that grows by more than one without an emergency is a bug."""
    cluster = a_cluster()
    with pytest.raises(InvariantViolated, match="generations_never_fall"):
        invariants.check(a_crowd(cluster), Change(cluster=cluster.leap()))


def test_a_write_is_finished_only_where_both_stores_agree() -> None:
    """What is old, or another's, stays as it is; an emergency replaces it as it stands."""

    def may(cluster, document, *, fence=1):
        return may_be_finished(cluster, view(document, cluster), fence=fence)

    promoting = a_cluster(a_rotation(Phase.PROMOTING, id="r1"))
    assert may(promoting, a_document(12, 11, rotation="r1"))
    assert not may(promoting, a_document(11, rotation="r0"))
    assert not may(promoting, a_document(12, 11, rotation="r1"), fence=0)
    assert not may(a_cluster(an_emergency(Phase.PROMOTING)), a_document(11))
    assert not may(LOST, a_document(11))
    begun = replace(a_cluster(), is_initialised=False)
    assert may(begun, a_document(11))
    assert not may(replace(begun, uid="1f" * 16), a_document(11))
