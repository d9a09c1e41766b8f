from __future__ import annotations

from rotator.domain.version import NEXT, Origin, Stage


def _reachable(stage: Stage) -> set[Stage]:
    reached: set[Stage] = set()
    open_ = {stage}
    while open_:
        for following in NEXT[open_.pop()] - reached:
            reached.add(following)
            open_.add(following)
    return reached


def test_every_stage_says_what_may_follow() -> None:
    """No stage is left out of the table."""
    assert set(NEXT) == set(Stage)


def test_what_is_over_never_becomes_current_again() -> None:
    """A retired, discarded or revoked version stays so."""
    for stage in (Stage.RETIRED, Stage.DISCARDED, Stage.REVOKED):
        assert NEXT[stage] == frozenset()


def test_no_version_becomes_pending_again() -> None:
    """A number is used once, so nothing leads back to its beginning."""
    assert all(Stage.PENDING not in _reachable(stage) for stage in Stage)


def test_a_current_version_is_not_retired_at_once() -> None:
    """It is previous first: readable, and the way back."""
    assert Stage.RETIRED not in NEXT[Stage.CURRENT]
    assert Stage.DISCARDED not in _reachable(Stage.CURRENT)


def test_a_rollback_swaps_current_and_previous() -> None:
    """Each of the two may become the other."""
    assert Stage.PREVIOUS in NEXT[Stage.CURRENT]
    assert Stage.CURRENT in NEXT[Stage.PREVIOUS]


def test_whatever_may_be_known_can_be_revoked() -> None:
    """An emergency revokes every version that is not over."""
    for stage in (Stage.PENDING, Stage.CURRENT, Stage.PREVIOUS):
        assert Stage.REVOKED in NEXT[stage]


def test_stored_words_never_change() -> None:
    """The values are what lies in the stores of every installation."""
    assert [stage.value for stage in Stage] == [
        "pending", "current", "previous", "retired", "discarded", "revoked",
    ]  # fmt: skip
    assert [origin.value for origin in Origin] == ["derived", "imported"]
