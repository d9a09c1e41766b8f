from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.domain.ids import Generation
from rotator.domain.rotation import NEXT, Kind, Phase
from rotator.errors import InvariantViolated
from rotator.testing.factories import NOW, a_rotation, an_emergency

_ENDS = {Phase.COMPLETED, Phase.ABORTED, Phase.ROLLED_BACK, Phase.SUPERSEDED}


def test_every_phase_says_what_may_follow() -> None:
    """No phase is left out of the table."""
    assert set(NEXT) == set(Phase)


@pytest.mark.parametrize("phase", Phase)
def test_only_the_four_ends_are_final(phase: Phase) -> None:
    """A rotation has finished in the four terminal phases and in no other."""
    assert a_rotation(phase).is_finished == (phase in _ENDS)


@pytest.mark.parametrize("phase", sorted(set(Phase) - _ENDS))
def test_an_emergency_can_end_any_unfinished_rotation(phase: Phase) -> None:
    """Nothing that is under way stands in the way of an emergency."""
    assert Phase.SUPERSEDED in NEXT[phase]


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("following", Phase)
def test_a_rotation_moves_along_the_table_only(phase: Phase, following: Phase) -> None:
    """Each step that is not in the table is refused, from every phase."""
    rotation = a_rotation(phase)
    if following in NEXT[phase]:
        assert rotation.enter(following, at=NOW, generation=Generation(43)).phase is following
    else:
        with pytest.raises(InvariantViolated, match=f"from {phase} to {following}"):
            rotation.enter(following, at=NOW, generation=Generation(43))


def test_no_abort_is_possible_after_the_point_of_no_return() -> None:
    """From promoting on nothing leads to aborted."""
    assert {phase for phase in Phase if Phase.ABORTED in NEXT[phase]} == {
        Phase.STAGED,
        Phase.INSTALLING,
    }


def test_a_window_ends_with_its_phase_and_outlives_a_round() -> None:
    """The end of grace is forgotten on leaving it, that of locking stands for all rounds."""
    grace = a_rotation(Phase.GRACE, ends_at=NOW)
    assert grace.enter(Phase.RETIRING, at=NOW, generation=Generation(43)).ends_at is None
    locking = an_emergency(Phase.LOCKING, ends_at=NOW)
    assert locking.enter(Phase.LOCKING, at=NOW, generation=Generation(43)).ends_at == NOW


def test_entering_an_end_notes_when() -> None:
    """A finished rotation has a time of its end, an unfinished one has none."""
    later = NOW + timedelta(seconds=1)
    ended = a_rotation(Phase.RETIRING).enter(Phase.COMPLETED, at=later, generation=Generation(43))
    assert ended.finished_at == later
    assert a_rotation(Phase.GRACE).finished_at is None


def test_target_and_refused_swap_in_a_rollback() -> None:
    """The way back leads to the former version and refuses the rejected one."""
    ahead = a_rotation(Phase.RETIRING)
    back = a_rotation(Phase.RETIRING, is_rollback=True)
    assert (ahead.target, ahead.refused) == (12, (11,))
    assert (back.target, back.refused) == (11, (12,))


def test_an_emergency_refuses_all_that_it_revokes() -> None:
    """Every version that was ever readable has to be refused."""
    assert an_emergency(Phase.RETIRING, revokes=(10, 11)).refused == (10, 11)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("phase", Phase)
def test_only_an_emergency_before_its_write_is_locking_out(kind: Kind, phase: Phase) -> None:
    """Nodes are locked in locking and promoting of an emergency, and never otherwise."""
    locked = kind is Kind.EMERGENCY and phase in {Phase.LOCKING, Phase.PROMOTING}
    assert a_rotation(phase, kind=kind).is_locking_out == locked
