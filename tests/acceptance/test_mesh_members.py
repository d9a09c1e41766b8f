"""Members of a real mesh: who comes late, comes back, was changed by hand, or is no member at all."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rotator.cli.demo.intruder import intruder
from rotator.cli.demo.nodes import BeamNode, write_private
from tests.support.fleet import LONG, Fleet, fleet, sha256
from tests.support.parts import need
from tests.support.service import wait_for

# Seconds on an idle machine; a loaded one may take its time.
pytestmark = pytest.mark.timeout(600)

FIRST, SECOND = "n1@127.0.0.1", "n2@127.0.0.1"
CHOSEN = "CHOSENBYHAND"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three nodes for all tests of this module."""
    need("erl", "erlc", "epmd")
    with fleet(tmp_path_factory.mktemp("fleet"), 3) as made:
        yield made


@pytest.fixture
def three(shared: Fleet) -> Fleet:
    """The same, settled."""
    shared.begin()
    return shared


def by_hand(made: Fleet, cookie: str = CHOSEN) -> Path:
    """A file with a cookie, for `set_cookie` and `pin`."""
    path = made.erlang.directory / "by-hand"
    write_private(path, cookie)
    return path


def wait_for_heartbeats(made: Fleet) -> None:
    """Two of each member, of which the second was sent when the first had its answer."""
    for _ in range(2):
        heard = {name: member["last_seen"] for name, member in made.members().items()}
        for name in made.names:
            wait_for(
                f"{name} is heard",
                lambda name=name, heard=heard: made.members()[name]["last_seen"] > heard[name],
                seconds=LONG,
            )


def is_on_current(made: Fleet) -> bool:
    """Whether every own cookie and every row is current."""
    used = [(table.own, *table.rows.values()) for table in made.tables().values()]
    return {cookie for one in used for cookie in one} == {sha256(made.current())}


def rotate(made: Fleet) -> str:
    """A whole rotation; the cookie that it retired."""
    before = made.current()
    made.until(made.rotate(), "completed")
    made.settle()
    return before


def test_a_newcomer_between_rotations_is_linked_to_all_and_takes_part(three: Fleet) -> None:
    """`agent boot` gives a node without files what it needs; the next rotation waits for it."""
    three.join("late@127.0.0.1")
    retired = rotate(three)
    assert "late@127.0.0.1" in three.tables()
    three.assert_uses(three.current(), retired=[retired])
    three.assert_undisturbed()


@pytest.mark.parametrize("boot", [True, False])
def test_an_excused_node_that_comes_back_with_a_retired_cookie_is_reset(
    three: Fleet, boot: bool
) -> None:
    """Nobody waited for it, it is linked to all in the end, and nobody else lost a link."""
    agent = three.agents[SECOND]
    agent.kill()
    three.kill_node(SECOND)
    path = f"clusters/orders/nodes/{SECOND}/excuse"
    body = {"reason": "it is away", "force": True}
    assert three.service.request("POST", path, json=body).is_success
    before = three.current()
    three.until(three.rotate(), "completed")
    assert three.mesh[SECOND].cookie_file.read_text() == before
    three.start_node(SECOND, boot=boot)
    agent.start()
    three.readmit(SECOND)
    wait_for("nothing of before is left", lambda: is_on_current(three), seconds=LONG)
    three.assert_uses(three.current(), retired=[before])
    three.assert_undisturbed()
    wait_for(
        "it is waited for again",
        lambda: three.members()[SECOND]["liveness"] == "live",
        seconds=LONG,
    )
    if not boot:
        assert [fact["details"]["node"] for fact in three.facts("MemberReturned")] == [SECOND]
    three.settle()


def test_a_member_that_leaves_stays_away_while_its_agent_runs_on(three: Fleet) -> None:
    """Its reports bring it back only when node or agent have been away in between."""
    agent = three.agents[SECOND]
    joined = len(three.facts("MemberJoined"))
    assert subprocess.run(agent.command("leave", SECOND), check=False).returncode == 0
    wait_for_heartbeats(three)
    assert three.members()[SECOND]["liveness"] == "left"
    assert len(three.facts("MemberJoined")) == joined
    agent.restart()
    wait_for(
        "it is a member again",
        lambda: three.members()[SECOND]["liveness"] == "live",
        seconds=LONG,
    )
    assert len(three.facts("MemberJoined")) == joined + 1
    three.settle()


def test_a_cookie_set_by_hand_is_healed_and_both_are_facts(three: Fleet) -> None:
    """With on_drift heal the node is reset within a heartbeat, and no link is lost."""
    known = len(three.facts("UnknownCookieSeen", "DriftHealed"))
    three.mesh[SECOND].set_cookie(by_hand(three))
    target = sha256(three.current())
    wait_for("it is reset", lambda: three.tables()[SECOND].own == target, seconds=LONG)
    three.settle()
    three.assert_uses(three.current(), retired=[CHOSEN])
    three.assert_undisturbed()
    kinds = ("UnknownCookieSeen", "DriftHealed")
    wait_for("both are facts", lambda: len(three.facts(*kinds)) >= known + 2, seconds=LONG)
    facts = three.facts(*kinds)[known:]
    assert [fact["kind"] for fact in facts] == list(kinds)
    assert {fact["details"]["node"] for fact in facts} == {SECOND}
    assert "own cookie was set by somebody" in three.agents[SECOND].output()


def test_a_cookie_set_by_hand_is_healed_while_the_service_is_away(three: Fleet) -> None:
    """Nobody can be told of it, which keeps no node from being healed."""
    target = sha256(three.current())
    three.service.stop()
    try:
        three.mesh[SECOND].set_cookie(by_hand(three))
        # The next look is due at a heartbeat at the latest.
        wait_for("it is reset", lambda: three.tables()[SECOND].own == target, seconds=LONG)
    finally:
        three.service.start()
    three.settle()
    three.assert_uses(three.current(), retired=[CHOSEN])
    three.assert_undisturbed()


def test_a_cookie_set_by_hand_is_left_where_drift_is_held(three: Fleet) -> None:
    """With on_drift hold nothing is changed on the node, which is named as what blocks."""
    policy = three.service.clusters["orders"]
    try:
        policy["on_drift"] = "hold"
        three.service.write_config()
        three.service.stop()
        three.service.start()
        three.settle()
        wait_for_heartbeats(three)
        before = three.mesh[SECOND].cookies()
        three.mesh[SECOND].set_cookie(by_hand(three))
        named = {("unknown_cookie", SECOND)}
        wait_for("it is named", lambda: three.blockers() == named, seconds=LONG)
        wait_for_heartbeats(three)
        found = three.mesh[SECOND].cookies()
        assert found.own == sha256(CHOSEN)
        assert found.rows == before.rows
        three.assert_undisturbed()
    finally:
        policy["on_drift"] = "heal"
        three.service.write_config()
        three.service.stop()
        three.service.start()
    three.settle()
    three.assert_uses(three.current(), retired=[CHOSEN])
    three.assert_undisturbed()


def test_a_pin_under_a_name_of_nobody_is_overwritten(three: Fleet) -> None:
    """Under a name that is no member no other cookie is accepted for long."""
    three.mesh[FIRST].pin("ghost@127.0.0.1", by_hand(three))
    target = sha256(three.current())
    wait_for(
        "it is current",
        lambda: three.mesh[FIRST].cookies().rows["ghost@127.0.0.1"] == target,
        seconds=LONG,
    )
    rotate(three)
    assert three.mesh[FIRST].cookies().rows["ghost@127.0.0.1"] == sha256(three.current())
    three.assert_undisturbed()


def test_a_hidden_stranger_is_shown_and_outside_of_an_emergency_nobody_cuts_him(
    three: Fleet,
) -> None:
    """Each node that he is linked to names him; a tool of an operator looks the same."""
    with intruder(three.erlang, three.names, cookie=three.current(), name="tool@127.0.0.1") as tool:

        def who_told() -> set[str]:
            return {
                n for n, member in three.members().items() if tool.name in member["foreign_links"]
            }

        wait_for("he is named", lambda: who_told() == set(three.names), seconds=LONG)
        assert three.cluster()["adoption"]["foreign_links"] == len(three.names)
        assert tool.intrusion().links == set(three.names)
        rotate(three)
        assert tool.intrusion().links == set(three.names)
    three.assert_undisturbed()


class Nameless(BeamNode):
    """A node that gets its name when it runs already, so that its distribution can be restarted."""

    @property
    def command(self) -> list[str]:
        """Without `-name`, and named before our module starts."""
        command = super().command
        place = command.index("-name")
        del command[place : place + 2]
        start = f"{{ok, _}} = net_kernel:start(['{self.name}', longnames])."
        place = command.index("-s")
        return [*command[:place], "-eval", start, *command[place:]]


def test_a_node_whose_distribution_was_restarted_gets_its_pins_back(three: Fleet) -> None:
    """`net_kernel:stop` loses every row and every link; both come back, and nobody else loses one."""
    name = "nameless@127.0.0.1"
    three.mesh.nodes[name] = Nameless(three.erlang, name, cookie="NEVERUSEDBYANYBODY")
    agent = three.engage(three.mesh[name])
    three.start_node(name)
    agent.start()
    three.readmit(name)
    three.settle()
    # Rows are at previous, and needed, while a pair waits for an agent that is away.
    late = three.agents[SECOND]
    late.restart("WriteCookie:before:kill")
    three.settle()
    before = three.current()
    rotation = three.rotate()
    late.wait_dead()
    three.wait_for_all_but(SECOND)
    three.down(name)
    three.mesh[name].ask("distribute")
    three.readmit(name)
    assert three.mesh[name].cookies().rows[SECOND] == sha256(before)
    three.wait_in_step()
    three.assert_undisturbed()
    late.start()
    three.until(rotation, "completed")
    three.settle()
    three.assert_uses(three.current(), retired=[before])
    three.assert_undisturbed()
