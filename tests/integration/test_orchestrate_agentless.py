"""`rotator orchestrate command` over nodes without an agent: rolling, and stop_the_world."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.orchestrator import OrchestratorProcess
from tests.support.service import Service, wait_for

pytestmark = pytest.mark.timeout(600)

LONG = 180.0  #: seconds that a loaded machine may need for what takes one or two
NODES = ("rabbit@a", "rabbit@b", "rabbit@c")
Started = Callable[..., Service]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """A service whose cluster has no agent; the settings are those of its rollout."""
    made: list[Service] = []

    def start(**rollout: Any) -> Service:
        policy = {
            "adoption": "restart", "grace_window": "0", "max_rotations_per_hour": 1000,
            "members": {"expect": "none", "without_agent": list(NODES)},
            "rollout": {"soak": "0", "claim_ttl": "20s", **rollout},
        }  # fmt: skip
        store = {"kind": "local", "directory": str(tmp_path / "secrets")}
        service = Service(tmp_path, store, {"orders": policy})
        made.append(service)
        service.start()
        service.initialise("orders")
        return service

    yield start
    for service in made:
        service.kill()


@pytest.fixture
def orchestrator(tmp_path: Path) -> Iterator[Callable[[Service, str], OrchestratorProcess]]:
    """One with a program; ended with the test."""
    made: list[OrchestratorProcess] = []

    def build(service: Service, body: str) -> OrchestratorProcess:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        words = ("command", "--timeout", "60s", "--once", "--", str(path))
        made.append(OrchestratorProcess(service, "orders", tmp_path / "one", words))
        return made[-1]

    yield build
    for one in made:
        one.kill()


def rotate(service: Service) -> str:
    """Begin a rotation; its id."""
    body = {"kind": "manual", "reason": "test"}
    begun = service.command("clusters/orders/rotations", body)
    assert begun is not None
    return str(begun["id"])


def rows(path: Path) -> list[list[str]]:
    """What the program wrote, word by word."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_all_are_stopped_before_the_program_starts_the_first(
    started: Started, orchestrator: Any, tmp_path: Path
) -> None:
    """Once a node and step; no node is up with the new version beside one with the former."""
    service = started(strategy="stop_the_world")
    up, seen = tmp_path / "up", tmp_path / "seen"
    up.mkdir()
    for name in NODES:
        (up / name).write_text("1")
    one = orchestrator(
        service,
        f'echo "$ROTATOR_STEP $ROTATOR_NODE $(cat {up}/* | sort -u | wc -l)" >> {seen}\n'
        f'case $ROTATOR_STEP in\nstop) rm "{up}/$ROTATOR_NODE" ;;\n'
        f'start) echo "$ROTATOR_VERSION" > "{up}/$ROTATOR_NODE" ;;\n*) exit 1 ;;\nesac',
    )
    rotation = rotate(service)
    one.start()
    assert one.wait() == 0, one.output()
    service.until_phase("orders", rotation, "completed")
    found = rows(seen)
    assert sorted(row[1] for row in found[:3]) == list(NODES)
    assert [row[0] for row in found] == ["stop"] * 3 + ["start"] * 3
    assert sorted(row[1] for row in found[3:]) == list(NODES)
    assert max(int(row[2]) for row in found) <= 1
    assert "by the word of" in one.output()


def test_the_rollout_command_says_what_is_next_and_that_it_is_a_word(
    started: Started, orchestrator: Any, tmp_path: Path
) -> None:
    """`rotator rollout`: before, on the way with a node that fails, and at the end."""
    service = started(max_attempts=1)
    token = tmp_path / "auditor"
    token.touch(mode=0o600)
    token.write_text(service.token("auditor", clusters=("orders",)))

    def shown() -> subprocess.CompletedProcess[str]:
        place = ("--addr", f"http://127.0.0.1:{service.port}", "--token-file", str(token))
        command = [sys.executable, "-m", "rotator", "rollout", "orders", *place]
        return subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)

    before = shown()
    assert (before.returncode, before.stderr) == (0, "")
    assert "nothing to restart just now" in before.stdout
    assert "refuse each other" in before.stdout
    one = orchestrator(service, f'echo "$ROTATOR_STEP" >> {tmp_path}/seen\n[ -e {tmp_path}/may ]')
    rotation = rotate(service)
    one.start()
    wait_for("it has failed", lambda: shown().returncode == 7, seconds=LONG)
    assert "restart failed" in shown().stdout
    assert "0 of 3 restarted" in shown().stdout
    (tmp_path / "may").touch()
    service.command(f"clusters/orders/rotations/{rotation}/release", {"reason": "mended"})
    assert one.wait() == 0, one.output()
    service.until_phase("orders", rotation, "completed")
    assert {row[0] for row in rows(tmp_path / "seen")} == {"restart"}
    assert shown().returncode == 0
