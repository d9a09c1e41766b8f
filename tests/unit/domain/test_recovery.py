from __future__ import annotations

from dataclasses import replace

import pytest

from rotator.domain import recovery
from rotator.domain.agreement import disagreement, view
from rotator.domain.cluster import LEAP, Ahead, Cluster
from rotator.domain.document import FactsHead
from rotator.domain.facts import FactKind
from rotator.domain.recovery import Need, Sources
from rotator.domain.rotation import Kind, Phase
from rotator.domain.version import Origin, Stage
from rotator.testing.factories import (
    NAME,
    NOW,
    a_cluster,
    a_document,
    a_fingerprint,
    a_rotation,
    a_version,
)

LOST = Cluster(name=NAME, revision=1)
HEAD = FactsHead(seq=9, hash="9" * 64)


def _rebuilt(document, cluster=LOST):
    sources = Sources(document=document, master="default", first_epoch=1)
    return recovery.rebuild(cluster, sources, now=NOW)


def _stages(cluster):
    return {number: version.stage for number, version in cluster.versions.items()}


#: by (current, previous, pending): the phase that goes on, from which version to which
GOES_ON = [
    ((11,), None, {11: Stage.CURRENT}),
    ((11, None, 12), (Phase.INSTALLING, 11, 12), {11: Stage.CURRENT, 12: Stage.PENDING}),
    ((12, 11), (Phase.ROLLING_OUT, 11, 12), {12: Stage.CURRENT, 11: Stage.PREVIOUS}),
    ((11, 12), (Phase.ROLLING_BACK, 11, 12), {11: Stage.CURRENT, 12: Stage.PREVIOUS}),
]


@pytest.mark.parametrize(("slots", "goes_on", "stages"), GOES_ON)
def test_the_slots_say_where_a_rotation_goes_on(slots, goes_on, stages) -> None:
    """A lost state store is what its document says, and agrees with it at once."""
    document = a_document(*slots, rotation="r9")
    cluster = _rebuilt(document).cluster
    found = cluster.rotation
    assert (found and (found.phase, found.from_version, found.to_version)) == goes_on
    assert found is None or found.is_rollback == (found.phase is Phase.ROLLING_BACK)
    assert _stages(cluster) == stages
    assert all(v.fingerprint == a_fingerprint(n) for n, v in cluster.versions.items())
    assert disagreement(cluster, view(document, cluster), fence=1) is None


def test_numbers_go_on_above_all_that_was_used() -> None:
    """The next version is last_version + 1, and no generation comes twice."""
    document = replace(a_document(11), last_version=14)
    document = replace(document, stamp=replace(document.stamp, generation=70))
    ahead = Ahead(node="n@h", generation=75)
    cluster = _rebuilt(document, replace(LOST, ahead=ahead)).cluster
    assert cluster.last_version == 14
    assert cluster.at(14) is Stage.DISCARDED
    assert cluster.generation == 75 + LEAP
    assert cluster.ahead is None


def test_facts_of_a_recovered_cluster_begin_with_the_recovery() -> None:
    """The fact names the head that the document carried, and that head is known from then on."""
    document = a_document(11)
    document = replace(document, stamp=replace(document.stamp, facts_head=HEAD))
    change = _rebuilt(document)
    (fact,) = change.facts
    assert fact.kind is FactKind.STATE_RECOVERED
    assert fact.details["facts_head"] == {"seq": 9, "hash": "9" * 64}
    assert change.cluster.recovered_from == HEAD


def test_a_document_without_a_rotation_gives_one_a_name() -> None:
    """A rotation that goes on has an id, also where the document names none."""
    cluster = _rebuilt(a_document(11, None, 12, rotation=None)).cluster
    assert cluster.rotation is not None
    assert cluster.rotation.id == "recovered-12"


def test_an_imported_version_needs_no_epoch() -> None:
    """What was imported is rolled back to, and no epoch is made up for it."""
    document = a_document(12, 11)
    imported = replace(document.current, epoch=None, origin=Origin.IMPORTED)
    cluster = _rebuilt(replace(document, current=imported)).cluster
    assert cluster.versions[12].origin is Origin.IMPORTED
    assert cluster.rotation is not None


def test_an_old_copy_keeps_what_is_over_and_ends_what_it_had_under_way() -> None:
    """Its versions stay numbered; those that are gone are over; its rotation is superseded."""
    old = a_cluster(a_rotation(Phase.INSTALLING, id="r1"), last_writer="r1")
    document = replace(a_document(13, rotation="r2"), last_version=13)
    change = _rebuilt(document, old)
    assert _stages(change.cluster) == {
        11: Stage.RETIRED,
        12: Stage.DISCARDED,
        13: Stage.CURRENT,
    }
    (ended,) = change.rotations
    assert (ended.id, ended.phase) == ("r1", Phase.SUPERSEDED)


def test_an_old_copy_goes_on_with_the_rotation_that_it_knows() -> None:
    """The same rotation, in the same phase, keeps who began it and why."""
    known = a_rotation(Phase.INSTALLING, id="r1", reason="yearly", kind=Kind.MANUAL)
    old = a_cluster(known, last_writer="r1")
    change = _rebuilt(a_document(11, None, 12, rotation="r1"), old)
    found = change.cluster.rotation
    assert found is not None
    assert (found.reason, found.entered_generation) == ("yearly", change.cluster.generation)
    moved = _rebuilt(a_document(12, 11, rotation="r1"), old)
    assert moved.cluster.rotation is not None
    assert moved.cluster.rotation.phase is Phase.ROLLING_OUT
    assert [row.id for row in moved.rotations] == ["r1"]


def _seen(cluster, document, *, knows_more=False):
    return view(document, cluster, knows_more=knows_more)


def _needs(cluster, document, *, is_native=True, knows_more=False):
    seen = None if document is None else _seen(cluster, document, knows_more=knows_more)
    return recovery.find(cluster, seen, is_native=is_native).need


def test_only_a_loss_is_recovered() -> None:
    """Stores that agree are left alone, and what is no loss of the state store is refused."""
    whole = a_cluster(last_writer="r1")
    assert _needs(LOST, None) is Need.NOTHING
    assert _needs(LOST, a_document(11)) is Need.REBUILD
    assert _needs(whole, None) is Need.REFUSED
    assert _needs(whole, a_document(11)) is Need.NOTHING
    assert _needs(whole, a_document(11), knows_more=True) is Need.REBUILD
    assert _needs(whole, a_document(11), is_native=False) is Need.STAMP
    assert _needs(whole, a_document(13)) is Need.REFUSED
    assert _needs(replace(whole, uid="1f" * 16), a_document(11)) is Need.REFUSED
    begun = replace(whole, is_initialised=False)
    assert _needs(begun, a_document(11)) is Need.NOTHING
    assert _needs(replace(begun, uid="1f" * 16), a_document(11)) is Need.REBUILD


def test_what_the_nodes_alone_know_is_not_recovered() -> None:
    """Where the document is older than the nodes, too, nothing is rebuilt from it."""
    ahead = Ahead(node="n@h", generation=99)
    whole = a_cluster(last_writer="r1", ahead=ahead)
    assert _needs(whole, a_document(11)) is Need.REFUSED
    assert _needs(whole, a_document(11), knows_more=True) is Need.REBUILD
    newer = replace(ahead, version=12)
    assert _needs(replace(LOST, ahead=newer), a_document(11)) is Need.REFUSED
    assert _needs(replace(LOST, ahead=ahead), a_document(11)) is Need.REBUILD


def test_the_fence_is_above_every_document() -> None:
    """The highest token that any document was written under; 0 where there is none."""
    document = a_document(11)
    newer = replace(document, stamp=replace(document.stamp, fence=8))
    assert recovery.fence_above({"a": document, "b": newer}) == 8
    assert recovery.fence_above({}) == 0


def test_versions_that_were_known_keep_their_age() -> None:
    """What an old copy has on record stands there since then."""
    old = a_cluster().with_version(a_version(11, Stage.CURRENT))
    assert _rebuilt(a_document(11), old).cluster.versions[11] == old.versions[11]
