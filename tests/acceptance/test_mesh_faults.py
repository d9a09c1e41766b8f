"""Agents, nodes and the service die in the middle of a rotation; the mesh does not notice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fleet import LONG, Fleet, fleet, sha256
from tests.support.parts import need
from tests.support.service import wait_for

# Seconds on an idle machine; a loaded one may take its time.
pytestmark = pytest.mark.timeout(600)

FIRST, VICTIM, LAST = "n1@127.0.0.1", "n2@127.0.0.1", "n4@127.0.0.1"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Four nodes for all tests of this module."""
    need("erl", "erlc", "epmd")
    with fleet(tmp_path_factory.mktemp("fleet"), 4) as made:
        yield made


@pytest.fixture
def four(shared: Fleet) -> Fleet:
    """The same, settled."""
    shared.begin()
    return shared


def finish(made: Fleet, rotation: str, retired: str) -> None:
    """It completes; every row of every node is current, and nobody was disturbed."""
    made.until(rotation, "completed")
    made.settle()
    made.assert_uses(made.current(), retired=[retired])
    made.assert_undisturbed()


def die_at(made: Fleet, point: str, *, name: str = VICTIM) -> str:
    """Begin a rotation in which the agent of *name* dies at *point*; the rotation."""
    made.agents[name].restart(point)
    made.settle()
    rotation = made.rotate()
    made.agents[name].wait_dead()
    assert f"failpoint {point}" in made.agents[name].output()
    return rotation


@pytest.mark.parametrize("step", ["WriteCookie:before", "Own:before", "Own:after"])
def test_an_agent_that_dies_while_it_adopts_harms_nobody(four: Fleet, step: str) -> None:
    """Every pair stays in step without it, nothing is retired, and it goes on when it is back."""
    before = four.current()
    rotation = die_at(four, f"{step}:kill")
    wait_for("it is named", lambda: ("laggard", VICTIM) in four.blockers(), seconds=LONG)
    four.wait_in_step()
    four.assert_undisturbed()
    assert four.service.rotation("orders", rotation)["phase"] == "rolling_out"
    four.agents[VICTIM].start()
    finish(four, rotation, before)


@pytest.mark.parametrize("name", [FIRST, LAST])
def test_a_pair_of_which_one_side_has_moved_is_made_equal(four: Fleet, name: str) -> None:
    """The agent dies between the two sides: the agent of the other node moves the pair."""
    before = four.current()
    mover = FIRST if name == FIRST else VICTIM
    rotation = die_at(four, "Move:after:kill", name=mover)
    four.wait_in_step()
    four.assert_undisturbed()
    four.agents[mover].start()
    finish(four, rotation, before)


def kill_and_start(made: Fleet, rotation: str, before: str, *, boot: bool) -> None:
    """SIGKILL the node whose agent has died, start it again, then its agent."""
    made.kill_node(VICTIM)
    made.start_node(VICTIM, boot=boot)
    made.readmit(VICTIM)
    made.wait_in_step()
    made.assert_undisturbed()
    made.agents[VICTIM].start()
    finish(made, rotation, before)


@pytest.mark.parametrize("step", ["WriteCookie:before", "WriteCookie:after"])
def test_a_node_killed_between_two_writes_comes_back_and_takes_nobody_down(
    four: Fleet, step: str
) -> None:
    """On the files as they lie there, without its agent, it is linked to all and costs no link."""
    before = four.current()
    kill_and_start(four, die_at(four, f"{step}:kill"), before, boot=False)


@pytest.mark.parametrize("step", ["Own:after", "Move:after", "WriteBoot:before", "WriteBoot:after"])
def test_a_node_killed_while_pairs_move_comes_back_in_step_by_agent_boot(
    four: Fleet, step: str
) -> None:
    """Peers move pairs in its VM while its agent is dead: what they use is asked before it starts."""
    before = four.current()
    kill_and_start(four, die_at(four, f"{step}:kill"), before, boot=True)


def test_a_service_that_is_away_while_nodes_adopt_leaves_the_mesh_whole(four: Fleet) -> None:
    """Nodes that have the orders go on, others wait, and a restarted node is linked to all."""
    before = four.current()
    rotation = four.rotate()

    def somebody_has_adopted() -> bool:
        return any(table.own != sha256(before) for table in four.tables().values())

    wait_for("somebody has adopted", somebody_has_adopted, seconds=LONG)
    four.service.kill()
    four.wait_in_step()
    four.kill_node(VICTIM)
    four.start_node(VICTIM)  # `agent boot` has to do with the files that are there.
    four.readmit(VICTIM)
    four.wait_in_step()
    four.assert_undisturbed()
    four.service.start()
    finish(four, rotation, before)


def test_an_agent_that_was_away_for_the_whole_rotation_is_waited_for(four: Fleet) -> None:
    """It is named, previous is not retired without it, and it brings its node on when it is back."""
    before = four.current()
    four.agents[VICTIM].restart("WriteCookie:before:kill")
    four.settle()
    rotation = four.rotate()
    four.wait_for_all_but(VICTIM)
    others = {name for name in four.names if name != VICTIM}
    tables = four.tables()
    assert tables[VICTIM].own == sha256(before)
    assert {tables[name].own for name in others} == {sha256(four.current())}
    assert {tables[name].rows[VICTIM] for name in others} == {sha256(before)}
    four.assert_undisturbed()
    four.agents[VICTIM].start()
    finish(four, rotation, before)


def test_a_rollback_in_the_middle_leads_every_pair_back(four: Fleet) -> None:
    """What most had adopted is refused by all in the end, and nobody was disturbed."""
    before = four.current()
    rotation = die_at(four, "WriteCookie:before:kill")
    four.wait_for_all_but(VICTIM)
    rejected = four.current()
    assert rejected != before
    four.command(rotation, "rollback")
    four.agents[VICTIM].start()
    four.until(rotation, "rolled_back")
    four.settle()
    assert four.current() == before
    four.assert_uses(before, retired=[rejected])
    four.assert_undisturbed()


def test_a_new_node_boots_when_cookies_are_not_mixed_any_more(four: Fleet) -> None:
    """While one node lags `agent boot` waits; then the newcomer is linked to all at once."""
    before = four.current()
    rotation = die_at(four, "WriteCookie:before:kill")
    wait_for("it is named", lambda: ("laggard", VICTIM) in four.blockers(), seconds=LONG)
    newcomer = f"n{len(four.names) + 1}@127.0.0.1"
    agent = four.recruit(newcomer)
    assert agent.boot(seconds=3) == 6, "it may not join yet"
    boot = agent.begin_boot(seconds=LONG)
    four.agents[VICTIM].start()
    assert boot.wait(LONG) == 0
    four.start_node(newcomer, boot=False)
    agent.start()
    four.readmit(newcomer)
    finish(four, rotation, before)
