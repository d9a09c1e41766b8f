from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.domain.cluster import Cluster
from rotator.domain.ids import VersionNumber
from rotator.domain.rotation import Phase
from rotator.domain.version import Stage
from rotator.errors import InvariantViolated
from rotator.testing.factories import (
    NAME,
    NOW,
    a_cluster,
    a_fingerprint,
    a_rotation,
    an_attestation,
)


def test_a_new_cluster_has_nothing() -> None:
    """Before `init` there is no version, no current and no number."""
    cluster = Cluster(name=NAME)
    assert cluster.current is None
    assert cluster.last_version == 0
    assert cluster.accepted() == frozenset()


def test_before_init_there_is_no_desired_state_that_could_grow() -> None:
    """An uninitialised cluster stays at generation 0, an initialised one grows by one."""
    assert Cluster(name=NAME).next_generation().generation == 0
    assert a_cluster().next_generation().generation == 43


@pytest.mark.parametrize(
    ("phase", "accepted"),
    [
        (Phase.STAGED, {11}),
        (Phase.INSTALLING, {11}),
        (Phase.ROLLING_OUT, {11, 12}),
        (Phase.GRACE, {11, 12}),
        (Phase.RETIRING, {12}),
    ],
)
def test_at_most_two_versions_are_accepted(phase: Phase, accepted: set[int]) -> None:
    """Current and previous are accepted, and previous only until it is refused."""
    assert a_cluster(a_rotation(phase)).accepted() == accepted


def test_a_fingerprint_is_mapped_to_its_version() -> None:
    """Whatever the version's stage, and to none where nothing is known."""
    cluster = a_cluster(stages={10: Stage.RETIRED, 11: Stage.CURRENT})
    assert cluster.number_of(a_fingerprint(10)) == 10
    assert cluster.number_of(a_fingerprint(99)) is None
    assert cluster.number_of(None) is None


def test_a_version_that_is_over_takes_no_further_stage() -> None:
    """A retired version does not become current."""
    cluster = a_cluster(stages={10: Stage.RETIRED, 11: Stage.CURRENT})
    with pytest.raises(InvariantViolated, match="10 cannot go from retired to current"):
        cluster.to_stage(VersionNumber(10), Stage.CURRENT)


def test_a_report_that_differs_in_its_time_alone_is_no_news() -> None:
    """A heartbeat says the same as the one before."""
    said = an_attestation()
    later = an_attestation(at=NOW + timedelta(seconds=15))
    assert later.says_the_same(said)
    assert not later.says_the_same(None)
    assert not an_attestation(uses=12).says_the_same(said)
