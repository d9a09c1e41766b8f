from __future__ import annotations

from dataclasses import replace

import pytest

from rotator.domain import rederivation
from rotator.domain.agreement import disagreement, view
from rotator.domain.cluster import Ahead, Cluster
from rotator.domain.rederivation import Need
from rotator.domain.rotation import Phase
from rotator.domain.version import Stage
from rotator.testing.factories import (
    NAME,
    a_cluster,
    a_document,
    a_rotation,
    a_version,
    an_emergency,
)

BACK = a_rotation(Phase.ROLLING_BACK, is_rollback=True)


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        (None, (11, None, None)),
        (a_rotation(Phase.INSTALLING), (11, None, 12)),
        (a_rotation(Phase.PROMOTING), (11, None, 12)),
        (a_rotation(Phase.ROLLING_OUT), (12, 11, None)),
        (a_rotation(Phase.GRACE), (12, 11, None)),
        (a_rotation(Phase.RETIRING), (12, 11, None)),
        (BACK, (11, 12, None)),
        (an_emergency(Phase.ROLLING_OUT), (12, None, None)),
    ],
)
def test_the_slots_follow_from_the_stages_and_agree(rotation, expected) -> None:
    """What is written anew is what a crash could have left, so that the rotation goes on."""
    cluster = a_cluster(rotation, last_writer="r1")
    slots = rederivation.slots(cluster)
    assert slots is not None
    found = tuple(v and v.number for v in (slots.current, slots.previous, slots.pending))
    assert found == expected
    assert slots.last_version == max(number for number in expected if number)
    assert [v.number for v in slots.versions()] == [n for n in expected if n]
    document = a_document(*expected, rotation=None)
    assert disagreement(cluster, view(document, cluster), fence=1) is None


def test_a_version_that_was_not_written_yet_is_left_to_its_rotation() -> None:
    """Its number is not used before the rotation writes it."""
    cluster = a_cluster(a_rotation(Phase.STAGED))
    cluster = cluster.with_version(a_version(12, Stage.PENDING, is_written=False))
    slots = rederivation.slots(cluster)
    assert slots is not None
    assert (slots.pending, slots.last_version) == (None, 11)
    assert rederivation.slots(Cluster(name=NAME)) is None


def _find(cluster, document=None, *, knows_more=False):
    seen = None if document is None else view(document, cluster, knows_more=knows_more)
    return rederivation.find(cluster, seen, fence=1)


def test_only_what_is_gone_or_older_is_written() -> None:
    """A document that agrees stays, and one that somebody else wrote is refused by name."""
    cluster = a_cluster(last_writer="r1")
    cluster = cluster.with_version(a_version(10, Stage.RETIRED))
    older = replace(a_document(10), last_version=10)
    assert _find(Cluster(name=NAME)).need is Need.NOTHING
    assert _find(cluster).need is Need.WRITING
    assert _find(cluster, a_document(11)).need is Need.NOTHING
    assert _find(cluster, older).need is Need.WRITING
    assert _find(cluster, a_document(13)).why.startswith("edited_document")
    behind = _find(cluster, a_document(11), knows_more=True)
    assert behind.need is Need.REFUSED
    assert behind.why.endswith("rotator recover")
    ahead = replace(cluster, ahead=Ahead(node="n@h", generation=99))
    assert _find(ahead, older).why.startswith("both_stores_behind")
