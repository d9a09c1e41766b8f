"""A throwaway keeps everybody out until somebody is seen who should not be there."""

from __future__ import annotations

from rotator.agent.seal import Seal
from tests.support.agents import THROWN, TOOL, B, C

SEALED = Seal(throwaway=THROWN, links={B: b"1", C: b"2"})


def test_links_that_stand_do_not_break_it() -> None:
    """Those that were there when it was sealed are members' own; one that is lost is no harm."""
    assert SEALED.after({B: b"1"}, frozenset()) == (SEALED, frozenset())


def test_a_new_link_under_a_members_name_is_a_stranger() -> None:
    """A locked node links to nobody: who connects has the throwaway, whatever he calls himself."""
    seal, found = SEALED.after({B: b"1", C: b"3"}, frozenset())
    assert (seal.is_broken, found) == (True, frozenset({C}))


def test_a_stranger_breaks_it_for_good() -> None:
    """That he is gone at the next look mends nothing: he has read it."""
    seal, found = SEALED.after({B: b"1", TOOL: b"9"}, frozenset({TOOL}))
    assert found == frozenset({TOOL})
    again, _ = seal.after({B: b"1"}, frozenset())
    assert again.is_broken
