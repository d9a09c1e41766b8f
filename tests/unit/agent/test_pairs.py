"""Which pairs move, and to what, from both sides."""

from __future__ import annotations

import itertools

import pytest

from rotator.agent.pairs import View, missing_links, other_accepted, to_move
from rotator.domain.cookie import Cookie
from tests.support.agents import ALIEN, ME, NEW, OLD, ROUND, B, C, orders, settled


def view(own: Cookie, uses: Cookie) -> View:
    """What B's VM says."""
    return View(own=own, uses_for_me=uses)


def test_a_pair_moves_when_both_have_adopted() -> None:
    """Both own cookies are current and the pair is at previous, so it moves."""
    seen = settled(pins={B: OLD, C: NEW})
    assert to_move(orders(), seen, {B: view(NEW, OLD)}, me=ME) == {B: NEW}


@pytest.mark.parametrize("theirs", [view(OLD, OLD), view(ALIEN, OLD), view(ALIEN, ALIEN)])
def test_a_pair_waits_for_the_other_side(theirs: View) -> None:
    """A peer that has not adopted, or has to be reset first, keeps its pair."""
    assert to_move(orders(), settled(pins={B: OLD, C: NEW}), {B: theirs}, me=ME) == {}


def test_a_pair_at_the_target_is_left_alone() -> None:
    """Nothing moves where nothing differs."""
    assert to_move(orders(), settled(), {B: view(NEW, NEW), C: view(NEW, NEW)}, me=ME) == {}


@pytest.mark.parametrize("changes", [{"lock": ROUND}, {"accepted": frozenset({OLD})}])
def test_a_node_with_other_work_moves_nothing(changes: dict[str, object]) -> None:
    """In a lock, or with an own cookie that is not accepted, pairs are not its business."""
    seen = settled(pins={B: OLD, C: NEW})
    assert to_move(orders(**changes), seen, {B: view(NEW, OLD)}, me=ME) == {}


def test_both_sides_want_the_same() -> None:
    """Whatever the two VMs say, each agent alone comes to the same cookie, or one of them to none."""
    cookies = (OLD, NEW, ALIEN)
    for mine, theirs, mine_for, theirs_for in itertools.product(
        (OLD, NEW), (OLD, NEW), cookies, cookies
    ):
        a = to_move(
            orders(), settled(mine, pins={B: mine_for}), {B: view(theirs, theirs_for)}, me=ME
        )
        b = to_move(
            orders(), settled(theirs, pins={ME: theirs_for}), {ME: view(mine, mine_for)}, me=B
        )
        assert a.get(B) == b.get(ME)
        if mine_for != theirs_for:
            assert a[B] in {OLD, NEW}


def test_sides_that_differ_become_equal() -> None:
    """To what both use for themselves, else to the lower name's, if that is accepted."""
    assert to_move(orders(), settled(pins={B: OLD}), {B: view(NEW, NEW)}, me=ME) == {B: NEW}
    differs = {B: view(OLD, NEW)}
    assert to_move(orders(), settled(pins={B: OLD}), differs, me=ME) == {B: OLD}
    assert to_move(orders(), settled(pins={B: ALIEN}), differs, me=ME) == {B: NEW}
    higher = {ME: view(OLD, OLD)}
    assert to_move(orders(), settled(pins={ME: NEW}), higher, me=B) == {ME: OLD}


def test_what_is_left_to_do_is_named() -> None:
    """Links that are missing, and the other version to try."""
    seen = settled(pins={B: OLD, C: NEW}, links={B: False})
    assert missing_links(orders(), seen) == {C}
    assert missing_links(orders(members={B: "live", C: "lost"}), seen) == set()
    assert (other_accepted(orders(), OLD), other_accepted(orders(), NEW)) == (NEW, OLD)
    assert other_accepted(orders(accepted=frozenset({NEW})), NEW) is None
