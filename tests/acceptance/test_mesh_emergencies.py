"""A real intruder, linked to every node: an emergency shuts him out, and he reads nothing new."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rotator.cli.demo.intruder import Intruder, intruder
from tests.support.fleet import LONG, Fleet, fleet, sha256
from tests.support.parts import need
from tests.support.service import wait_for

# Seconds on an idle machine; a loaded one may take its time.
pytestmark = pytest.mark.timeout(600)

VICTIM = "n2@127.0.0.1"
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Four nodes for most tests of this module; a lock is waited for, as long as it takes."""
    need("erl", "erlc", "epmd")
    with fleet(tmp_path_factory.mktemp("fleet"), 4, lock_timeout="5m") as made:
        yield made


@pytest.fixture
def four(shared: Fleet) -> Fleet:
    """The same, settled."""
    shared.begin()
    return shared


def stalking(made: Fleet) -> Any:
    """An intruder with the current cookie, linked to every node."""
    name = f"intruder{next(_NUMBERS)}@127.0.0.1"
    return intruder(made.erlang, made.names, cookie=made.current(), name=name)


def kinds(rotation: dict[str, Any]) -> list[str]:
    """Its facts, without repetition."""
    return list(dict.fromkeys(fact["kind"] for fact in rotation["facts"]))


def assert_out(made: Fleet, him: Intruder) -> None:
    """He has no link, tries to come back, and knows nothing that is accepted."""
    since = him.intrusion()
    calls = made.mesh.calls()
    wait_for("time passes", lambda: made.mesh.calls() > calls + 100, seconds=LONG)
    found = him.intrusion()
    assert not found.links
    assert found.entered == since.entered, "he got in again"
    assert sha256(made.current()) not in found.cookies
    assert not any(him.name in node.links() for node in made.up)


def rounds_were_clean(made: Fleet, done: dict[str, Any]) -> bool:
    """Whether every node had attested the last round before the new version was written."""
    (revoked,) = (fact for fact in done["facts"] if fact["kind"] == "VersionsRevoked")
    last: dict[str, int | None] = {}
    for fact in made.facts("MemberAttested"):
        if fact["seq"] < revoked["seq"]:
            last[fact["details"]["node"]] = fact["details"]["locked_round"]
    return set(last.values()) == {done["lock_round"]} and last.keys() == set(made.names)


def test_an_intruder_is_out_everywhere_and_never_reads_the_new_cookie(four: Fleet) -> None:
    """While he tries all the time, no node gets the new cookie before a round without him."""
    before = four.current()
    with stalking(four) as him:
        rotation = four.rotate("emergency")
        done = four.until(rotation, "completed")
        assert_out(four, him)
        assert "CookieMayHaveBeenRead" not in kinds(done)
        assert done["may_have_been_read"] == []
        assert rounds_were_clean(four, done)
        four.settle()
        four.assert_uses(four.current(), retired=[before])
        four.assert_undisturbed()


@pytest.mark.parametrize("step", ["WriteBoot:after", "WriteCookie:after", "Pin:after", "Own:after"])
def test_an_agent_killed_while_it_locks_finds_its_way_back(four: Fleet, step: str) -> None:
    """Its node answers to one of two cookies then: it knows both, and the lock is completed."""
    before = four.current()
    agent = four.agents[VICTIM]
    agent.restart(f"{step}:kill")
    four.settle()
    with stalking(four) as him:
        rotation = four.rotate("emergency")
        agent.wait_dead()
        assert f"failpoint {step}" in agent.output()
        wait_for("it is named", lambda: ("not_locked", VICTIM) in four.blockers(), seconds=LONG)
        assert four.service.rotation("orders", rotation)["phase"] == "locking"
        agent.start()
        done = four.until(rotation, "completed")
        assert_out(four, him)
        assert rounds_were_clean(four, done)
    four.settle()
    four.assert_uses(four.current(), retired=[before])
    four.assert_undisturbed()


@pytest.mark.parametrize("step", ["WriteBoot:after", "Own:after"])
def test_a_node_killed_while_it_is_locked_finds_its_way_back(four: Fleet, step: str) -> None:
    """It boots alone, with what lies there; its agent locks it, and it ends up like all others."""
    before = four.current()
    agent = four.agents[VICTIM]
    agent.restart(f"{step}:kill")
    four.settle()
    rotation = four.rotate("emergency")
    agent.wait_dead()
    four.kill_node(VICTIM)
    four.start_node(VICTIM, boot=False)
    agent.start()
    done = four.until(rotation, "completed")
    assert "CookieMayHaveBeenRead" not in kinds(done)
    four.readmit(VICTIM)
    four.settle()
    four.assert_uses(four.current(), retired=[before])
    four.assert_undisturbed()


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_an_emergency_goes_on_without_an_agent_that_does_not_answer(
    tmp_path: Path, how: str
) -> None:
    """After `lock_timeout` it says whose cookie may have been read; the node is reset at last."""
    need("erl", "erlc", "epmd")
    with fleet(tmp_path, 4, lock_timeout="5s") as made:
        before = made.current()
        agent = made.agents[VICTIM]
        getattr(agent, how)()
        rotation = made.rotate("emergency")
        seen = made.until(rotation, "rolling_out")
        assert VICTIM in seen["may_have_been_read"]
        (fact,) = made.facts("CookieMayHaveBeenRead")
        assert VICTIM in fact["details"]["nodes"]
        assert made.tables()[VICTIM].own == sha256(before)
        wait_for("it is named", lambda: ("laggard", VICTIM) in made.blockers(), seconds=LONG)
        if how == "pause":
            agent.resume()
        else:
            agent.start()
        made.until(rotation, "completed")
        made.settle()
        made.assert_uses(made.current(), retired=[before])
        made.assert_undisturbed()


def test_who_stays_in_through_a_silent_member_is_shown_and_the_next_emergency_ends_it(
    tmp_path: Path,
) -> None:
    """Through a node that nobody locked he reads on: no cookie helps before its agent is back."""
    need("erl", "erlc", "epmd")
    with fleet(tmp_path, 3, lock_timeout="5s") as made, stalking(made) as him:
        made.agents[VICTIM].kill()
        first = made.rotate("emergency")
        seen = made.until(first, "rolling_out")
        assert VICTIM in seen["may_have_been_read"]
        made.agents[VICTIM].start()
        made.until(first, "completed")
        wait_for(
            "his links are shown",
            lambda: made.cluster()["adoption"]["foreign_links"] == len(him.intrusion().links) > 0,
            seconds=LONG,
        )
        read = made.current()
        second = made.rotate("emergency", force=True)
        made.until(second, "completed")
        assert_out(made, him)
        made.settle()
        made.assert_uses(made.current(), retired=[read])
        made.assert_undisturbed()
