"""`rotator orchestrate command` runs a program for each claim, and judges how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.orchestrator import OrchestratorProcess
from tests.support.rollout_nodes import PaperNodes
from tests.support.service import Service, wait_for

pytestmark = pytest.mark.timeout(600)

LONG = 180.0  #: seconds that a loaded machine may need for what takes one or two
NODES = ("rabbit@a", "rabbit@b", "rabbit@c")


@pytest.fixture
def paper(tmp_path) -> Iterator[PaperNodes]:
    """Three nodes that are nothing but reports, in a cluster that takes cookies by restarts."""
    policy = {
        "adoption": "restart", "grace_window": "0", "max_rotations_per_hour": 1000,
        "members": {"expect": list(NODES), "heartbeat": "1s", "node_ttl": "60s"},
        "rollout": {"soak": "0", "claim_ttl": "20s", "max_attempts": 2},
    }  # fmt: skip
    store = {"kind": "local", "directory": str(tmp_path / "secrets")}
    service = Service(tmp_path, store, {"orders": policy})
    service.start()
    made = PaperNodes(service, "orders", NODES)
    try:
        service.initialise("orders")
        made.start()
        yield made
    finally:
        made.stop()
        service.kill()


def program(directory: Path, body: str) -> tuple[str, ...]:
    """A script that tells what it was given, and then does *body*."""
    path = directory / "restart"
    path.write_text(
        "#!/bin/sh\n"
        f"env | grep ^ROTATOR_ | sort | tr '\\n' ' ' >> {directory}/runs\n"
        f"echo >> {directory}/runs\n{body}\n"
    )
    path.chmod(0o755)
    return ("command", "--timeout", "20s", "--once", "--", str(path))


def a_copy(paper: PaperNodes, place: Path, words: tuple[str, ...]) -> OrchestratorProcess:
    """An orchestrator, not started; it ends with the nodes."""
    made = OrchestratorProcess(paper.service, "orders", place, words)
    paper.children.append(made)
    return made


def runs(directory: Path) -> list[dict[str, str]]:
    """What the program found in its environment, run by run."""
    path = directory / "runs"
    rows = path.read_text().splitlines() if path.exists() else []
    return [dict(word.split("=", 1) for word in row.split()) for row in rows]


def waiting(paper: PaperNodes) -> dict[str, dict[str, Any]]:
    """What the rollout waits for, by code."""
    return {row["code"]: row for row in paper.rollout()["waiting"]}


def test_each_node_is_restarted_once_by_the_program(paper: PaperNodes, tmp_path) -> None:
    """It finds cluster, node, claim and version in its environment, no secret, and runs once a node."""
    words = program(tmp_path, f'touch "{paper.directory}/$ROTATOR_NODE"')
    orchestrator = a_copy(paper, tmp_path / "one", words)
    orchestrator.environment = {"ROTATOR_TOKEN_FILE": "/nonexistent"}
    rotation = paper.rotate()
    orchestrator.start()
    assert orchestrator.wait() == 0, orchestrator.output()
    paper.service.until_phase("orders", rotation, "completed")
    found = runs(tmp_path)
    assert sorted(run["ROTATOR_NODE"] for run in found) == list(NODES)
    assert {run["ROTATOR_VERSION"] for run in found} == {"2"}
    assert len({run["ROTATOR_CLAIM"] for run in found}) == 3
    names = {"CLUSTER", "NODE", "CLAIM", "VERSION", "ROTATION", "STEP"}
    assert {name.removeprefix("ROTATOR_") for name in found[0]} == names
    assert orchestrator.token_file.read_text() not in orchestrator.output()


def test_a_program_that_fails_stops_the_rollout(paper: PaperNodes, tmp_path) -> None:
    """Its exit code is told, it is tried as often as the policy says, and no other node is touched."""
    orchestrator = a_copy(paper, tmp_path / "one", program(tmp_path, "exit 3"))
    paper.rotate()
    orchestrator.start()
    try:
        wait_for("it has stopped", lambda: "restart_failed" in waiting(paper), seconds=LONG)
        row = waiting(paper)["restart_failed"]
        assert "exit code 3" in row["detail"]
        assert [run["ROTATOR_NODE"] for run in runs(tmp_path)] == [row["node"]] * 2
        assert orchestrator.stop() == 0
    finally:
        orchestrator.kill()


def test_a_program_that_says_not_now_is_asked_again(paper: PaperNodes, tmp_path) -> None:
    """Exit code 75 is no failure: the claim is kept until it works."""
    body = f'[ -e {tmp_path}/may ] || exit 75\ntouch "{paper.directory}/$ROTATOR_NODE"'
    orchestrator = a_copy(paper, tmp_path / "one", program(tmp_path, body))
    rotation = paper.rotate()
    orchestrator.start()
    wait_for("it was asked some times", lambda: len(runs(tmp_path)) >= 4, seconds=LONG)
    claims = {run["ROTATOR_CLAIM"] for run in runs(tmp_path)}
    assert len(claims) == 1
    (tmp_path / "may").touch()
    assert orchestrator.wait() == 0, orchestrator.output()
    paper.service.until_phase("orders", rotation, "completed")
    facts = paper.service.get("facts?cluster=orders&limit=500")["facts"]
    assert "RestartFailed" not in json.dumps(facts)


def test_a_stop_waits_for_the_program_and_takes_no_further_claim(
    paper: PaperNodes, tmp_path
) -> None:
    """SIGTERM in the middle of a restart lets it end, and the next node is left alone."""
    body = (
        f"touch {tmp_path}/begun\nwhile ! [ -e {tmp_path}/go ]; do sleep 0.05; done\n"
        f'touch "{paper.directory}/$ROTATOR_NODE"'
    )
    orchestrator = a_copy(paper, tmp_path / "one", program(tmp_path, body))
    paper.rotate()
    orchestrator.start()
    wait_for("the program runs", (tmp_path / "begun").exists, seconds=LONG)
    assert orchestrator.process is not None
    orchestrator.process.terminate()
    wait_for("it heard", lambda: "SIGTERM" in orchestrator.output(), seconds=LONG)
    assert orchestrator.is_alive
    (tmp_path / "go").touch()
    assert orchestrator.wait() == 0
    assert len(runs(tmp_path)) == 1
    assert "Traceback" not in orchestrator.output()


def test_the_next_program_begins_when_the_one_before_has_ended(paper: PaperNodes, tmp_path) -> None:
    """A node that is back, and whose program still has to do with it, keeps its place until that ends."""
    body = (
        f'touch "{paper.directory}/$ROTATOR_NODE"\n'
        f"while ! [ -e {tmp_path}/go ]; do sleep 0.05; done"
    )
    script = program(tmp_path, body)[-1]
    words = ("command", "--verbose", "--timeout", "10m", "--once", "--", script)
    orchestrator = a_copy(paper, tmp_path / "one", words)
    rotation = paper.rotate()
    orchestrator.start()

    def is_back() -> bool:
        found = paper.rollout()
        return bool(found["restarted"] == 1 and found["next"] and not found["under_way"])

    def looks() -> int:
        return orchestrator.output().count("HTTP Request: GET")

    wait_for("the service sees it back", is_back, seconds=LONG)
    before = looks()
    wait_for("the orchestrator has looked again", lambda: looks() > before + 3, seconds=LONG)
    assert len(runs(tmp_path)) == 1
    (tmp_path / "go").touch()
    assert orchestrator.wait() == 0, orchestrator.output()
    paper.service.until_phase("orders", rotation, "completed")
    assert sorted(run["ROTATOR_NODE"] for run in runs(tmp_path)) == list(NODES)


def test_two_orchestrators_restart_no_node_twice(paper: PaperNodes, tmp_path) -> None:
    """Three copies at once, one of which is killed, and over three rotations each node goes once in each."""
    words = program(tmp_path, f'touch "{paper.directory}/$ROTATOR_NODE"')
    copies = [a_copy(paper, tmp_path / f"copy{n}", words) for n in range(3)]
    for number in range(3):
        rotation = paper.rotate()
        for copy in copies:
            copy.start()
        if number == 1:
            wait_for("one was restarted", lambda: len(runs(tmp_path)) > 3, seconds=LONG)
            copies[0].kill()
        paper.service.until_phase("orders", rotation, "completed")
        for copy in copies:
            if copy.is_alive:
                copy.wait()
    found = [(run["ROTATOR_VERSION"], run["ROTATOR_NODE"]) for run in runs(tmp_path)]
    assert sorted(found) == [(v, node) for v in ("2", "3", "4") for node in NODES]
