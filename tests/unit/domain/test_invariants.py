from __future__ import annotations

from dataclasses import replace

import pytest

from rotator.domain import invariants
from rotator.domain.cluster import Change, Cluster, ReadFrom
from rotator.domain.rotation import Phase
from rotator.domain.version import Stage
from rotator.errors import InvariantViolated
from rotator.testing.factories import (
    a_cluster,
    a_crowd,
    a_fingerprint,
    a_member,
    a_policy,
    a_rotation,
    a_version,
    an_attestation,
    an_emergency,
)
from tests.support.rollouts import Course, by_restart, three

ROLLING_OUT, GRACE, RETIRING = Phase.ROLLING_OUT, Phase.GRACE, Phase.RETIRING
EXPECTING = a_policy(expect=1)


def _change(cluster, *rotations):
    return Change(cluster=cluster, rotations=rotations)


def _refuse(name: str, why: str, before, change, policy=None) -> None:
    with pytest.raises(InvariantViolated, match=f"orders: {name}: .*{why}"):
        invariants.check(a_crowd(before, policy), change)


def _moved(phase, **cluster):
    """A rotation that has just entered the phase, with its row."""
    rotation = a_rotation(phase)
    return _change(a_cluster(rotation, **cluster), rotation)


def test_every_check_has_a_name_and_a_sentence() -> None:
    """What was violated can be looked up."""
    assert all(check.__doc__ for check in invariants.CHECKS.values())
    assert list(invariants.CHECKS) == [check.__name__ for check in invariants.CHECKS.values()]


def test_no_change_violates_nothing() -> None:
    """The present state may be written again."""
    cluster = a_cluster(a_rotation(GRACE))
    invariants.check(a_crowd(cluster), _change(cluster))
    invariants.check(a_crowd(a_cluster()), _change(a_cluster()))


def test_a_version_does_not_disappear() -> None:
    """Its number could be given out again."""
    before = a_cluster(stages={10: Stage.RETIRED, 11: Stage.CURRENT})
    _refuse("numbers_only_grow", "a version has disappeared", before, _change(a_cluster()))


@pytest.mark.parametrize("numbers", [(10,), (12, 13)])
def test_a_new_version_has_a_number_above_all_others(numbers) -> None:
    """Neither a burned number nor two at once."""
    after = a_cluster()
    for number in numbers:
        after = after.with_version(a_version(number, Stage.PENDING))
    _refuse("numbers_only_grow", "a new version has not", a_cluster(), _change(after))


def test_what_is_over_stays_over() -> None:
    """A retired version does not come back."""
    before = a_cluster(stages={10: Stage.RETIRED, 11: Stage.CURRENT})
    after = a_cluster(stages={10: Stage.CURRENT, 11: Stage.PREVIOUS})
    _refuse("what_is_over_stays_over", "10 went from retired to current", before, _change(after))


@pytest.mark.parametrize(
    ("stages", "why"),
    [
        ({10: Stage.PENDING, 11: Stage.CURRENT, 12: Stage.PENDING}, "two versions are pending"),
        ({9: Stage.PREVIOUS, 10: Stage.PREVIOUS, 11: Stage.CURRENT}, "two versions are previous"),
        ({11: Stage.PREVIOUS}, "not exactly one current"),
        ({10: Stage.CURRENT, 11: Stage.CURRENT}, "not exactly one current"),
    ],
)
def test_few_are_accepted(stages, why: str) -> None:
    """One current, at most one previous, at most one pending."""
    cluster = a_cluster(stages=stages)
    _refuse("few_are_accepted", why, cluster, _change(cluster))


@pytest.mark.parametrize(
    "said",
    [
        an_attestation(11),
        an_attestation(12, file=a_fingerprint(11)),
        an_attestation(12, pins={"b": a_fingerprint(11)}, boot_pins={"b": a_fingerprint(12)}),
        an_attestation(12, boot_pins={"b": a_fingerprint(11)}),
    ],
)
def test_nothing_used_is_refused(said) -> None:
    """Not for itself, in no file, and for no pair, whatever the other table says."""
    members = [a_member("a", said), a_member("b", an_attestation(12)), a_member("c")]
    before = a_cluster(a_rotation(GRACE), members=members)
    after = _moved(RETIRING, members=members)
    _refuse("nothing_used_is_refused", "11 is still used by a", before, after)


def test_an_unused_version_may_be_refused_and_an_emergency_asks_nobody() -> None:
    """Who has moved on does not stop retirement, and nobody stops an emergency."""
    done = [a_member("a", an_attestation(12))]
    before = a_cluster(a_rotation(GRACE), members=done)
    invariants.check(a_crowd(before), _moved(RETIRING, members=done))
    old = [a_member("a", an_attestation(11))]
    emergency = an_emergency(RETIRING)
    before = a_cluster(an_emergency(ROLLING_OUT), members=old)
    invariants.check(a_crowd(before), _change(a_cluster(emergency, members=old), emergency))


def test_a_rotation_follows_its_table() -> None:
    """No phase is left out."""
    before = a_cluster(a_rotation(ROLLING_OUT))
    _refuse(
        "phases_follow_the_table",
        "from rolling_out to promoting",
        before,
        _change(replace(before, rotation=a_rotation(Phase.PROMOTING)), a_rotation(Phase.PROMOTING)),
    )


def test_a_rotation_is_not_changed_without_its_row() -> None:
    """The history and the cluster would tell different stories."""
    before = a_cluster(a_rotation(GRACE))
    held = replace(before, rotation=a_rotation(GRACE, is_held=True))
    _refuse("phases_follow_the_table", "without its row", before, _change(held))


def test_a_rotation_neither_disappears_nor_outlives_its_end() -> None:
    """It is let go of when it has finished, and only then."""
    before = a_cluster(a_rotation(RETIRING))
    name, why = "phases_follow_the_table", "has disappeared, or goes on"
    _refuse(name, why, before, _change(replace(before, rotation=None)))
    ended = a_rotation(Phase.COMPLETED)
    _refuse(name, why, before, _change(replace(before, rotation=ended), ended))


@pytest.mark.parametrize("generation", [41, 44])
def test_generations_grow_by_one_at_most(generation: int) -> None:
    """They never fall, and leave none out."""
    after = _change(a_cluster(generation=generation))
    _refuse("generations_never_fall", "changed by", a_cluster(), after)


@pytest.mark.parametrize(
    "member",
    [
        a_member("a"),
        a_member("a", an_attestation(12, generation=41)),
        a_member("a", an_attestation(12, read_from=ReadFrom.NONE)),
        a_member("a", an_attestation(12), has_left=True),
    ],
)
def test_no_gate_is_met_without_an_attestation(member) -> None:
    """Neither silence nor old evidence nor a node that has gone opens a gate."""
    before = a_cluster(a_rotation(ROLLING_OUT), members=[member])
    after = _moved(GRACE, members=[member])
    _refuse("no_gate_without_attestation", "rolling_out would end", before, after, EXPECTING)
    invariants.check(a_crowd(before), after)


def test_a_gate_is_met_by_one_attestation() -> None:
    """Fresh, and from a VM."""
    members = [a_member("a", an_attestation(12))]
    before = a_cluster(a_rotation(ROLLING_OUT), members=members)
    invariants.check(a_crowd(before, EXPECTING), _moved(GRACE, members=members))


def test_an_emergency_leaves_one_version() -> None:
    """After its write nothing else is accepted."""
    rotation = an_emergency(ROLLING_OUT)
    cluster = a_cluster(rotation, stages={11: Stage.PREVIOUS, 12: Stage.CURRENT})
    _refuse("an_emergency_leaves_one_version", "left another", cluster, _change(cluster))


def test_a_node_is_under_one_claim_and_is_one_that_may_restart() -> None:
    """Tokens go on from those before; who may not restart now is not claimed by any bug."""
    course = Course(three(), by_restart(max_unavailable=2))
    before = course.cluster
    one, other = course.take(2)
    taken = course.cluster

    def refuse(why: str, after: Cluster, *, start: Cluster = before) -> None:
        _refuse("claims_are_single", why, start, Change(cluster=after), course.policy)

    twice = taken.with_claim(replace(other, node=one.node))
    refuse("two claims", twice)
    refuse("tokens", replace(taken, last_claim_token=3))
    refuse("tokens", taken.with_claim(replace(other, token=1)))
    refuse("may not restart", taken.with_claim(replace(other, node="c@h")))
