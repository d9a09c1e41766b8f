"""A mesh that takes its new cookie by restarts: one node at a time, and nobody up loses anybody up."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import LONG, Fleet, fleet, sha256
from tests.support.markdown import CHECKOUT
from tests.support.parts import need
from tests.support.restarts import Orchestrator, configure, waits
from tests.support.service import wait_for
from tests.support.watch import watching

# Seconds on an idle machine; a loaded one may take its time.
pytestmark = pytest.mark.timeout(900)

NODES = 5
ROLLOUT = {"max_unavailable": 1, "soak": "0", "claim_ttl": "60s", "restart_timeout": "5m"}
RECIPE = CHECKOUT / "deploy" / "recipes" / "rolling-restarts" / "orchestrate.sh"
#: Asks the test to restart a node, and returns when it has.
RESTART = """#!/bin/sh
echo "$1" > "$PLACE/asks"
mv "$PLACE/asks" "$PLACE/wanted"
while [ -e "$PLACE/wanted" ]; do sleep 0.1; done
"""
STEP_SECONDS = 5.0  #: a move takes milliseconds; a loaded machine may stop an agent in the middle


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Five nodes for all tests of this module."""
    need("erl", "erlc", "epmd")
    directory = tmp_path_factory.mktemp("fleet")
    with fleet(directory, NODES, adoption="restart", rollout=ROLLOUT) as made:
        yield made


@pytest.fixture
def five(shared: Fleet) -> Fleet:
    """The same, settled, with one node at a time; what an earlier test left is brought to its end."""
    left = shared.cluster()["rotation"]
    if left is not None:
        Orchestrator(shared).run(left["id"])
    shared.begin()
    configure(shared, **ROLLOUT)
    return shared


def test_nodes_are_restarted_one_at_a_time_and_calls_go_on(five: Fleet) -> None:
    """Each node once, by name; no running node is touched before, and no link goes but its own."""
    before = five.current()
    orchestrator = Orchestrator(five)
    with watching(five.mesh.nodes) as watch:
        rotation = five.rotate()
        five.until(rotation, "rolling_out")
        assert {table.own for table in five.tables().values()} == {sha256(before)}
        orchestrator.run(rotation)
        five.until(rotation, "completed")
    assert orchestrator.restarted == sorted(five.names)
    assert orchestrator.most_at_once <= 1
    five.settle()
    five.assert_uses(five.current(), retired=[before])
    five.assert_undisturbed()
    assert watch.longest < STEP_SECONDS, watch


def test_two_at_once_where_two_may_be_down(five: Fleet) -> None:
    """Each node once, never more than two under claim; whoever is up stays linked to whoever is up."""
    configure(five, max_unavailable=2)
    before = five.current()
    orchestrator = Orchestrator(five, most=3)
    rotation = five.rotate()
    five.until(rotation, "rolling_out")
    orchestrator.run(rotation)
    five.until(rotation, "completed")
    assert sorted(orchestrator.restarted) == sorted(five.names)
    assert orchestrator.most_together == 2
    five.settle()
    five.assert_uses(five.current(), retired=[before])
    five.assert_undisturbed()


def test_a_node_that_does_not_come_back_stops_the_rollout_until_it_is_excused(five: Fleet) -> None:
    """Also where two may be down: it is named, nobody else is restarted, and then it goes on."""
    configure(five, max_unavailable=2)
    orchestrator = Orchestrator(five)
    rotation = five.rotate()
    five.until(rotation, "rolling_out")
    claim = orchestrator.first_claim()
    configure(five, claim_ttl="2s")
    lost = orchestrator.stop(claim)
    wait_for("it is named", lambda: waits(five).get(lost) == "not_back", seconds=LONG)
    wait_for("to operators, too", lambda: ("not_back", lost) in five.blockers(), seconds=LONG)
    assert orchestrator.look()["next"] == []
    assert orchestrator.claim() == []
    late = orchestrator.say(claim, "restarting")
    assert (late.status_code, late.json()["code"]) == (409, "claim_lost")
    body = {"reason": "its disk is gone", "force": True}
    path = f"clusters/orders/nodes/{lost}/excuse"
    assert five.service.request("POST", path, json=body).is_success
    configure(five, claim_ttl="60s")
    orchestrator.run(rotation)
    assert sorted(orchestrator.restarted) == sorted(five.names)
    five.until(rotation, "completed")
    five.start_node(lost)
    five.readmit(lost)
    five.settle()
    five.assert_undisturbed()


def test_the_way_back_restarts_those_that_had_been_restarted_and_no_others(five: Fleet) -> None:
    """Rolled back halfway, the rest of the nodes is never touched."""
    before = five.current()
    orchestrator = Orchestrator(five)
    rotation = five.rotate()
    five.until(rotation, "rolling_out")
    first = orchestrator.run_step() + orchestrator.run_step()
    rejected = five.current()
    five.command(rotation, "rollback")
    wait_for("the former version is current", lambda: five.current() == before, seconds=LONG)
    orchestrator.run(rotation)
    five.until(rotation, "rolled_back")
    assert orchestrator.restarted == first * 2
    five.settle()
    five.assert_uses(before, retired=[rejected])
    five.assert_undisturbed()


def test_nodes_that_start_by_themselves_or_are_new_come_up_in_step(five: Fleet) -> None:
    """With `boot` a node has current and is not restarted again; without, it waits for its restart."""
    prepared, plain, *rest = five.names
    before = five.current()
    orchestrator = Orchestrator(five)
    rotation = five.rotate()
    five.until(rotation, "rolling_out")
    for name in (prepared, plain):
        five.kill_node(name)
        five.start_node(name, boot=name == prepared)
        five.readmit(name)
    assert five.tables()[plain].own == sha256(before)
    assert five.tables()[prepared].own == sha256(five.current())
    five.join("late@127.0.0.1")
    assert five.tables()["late@127.0.0.1"].own == sha256(five.current())
    orchestrator.run(rotation)
    five.until(rotation, "completed")
    assert orchestrator.restarted == sorted([plain, *rest])
    five.settle()
    five.assert_uses(five.current(), retired=[before])
    five.assert_undisturbed()


def test_an_emergency_does_not_wait_for_restarts(five: Fleet) -> None:
    """Agents lock and reset running nodes; what was claimed is over, and nobody is restarted."""
    orchestrator = Orchestrator(five)
    five.until(five.rotate(), "rolling_out")
    claim = orchestrator.first_claim()
    before = five.current()
    five.until(five.rotate("emergency"), "completed")
    late = orchestrator.say(claim, "restarting")
    assert (late.status_code, late.json()["code"]) == (409, "claim_lost")
    five.settle()
    five.assert_uses(five.current(), retired=[before])
    assert not [loss for loss in five.disturbances() if loss.startswith("link")]


def test_the_orchestrator_of_the_recipe_restarts_every_node(five: Fleet, tmp_path: Path) -> None:
    """A shell, curl, and a program that restarts one node are enough; its token is no argument."""
    before = five.current()
    restart, wanted = tmp_path / "restart", tmp_path / "wanted"
    restart.write_text(RESTART)
    restart.chmod(0o700)
    token = tmp_path / "token"
    token.write_text(five.service.token("orchestrator"))
    rotation = five.rotate()
    environment = {
        **os.environ,
        "ROTATOR_ADDR": f"http://127.0.0.1:{five.service.port}",
        "ROTATOR_TOKEN_FILE": str(token),
        "CLUSTER": "orders",
        "RESTART": str(restart),
        "PLACE": str(tmp_path),
    }
    restarted: list[str] = []
    with subprocess.Popen(
        ["/bin/sh", str(RECIPE)], env=environment, start_new_session=True
    ) as shell:
        try:
            while len(restarted) < len(five.names):
                wait_for("a node is to be restarted", wanted.exists, seconds=LONG)
                name = wanted.read_text().strip()
                restarted.append(name)
                five.kill_node(name)
                five.start_node(name)
                five.readmit(name)
                wanted.unlink()
            five.until(rotation, "completed")
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
    assert restarted == sorted(five.names)
    five.settle()
    five.assert_uses(five.current(), retired=[before])
    five.assert_undisturbed()


def dies_before_the_restart(five: Fleet, orchestrator: Orchestrator) -> str:
    """An orchestrator has said that it begins, and is never heard again; the node's name."""
    claim = orchestrator.first_claim()
    configure(five, claim_ttl="2s")
    assert orchestrator.say(claim, "restarting").is_success
    wait_for("its claim is over", lambda: not orchestrator.look()["under_way"], seconds=LONG)
    configure(five, claim_ttl="60s")
    return str(claim["node"])


def comes_back(five: Fleet, orchestrator: Orchestrator, name: str) -> None:
    """A node comes up by its supervisor, and nobody says `done`."""
    five.start_node(name)
    five.readmit(name)
    wait_for("it counts as done", lambda: not orchestrator.look()["under_way"], seconds=LONG)


def service_dies_meanwhile(five: Fleet, orchestrator: Orchestrator) -> None:
    """Killed while a node is down, it knows of it afterwards, and lets nobody else go."""
    claim = orchestrator.first_claim()
    name = orchestrator.stop(claim)
    five.service.kill()
    five.service.start()
    assert [one["id"] for one in orchestrator.look()["under_way"]] == [claim["id"]]
    assert orchestrator.claim() == []
    comes_back(five, orchestrator, name)


def node_dies_by_itself(five: Fleet, orchestrator: Orchestrator, name: str) -> None:
    """Nobody is restarted while it is down, and it comes up with current."""
    wait_for("somebody is next", lambda: orchestrator.look()["next"], seconds=LONG)
    five.kill_node(name)
    wait_for("that is noticed", lambda: orchestrator.look()["unavailable"] == [name], seconds=LONG)
    assert orchestrator.claim() == []
    five.start_node(name)
    five.readmit(name)


def test_whoever_dies_the_rollout_comes_to_its_end(five: Fleet) -> None:
    """Orchestrator, service and nodes, each at its worst moment: no node is restarted twice."""
    before = five.current()
    orchestrator = Orchestrator(five)
    rotation = five.rotate()
    five.until(rotation, "rolling_out")
    again = dies_before_the_restart(five, orchestrator)
    assert orchestrator.stop(orchestrator.first_claim()) == again
    comes_back(five, orchestrator, again)
    service_dies_meanwhile(five, orchestrator)
    *others, last = sorted(five.names)
    node_dies_by_itself(five, orchestrator, last)
    orchestrator.run(rotation)
    five.until(rotation, "completed")
    assert sorted(orchestrator.restarted) == others
    five.settle()
    five.assert_uses(five.current(), retired=[before])
    five.assert_undisturbed()
