"""What a node does by itself: order of steps, and what is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotator.agent.decide import (
    LATE,
    Boot,
    Cut,
    Memory,
    Own,
    Pin,
    Seen,
    WriteBoot,
    WriteCookie,
    decide,
    foreign,
    to_lock,
    waits_for_start,
)
from rotator.agent.orders import LockRound
from rotator.domain.ids import NodeName, VersionNumber
from tests.support.agents import ALIEN, ME, NEW, OLD, ROUND, THROWN, TOOL, B, C, orders, settled

LOCK = orders(lock=ROUND, accepted=frozenset({OLD}), target=OLD)
LOCKED = Memory(generation=5, lock=ROUND, throwaway=THROWN, former=(OLD,))
#: An emergency after its lock: only the new version is there, the old is known by number.
AFTER = orders(
    accepted=frozenset({NEW}), cookies={VersionNumber(2): NEW}, refuse={VersionNumber(1): None}
)


def test_a_node_that_is_as_it_shall_be_is_left_alone() -> None:
    """No step is taken where nothing differs, whatever the boot file's format carries."""
    assert decide(orders(), settled(), Memory()) == ()
    boot = Boot(own=NEW, pins={B: NEW, C: NEW})
    assert decide(orders(), settled(boot=boot), Memory()) == ()


def test_adopting_writes_files_first_and_changes_no_pair() -> None:
    """Boot file, cookie file, pins with what is used now, own cookie last."""
    seen = Seen(own=OLD, links={B: False, TOOL: True}, file=OLD)
    assert decide(orders(), seen, Memory()) == (
        WriteBoot(Boot(own=NEW, pins={B: OLD, C: OLD})),
        WriteCookie(NEW),
        Pin({B: OLD, C: OLD, TOOL: OLD}),
        Own(NEW),
    )


def test_adopting_keeps_pairs_that_have_moved() -> None:
    """A row that is there is not written again, and stands in the boot file as it is."""
    seen = settled(OLD, pins={B: NEW})
    steps = decide(orders(), seen, Memory())
    assert WriteBoot(Boot(own=NEW, pins={B: NEW, C: OLD})) in steps
    assert Pin({C: OLD}) in steps


@pytest.mark.parametrize("boot", [None, Boot(pins={}), Boot(pins={B: NEW, C: NEW, TOOL: NEW})])
def test_a_boot_file_that_differs_is_written(boot: Boot | None) -> None:
    """Missing, stale or with a name too many: the file comes to say what the VM does."""
    wanted = WriteBoot(Boot(own=NEW, pins={B: NEW, C: NEW}))
    assert decide(orders(), settled(boot=boot), Memory()) == (wanted,)


def test_rows_that_a_stop_of_distribution_lost_come_back() -> None:
    """A pair that had not moved is pinned again from the boot file, not to the target."""
    seen = settled(pins={}, boot=Boot(pins={B: OLD, C: NEW}))
    assert Pin({B: OLD}) in decide(orders(), seen, Memory())


def test_a_lost_row_of_a_cookie_that_is_over_does_not_come_back() -> None:
    """What is not accepted any more is not read out of an old boot file."""
    seen = settled(pins={}, boot=Boot(pins={B: ALIEN, C: NEW}))
    steps = decide(orders(), seen, Memory())
    assert not any(isinstance(step, Pin) for step in steps)
    assert WriteBoot(Boot(own=NEW, pins={B: NEW, C: NEW})) in steps


@pytest.mark.parametrize(("others", "moves"), [(OLD, False), (NEW, True)])
def test_rows_of_nobody_wait_for_the_members(others: object, moves: bool) -> None:
    """A connected tool keeps its row until the members' pairs have moved."""
    seen = settled(pins={B: others, C: NEW, TOOL: OLD})
    pinned = [step for step in decide(orders(), seen, Memory()) if isinstance(step, Pin)]
    assert pinned == ([Pin({TOOL: NEW})] if moves else [])


@pytest.mark.parametrize(
    ("seen", "memory", "changes", "resets"),
    [
        (ALIEN, Memory(), {"heals_drift": True}, True),
        (ALIEN, Memory(), {"heals_drift": False}, False),
        (THROWN, LOCKED, {"heals_drift": False}, True),
        (ALIEN, Memory(former=(ALIEN,)), {"heals_drift": False}, True),
        (ALIEN, Memory(), {"heals_drift": False, "cookies": {VersionNumber(9): ALIEN}}, True),
    ],
)
def test_a_cookie_set_by_hand_is_held_only_where_that_is_wanted(
    seen: object, memory: Memory, changes: dict[str, object], resets: bool
) -> None:
    """What is ours is replaced in any case, a foreign one as `on_drift` says, under a throwaway first."""
    made = orders(**changes)
    held = settled(seen)  # type: ignore[arg-type]
    is_locked = memory.throwaway == seen
    assert to_lock(made, held, memory) == (LATE if resets and not is_locked else None)
    late = memory if is_locked else replace(memory, lock=LATE, throwaway=THROWN)
    steps = decide(made, held, late)
    assert bool(steps) is (resets and not is_locked)
    if steps:
        assert steps[-2:] == (Pin({B: THROWN, C: THROWN}), Own(THROWN))


def test_a_locked_node_is_reset_when_nobody_else_can_have_its_throwaway() -> None:
    """Files first, then every row, then the own cookie; not before it is sealed."""
    locked = settled(THROWN)
    assert decide(AFTER, locked, LOCKED) == ()
    steps = decide(AFTER, locked, LOCKED, is_sealed=True)
    assert steps == (
        WriteBoot(Boot(own=NEW, pins={B: NEW, C: NEW})),
        WriteCookie(NEW),
        Pin({B: NEW, C: NEW}),
        Own(NEW),
    )


def test_a_throwaway_that_a_stranger_may_have_is_replaced() -> None:
    """As often as somebody is found under it, each time by a round of the node's own."""
    locked = settled(THROWN)
    assert to_lock(AFTER, locked, LOCKED) is None
    assert to_lock(AFTER, locked, LOCKED, is_burned=True) == LATE
    late = replace(LOCKED, lock=LATE)
    assert to_lock(AFTER, locked, late) is None
    assert to_lock(AFTER, locked, late, is_burned=True) == LockRound("late", 1)
    assert to_lock(LOCK, locked, LOCKED, is_burned=True) is None, (
        "the service begins the next round"
    )


def test_a_node_that_was_away_over_a_whole_emergency_is_locked_first() -> None:
    """Nothing in its orders speaks of the emergency any more; what it answers to is not accepted."""
    made = orders(phase=None, accepted=frozenset({NEW}), cookies={VersionNumber(2): NEW})
    assert not made.is_emergency
    assert to_lock(made, settled(OLD), Memory()) == LATE


def test_a_vm_that_is_out_of_reach_gets_one_throwaway_for_many_rounds() -> None:
    """Files take the first; another is made when the VM was seen with it, or in another emergency."""
    away = Seen(own=None, file=OLD)
    assert to_lock(LOCK, away, Memory()) == ROUND
    later = replace(LOCK, lock=replace(ROUND, number=9))
    assert to_lock(later, away, LOCKED) is None
    assert decide(later, away, LOCKED) == ()
    assert to_lock(later, settled(OLD), LOCKED) == later.lock
    laid = replace(LOCKED, next_lock=replace(ROUND, number=2), next_throwaway=ALIEN)
    assert to_lock(later, away, laid) == later.lock
    another = replace(LOCK, lock=replace(ROUND, emergency="another"))
    assert to_lock(another, away, LOCKED) == another.lock


def test_nothing_is_locked_before_the_throwaway_is_remembered() -> None:
    """Without a memory of this very round no step is taken, or the agent would lock itself out."""
    other = replace(LOCKED, lock=replace(ROUND, emergency="another"))
    for memory in (Memory(), replace(LOCKED, throwaway=None), other):
        assert decide(LOCK, settled(OLD), memory) == ()


def test_a_lock_is_the_throwaway_everywhere_and_strangers_cut() -> None:
    """Files, every row and the own cookie change; links to members stay, others go right before it."""
    seen = settled(OLD, links={B: False, TOOL: True})
    steps = decide(LOCK, seen, LOCKED)
    assert steps[1:] == (
        WriteCookie(THROWN),
        Pin({B: THROWN, C: THROWN, TOOL: THROWN}),
        Cut((TOOL,)),
        Own(THROWN),
    )
    assert isinstance(steps[0], WriteBoot)
    assert steps[0].boot.own == THROWN
    assert steps[0].boot.pins == {B: THROWN, C: THROWN}


def test_a_row_with_an_odd_name_stops_no_lock() -> None:
    """The boot file names members alone, so what no boot file can hold stands in the VM only."""
    odd = NodeName("it's odd@h")
    steps = decide(LOCK, settled(OLD, pins={odd: OLD}), LOCKED)
    assert steps[0] == WriteBoot(Boot(own=THROWN, pins={B: THROWN, C: THROWN}))
    assert steps[2] == Pin({B: THROWN, C: THROWN, odd: THROWN})


def test_a_locked_node_stays_locked_and_goes_on_cutting() -> None:
    """A second look changes nothing, and who comes back is cut again."""
    assert decide(LOCK, settled(THROWN), LOCKED) == ()
    back = settled(THROWN, pins={B: THROWN, C: THROWN, TOOL: THROWN}, links={TOOL: True})
    assert Cut((TOOL,)) in decide(LOCK, back, LOCKED)


def test_nobody_is_cut_but_in_an_emergency() -> None:
    """A stranger's link is a fact, not a reason to cut it."""
    for seen in (settled(), settled(OLD), settled(ALIEN)):
        linked = replace(seen, links={TOOL: True})
        assert not any(isinstance(s, Cut) for s in decide(orders(), linked, Memory()))


def test_after_an_emergency_nothing_of_before_is_kept() -> None:
    """A locked node gets the new version for itself and for every name, tools too."""
    seen = settled(THROWN, pins={B: THROWN, C: THROWN, TOOL: THROWN})
    steps = decide(AFTER, seen, LOCKED, is_sealed=True)
    assert Pin({B: NEW, C: NEW, TOOL: NEW}) in steps
    assert steps[-1] == Own(NEW)


def test_files_of_a_node_that_is_down_are_brought_on() -> None:
    """It boots in step: adopted, its peers pinned to what they used; and nothing else is done."""
    seen = Seen(own=None, file=OLD, boot=Boot(pins={B: NEW}))
    assert decide(orders(), seen, Memory()) == (
        WriteBoot(Boot(own=NEW, pins={B: NEW, C: OLD})),
        WriteCookie(NEW),
    )
    assert decide(orders(), Seen(own=None), Memory()) == ()
    assert decide(orders(), settled(own=None), Memory()) == ()


def test_foreign_links_are_those_to_no_live_member() -> None:
    """A member that is lost or excused is none; one that is unknown counts as live."""
    made = orders(members={B: "unknown", C: "lost"})
    links = dict.fromkeys([B, C, TOOL, ME], False)
    assert foreign(made, settled(links=links)) == (ME, C, TOOL)


def test_a_hidden_link_under_the_name_of_a_member_is_foreign() -> None:
    """Members are linked visibly, unless the node itself is a hidden one."""
    seen = settled(links={B: True, C: False})
    assert foreign(orders(), seen) == (B,)
    assert foreign(orders(), replace(seen, is_hidden=True)) == ()


#: Current is NEW, and is taken at the next start alone.
BY_RESTART = orders(restarts=True)


def test_a_node_that_takes_cookies_at_its_start_is_left_as_it_runs() -> None:
    """Own cookie and cookie file stay; a start that nobody has prepared comes up in step."""
    seen = Seen(own=OLD, links={B: False, TOOL: True}, file=OLD)
    assert decide(BY_RESTART, seen, Memory()) == (WriteBoot(Boot(own=OLD, pins={B: OLD, C: OLD})),)
    assert decide(BY_RESTART, settled(OLD), Memory()) == ()


def test_what_boot_has_laid_ready_is_left_for_the_next_start() -> None:
    """A cookie file with another accepted version stays, and so does what goes with it."""
    seen = settled(OLD, file=NEW, boot=Boot(own=NEW, pins={B: OLD, C: OLD}))
    assert decide(BY_RESTART, seen, Memory()) == ()
    assert decide(BY_RESTART, settled(OLD, file=ALIEN), Memory()) == (WriteCookie(OLD),)


def test_rows_that_were_lost_come_back_before_the_restart_too() -> None:
    """In the middle of a rollback rows differ from the own cookie; the boot file knows them."""
    back = orders(restarts=True, target=OLD)
    seen = settled(NEW, pins={C: NEW}, boot=Boot(pins={B: OLD, C: NEW}))
    assert decide(back, seen, Memory()) == (Pin({B: OLD}),)


def test_files_of_a_node_that_is_down_stay_where_it_takes_cookies_at_its_start() -> None:
    """Only `boot` brings them to the target; meanwhile new members are written in."""
    down = Seen(own=None, file=OLD, boot=Boot(pins={B: OLD}))
    assert decide(BY_RESTART, down, Memory()) == (WriteBoot(Boot(own=OLD, pins={B: OLD, C: OLD})),)


def test_a_restarted_node_goes_on_as_any_other() -> None:
    """Once its own cookie is the target, its rows and files are kept as in a hot rollout."""
    seen = settled(NEW, pins={}, boot=Boot(pins={B: OLD, C: NEW}))
    assert decide(BY_RESTART, seen, Memory()) == decide(orders(), seen, Memory())
    assert decide(BY_RESTART, seen, Memory())


def test_what_is_not_accepted_is_reset_at_once_also_where_nodes_are_restarted() -> None:
    """An emergency and drift do not wait for a restart."""
    after = replace(AFTER, restarts=True)
    memory = Memory(lock=ROUND, throwaway=THROWN)
    assert Own(NEW) in decide(after, settled(THROWN), memory, is_sealed=True)
    lock = replace(LOCK, restarts=True)
    assert Own(THROWN) in decide(lock, settled(OLD), LOCKED)


@pytest.mark.parametrize(
    ("changes", "own", "waits"),
    [
        ({"restarts": True}, OLD, True),
        ({"restarts": True}, NEW, False),
        ({"restarts": True}, ALIEN, False),
        ({"restarts": True, "lock": ROUND}, OLD, False),
        ({"restarts": False}, OLD, False),
    ],
)
def test_who_waits_for_a_start_looks_at_heartbeats_alone(
    changes: dict[str, object], own: object, waits: bool
) -> None:
    """Nothing brings such a node on but its start, so nobody looks each second for hours."""
    assert waits_for_start(orders(**changes), settled(own)) == waits
