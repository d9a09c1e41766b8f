from __future__ import annotations

import pytest

from rotator.domain import drift
from rotator.domain.cluster import ReadFrom
from rotator.domain.rotation import Phase
from rotator.domain.version import Stage
from rotator.testing.factories import (
    a_cluster,
    a_crowd,
    a_fingerprint,
    a_member,
    a_rotation,
    an_attestation,
    an_emergency,
)

INSTALLING = a_rotation(Phase.INSTALLING)
STAGES = {9: Stage.RETIRED, 10: Stage.DISCARDED, 11: Stage.CURRENT}


def _crowd(rotation, said, stages=None):
    return a_crowd(a_cluster(rotation, members=[a_member("a", said)], stages=stages))


@pytest.mark.parametrize(
    ("said", "is_unknown"),
    [
        (None, False),
        (an_attestation(11), False),
        (an_attestation(None), False),
        (an_attestation(None, own="f1:x"), True),
        (an_attestation(None, own="f1:x", read_from=ReadFrom.NONE), False),
    ],
)
def test_an_unknown_cookie_is_one_that_a_vm_answers_to(said, is_unknown: bool) -> None:
    """A guess about a VM that cannot be reached is none."""
    found = [b.subject for b in drift.drifters(_crowd(INSTALLING, said))]
    assert found == (["a"] if is_unknown else [])


@pytest.mark.parametrize(
    ("rotation", "round_", "is_unknown"),
    [
        (None, 0, True),
        (None, 1, True),
        (INSTALLING, 0, True),
        (INSTALLING, 1, True),
        (a_rotation(Phase.INSTALLING, lock_round=1), 1, True),
        (an_emergency(Phase.LOCKING, lock_round=2), None, True),
        (an_emergency(Phase.LOCKING, lock_round=2), -1, True),
        (an_emergency(Phase.LOCKING, lock_round=2), 0, True),
        (an_emergency(Phase.LOCKING, lock_round=2), 1, False),
        (an_emergency(Phase.LOCKING, lock_round=2), 2, False),
        (an_emergency(Phase.LOCKING, lock_round=2), 3, True),
        (an_emergency(Phase.PROMOTING), 1, False),
        (an_emergency(Phase.ROLLING_OUT), 1, False),
        (an_emergency(Phase.RETIRING), 1, False),
    ],
)
def test_no_claimed_round_hides_an_unknown_cookie(rotation, round_, is_unknown: bool) -> None:
    """A throwaway is excused only in a round of the emergency that runs."""
    said = an_attestation(None, own="f1:x", locked_round=round_)
    found = [b.subject for b in drift.drifters(_crowd(rotation, said))]
    assert found == (["a"] if is_unknown else [])


@pytest.mark.parametrize(("number", "stage"), [(9, "retired"), (10, "discarded")])
def test_a_cookie_that_is_over_is_named_as_what_it_is(number: int, stage: str) -> None:
    """It is no unknown cookie, and whoever looks is told which version it was."""
    (blocker,) = drift.drifters(_crowd(None, an_attestation(number), STAGES))
    assert (blocker.code, blocker.subject) == ("retired_cookie", "a")
    assert blocker.detail == f"uses {stage} version {number}"


@pytest.mark.parametrize(
    "said",
    [
        None,
        an_attestation(None),
        an_attestation(11),
        an_attestation(None, own=a_fingerprint(9), read_from=ReadFrom.BOOT),
        an_attestation(None, own=a_fingerprint(9), read_from=ReadFrom.NONE),
    ],
)
def test_a_file_or_an_accepted_version_is_no_drift(said) -> None:
    """Only what a running VM answers to counts."""
    crowd = _crowd(None, said, STAGES)
    assert list(drift.drifters(crowd)) == []
    assert not drift.is_adrift(crowd.cluster, crowd.cluster.members["a"])


def test_what_an_emergency_revokes_is_a_laggards_and_no_drift() -> None:
    """Until the emergency has reset it, a member uses what was revoked a moment ago."""
    crowd = _crowd(an_emergency(Phase.ROLLING_OUT), an_attestation(11))
    assert list(drift.drifters(crowd)) == []
    assert not drift.is_well(crowd.cluster, crowd.cluster.members["a"])


def test_well_is_whose_vm_answers_to_an_accepted_version() -> None:
    """Neither a file nor silence heals."""
    for said, is_well in [
        (an_attestation(11), True),
        (an_attestation(9), False),
        (an_attestation(11, read_from=ReadFrom.BOOT), False),
        (None, False),
    ]:
        crowd = _crowd(None, said, STAGES)
        assert drift.is_well(crowd.cluster, crowd.cluster.members["a"]) is is_well
