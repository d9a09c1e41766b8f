"""Real nodes that never ran come into a mesh in every phase; nobody else notices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fleet import LONG, Fleet, fleet
from tests.support.fleet_agents import Agent
from tests.support.parts import need
from tests.support.service import wait_for

# Seconds on an idle machine; a loaded one may take its time.
pytestmark = pytest.mark.timeout(600)

VICTIM = "n2@127.0.0.1"  #: its agent is what each phase waits for
MAY_NOT_JOIN = 6  #: exit code of `agent boot` when its time is over


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three nodes, and whoever joins them in one test after the other."""
    need("erl", "erlc", "epmd")
    with fleet(tmp_path_factory.mktemp("fleet"), 3, grace_window="10m", lock_timeout="5m") as made:
        yield made


@pytest.fixture
def mesh(shared: Fleet) -> Fleet:
    """The same, settled."""
    shared.begin()
    return shared


def in_phase(made: Fleet, rotation: str, phase: str) -> None:
    """Wait until it is in this phase, and it waits there for the victim's agent."""
    made.until(rotation, phase)
    wait_for("it is named", lambda: VICTIM in {who for _, who in made.blockers()}, seconds=LONG)


def join(made: Fleet, rotation: str, phase: str) -> None:
    """A node that boots at once, linked to everyone while the rotation is still in this phase."""
    made.join(f"{phase}{len(made.names)}@127.0.0.1")
    assert made.service.rotation("orders", rotation)["phase"] == phase
    made.wait_in_step()
    made.assert_undisturbed()


def ask(made: Fleet, phase: str) -> Agent:
    """A node that asks to boot and may not yet."""
    agent = made.recruit(f"{phase}{len(made.names)}@127.0.0.1")
    assert agent.boot(seconds=2) == MAY_NOT_JOIN
    return agent


def join_when_it_may(made: Fleet, agent: Agent) -> None:
    """Bring the victim's agent back; the node asks until it may boot, and is linked to everyone."""
    boot = agent.begin_boot(seconds=LONG)
    made.agents[VICTIM].start()
    assert boot.wait(2 * LONG) == 0
    made.start_node(agent.node.name, boot=False)
    agent.start()
    made.readmit(agent.node.name)


def finish(made: Fleet, rotation: str, phase: str, *, retired: str) -> None:
    """Everybody is at current in the end, the former cookie is refused, nobody was disturbed."""
    made.until(rotation, phase)
    made.settle()
    made.assert_uses(made.current(), retired=[retired])
    made.assert_undisturbed()


def test_nodes_join_in_each_phase_of_a_rotation(mesh: Fleet) -> None:
    """In installing, grace and retiring they boot at once; while cookies are mixed they wait."""
    before, victim = mesh.current(), mesh.agents[VICTIM]
    victim.kill()
    rotation = mesh.rotate()
    in_phase(mesh, rotation, "installing")
    join(mesh, rotation, "installing")
    victim.start("WriteCookie:before:kill")
    victim.wait_dead()
    in_phase(mesh, rotation, "rolling_out")
    join_when_it_may(mesh, ask(mesh, "rolling_out"))
    mesh.until(rotation, "grace")
    join(mesh, rotation, "grace")
    the_window = {("grace_window", "clock")}
    wait_for("only the window is open", lambda: mesh.blockers() == the_window, seconds=LONG)
    victim.kill()
    mesh.command(rotation, "end-grace")
    in_phase(mesh, rotation, "retiring")
    join(mesh, rotation, "retiring")
    victim.start()
    finish(mesh, rotation, "completed", retired=before)


def test_a_node_joins_while_a_rotation_is_rolled_back(mesh: Fleet) -> None:
    """It waits until all are back at the former version, and boots with that."""
    before, victim = mesh.current(), mesh.agents[VICTIM]
    victim.restart("WriteCookie:before:kill")
    mesh.settle()
    rotation = mesh.rotate()
    victim.wait_dead()
    mesh.wait_for_all_but(VICTIM)
    rejected = mesh.current()
    mesh.command(rotation, "rollback")
    # The victim never left the former version: what rolling_back waits for is another one's agent.
    mesh.agents["n1@127.0.0.1"].kill()
    victim.start()
    mesh.until(rotation, "rolling_back")
    newcomer = mesh.recruit(f"rolling_back{len(mesh.names)}@127.0.0.1")
    boot = newcomer.begin_boot(seconds=LONG)
    mesh.agents["n1@127.0.0.1"].start()
    assert boot.wait(2 * LONG) == 0
    mesh.start_node(newcomer.node.name, boot=False)
    newcomer.start()
    mesh.readmit(newcomer.node.name)
    finish(mesh, rotation, "rolled_back", retired=rejected)
    assert mesh.current() == before


def test_a_node_joins_in_an_emergency(mesh: Fleet) -> None:
    """It waits until locking is over, and never gets what leaked."""
    before, victim = mesh.current(), mesh.agents[VICTIM]
    victim.kill()
    rotation = mesh.rotate("emergency")
    in_phase(mesh, rotation, "locking")
    join_when_it_may(mesh, ask(mesh, "locking"))
    finish(mesh, rotation, "completed", retired=before)
