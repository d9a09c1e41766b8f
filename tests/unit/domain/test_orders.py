from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.domain import orders
from rotator.domain.commands import Request
from rotator.domain.facts import FactKind
from rotator.domain.rotation import Phase
from rotator.errors import PhaseForbids
from rotator.testing.factories import NOW, a_cluster, a_rotation, an_emergency
from rotator.testing.state.values import full_claim

ASKED = Request(by="operator", reason="because", at=NOW)
LATER = NOW + timedelta(seconds=91)


@pytest.mark.parametrize("command", [orders.hold, orders.release, orders.abort, orders.roll_back])
def test_a_command_names_its_rotation(command) -> None:
    """One that has finished, or is another one, takes no command."""
    for cluster in (a_cluster(), a_cluster(a_rotation(Phase.GRACE))):
        with pytest.raises(PhaseForbids, match="has finished"):
            command(cluster, "r0", ASKED)


def test_hold_and_release_are_repeatable() -> None:
    """The second of each changes nothing."""
    cluster = a_cluster(a_rotation(Phase.INSTALLING))
    held = orders.hold(cluster, "r1", ASKED).cluster
    assert held.rotation.is_held
    assert orders.hold(held, "r1", ASKED).facts == ()
    released = orders.release(held, "r1", ASKED).cluster
    assert not released.rotation.is_held
    assert orders.release(released, "r1", ASKED).facts == ()


def test_nodes_are_not_kept_locked_and_an_abort_is_not_held() -> None:
    """Both holds are refused with the reason."""
    with pytest.raises(PhaseForbids, match="while nodes are locked"):
        orders.hold(a_cluster(an_emergency(Phase.LOCKING)), "r1", ASKED)
    aborting = a_cluster(a_rotation(Phase.INSTALLING, abort_requested=True))
    with pytest.raises(PhaseForbids, match="being aborted"):
        orders.hold(aborting, "r1", ASKED)


@pytest.mark.parametrize("phase", [Phase.STAGED, Phase.INSTALLING])
def test_an_abort_is_an_intent_that_releases(phase: Phase) -> None:
    """A1 grows the generation, lets go of a hold, and happens once."""
    cluster = orders.abort(a_cluster(a_rotation(phase, is_held=True)), "r1", ASKED).cluster
    assert cluster.rotation.abort_requested
    assert not cluster.rotation.is_held
    assert cluster.generation == 43
    assert orders.abort(cluster, "r1", ASKED).facts == ()


@pytest.mark.parametrize(
    ("rotation", "why"),
    [
        (a_rotation(Phase.PROMOTING), "in promoting cannot be aborted$"),
        (a_rotation(Phase.ROLLING_OUT), "in rolling_out cannot be aborted; roll back instead"),
        (a_rotation(Phase.GRACE), "in grace cannot be aborted; roll back instead"),
        (a_rotation(Phase.RETIRING), "in retiring cannot be aborted$"),
        (an_emergency(Phase.LOCKING), "in locking cannot be aborted$"),
    ],
)
def test_an_abort_comes_before_promotion(rotation, why: str) -> None:
    """Later it is refused, with what can be done instead."""
    with pytest.raises(PhaseForbids, match=why):
        orders.abort(a_cluster(rotation), "r1", ASKED)


@pytest.mark.parametrize("phase", [Phase.ROLLING_OUT, Phase.GRACE])
def test_a_rollback_turns_towards_the_former_version(phase: Phase) -> None:
    """R1 changes nothing for nodes yet, releases, and happens once."""
    cluster = orders.roll_back(a_cluster(a_rotation(phase, is_held=True)), "r1", ASKED).cluster
    assert cluster.rotation.phase is Phase.ROLLING_BACK
    assert cluster.rotation.target == 11
    assert not cluster.rotation.is_held
    assert cluster.generation == 42
    assert orders.roll_back(cluster, "r1", ASKED).facts == ()


@pytest.mark.parametrize(
    ("rotation", "why"),
    [
        (a_rotation(Phase.STAGED), "in staged cannot be rolled back; abort instead"),
        (a_rotation(Phase.PROMOTING), "in promoting cannot be rolled back$"),
        (a_rotation(Phase.RETIRING), "in retiring cannot be rolled back$"),
        (an_emergency(Phase.ROLLING_OUT), "an emergency is not rolled back"),
    ],
)
def test_a_rollback_comes_before_retirement(rotation, why: str) -> None:
    """Before and after it is refused, with what can be done instead."""
    with pytest.raises(PhaseForbids, match=why):
        orders.roll_back(a_cluster(rotation), "r1", ASKED)


def test_the_end_of_grace_moves_in_grace_alone() -> None:
    """A repeated request changes nothing, and in another phase it is refused."""
    cluster = a_cluster(a_rotation(Phase.GRACE, ends_at=NOW))
    moved = orders.end_grace_at(cluster, "r1", ASKED, ends_at=LATER)
    assert moved.cluster.rotation.ends_at == LATER
    assert orders.end_grace_at(moved.cluster, "r1", ASKED, ends_at=LATER).facts == ()
    with pytest.raises(PhaseForbids, match="in retiring has no grace window"):
        orders.end_grace_at(a_cluster(a_rotation(Phase.RETIRING)), "r1", ASKED, ends_at=NOW)


def test_the_way_back_is_kept_open_from_its_end_or_from_now() -> None:
    """Extending a window that is over already gives the whole extension, and closing it is at once."""
    window = timedelta(minutes=1)
    for ends_at, later in [(LATER, LATER + window), (None, NOW + window)]:
        cluster = a_cluster(a_rotation(Phase.GRACE, ends_at=ends_at))
        moved = orders.extend_grace(cluster, "r1", ASKED, window=window).cluster
        assert moved.rotation.ends_at == later
        assert orders.end_grace(moved, "r1", ASKED).cluster.rotation.ends_at == NOW


def test_release_lets_nodes_whose_restart_failed_be_tried_again() -> None:
    """Also where nothing is held: what stopped the rollout is mended, and it goes on."""
    failed = full_claim(is_forgiven=False)
    cluster = a_cluster(a_rotation(Phase.ROLLING_OUT), claims={failed.id: failed})
    change = orders.release(cluster, "r1", ASKED)
    assert [fact.kind for fact in change.facts] == [FactKind.ROTATION_RELEASED]
    assert change.cluster.claims[failed.id].is_forgiven
    assert orders.release(change.cluster, "r1", ASKED).facts == ()
