"""Each way to end has its own exit code."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rotator.protocol import v1
from tests.cli.conftest import Program
from tests.cli.stub import Says, Stub, blocker, cluster, problem, rotation


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "malformed_body", 2),
        (401, "not_authenticated", 4),
        (403, "not_allowed", 4),
        (404, "not_found", 3),
        (409, "conflict", 5),
        (422, "invalid", 2),
        (500, "internal", 1),
    ],
)
def test_problems_become_exit_codes(
    rotator: Program, stub: Stub, status: int, code: str, expected: int
) -> None:
    """What the service refuses ends the program with the code of its kind."""
    stub.on("GET", "clusters/orders", problem(status, code))
    assert rotator("status", "orders").code == expected


def test_what_is_missing_is_named(rotator: Program) -> None:
    """A name that does not exist is said with what it should have been."""
    ran = rotator("nodes", "orders", "rabbit@x")
    assert ran.code == 3
    assert "there is no node rabbit@x of cluster orders" in ran.err


def test_nothing_there_is_said_with_the_way_to_change_it(rotator: Program) -> None:
    """A refused connection names the address and how to set another one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    ran = rotator("status", env={"ROTATOR_ADDR": address})
    assert ran.code == 1
    assert address in ran.err
    assert "ROTATOR_ADDR" in ran.err


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (cluster(), 0),
        (cluster(state="rotating", blockers=[blocker()]), 7),
        (cluster(state="frozen"), 7),
        (cluster(state="rotating", blockers=[blocker("grace_window", "clock")]), 0),
        (cluster(state="uninitialised", current=None, versions=[], current_since=None), 0),
    ],
    ids=["stable", "blocked", "frozen", "in its grace window", "uninitialised"],
)
def test_status_tells_scripts_whether_something_blocks(
    rotator: Program, stub: Stub, found: v1.Cluster, expected: int
) -> None:
    """Status ends with 7 if a cluster is frozen or waits for anything but the clock."""
    stub.on("GET", "clusters/orders", found)
    stub.on("GET", "clusters", v1.Clusters(clusters=[found]))
    assert rotator("status", "orders").code == expected
    assert rotator("status", "-o", "json").code == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["rotate"],
        ["no-such-command"],
        ["rotate", "orders", "--timeout", "5m"],
        ["rotate", "orders", "--wait", "--timeout", "soon"],
        ["emergency", "--reason", "x", "--yes"],
        ["emergency", "orders", "--all", "--reason", "x", "--yes"],
        ["status", ".."],
        ["status", "-o", "xml"],
        ["token", "create", "--role", "admin", "--cluster", "*", "--local"],
    ],
    ids=" ".join,
)
def test_misuse_ends_with_2_and_asks_nothing(
    rotator: Program, stub: Stub, arguments: list[str]
) -> None:
    """A command that is written wrongly ends with 2 before anything is sent."""
    ran = rotator(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err
    assert stub.asked == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["emergency", "orders", "--yes"],
        ["emergency", "--all", "--yes"],
        ["rollback", "orders", "--yes"],
        ["excuse", "orders", "rabbit@a"],
        ["remove", "orders", "rabbit@a", "--yes"],
    ],
    ids=" ".join,
)
def test_what_needs_a_reason_asks_for_it(
    rotator: Program, stub: Stub, arguments: list[str]
) -> None:
    """Emergency, roll back, excuse and remove name the flag when the reason is missing."""
    ran = rotator(*arguments)
    assert ran.code == 2
    assert "--reason" in ran.err
    assert stub.asked == []


def test_no_rotation_under_way_is_a_conflict(rotator: Program, stub: Stub) -> None:
    """A command about the rotation under way ends with 5 when there is none."""
    stub.on("GET", "clusters/orders", cluster())
    ran = rotator("hold", "orders")
    assert ran.code == 5
    assert "no rotation of orders is under way" in ran.err


def test_a_command_acts_on_the_rotation_under_way(rotator: Program, stub: Stub) -> None:
    """With the cluster's name alone, its unfinished rotation is found; `--rotation` names another."""
    stub.on("GET", "clusters/orders", cluster(rotation=rotation("installing")))
    found = f"clusters/orders/rotations/{rotation().id}/extend-grace"
    stub.on("POST", found, rotation("grace"))
    assert rotator("extend-grace", "orders", "1h30m").code == 0
    assert stub.questions("POST", found)[0].json == {"seconds": 5400.0, "reason": ""}
    stub.on("POST", "clusters/orders/rotations/other/hold", rotation("grace", held=True))
    assert "held" in rotator("hold", "orders", "--rotation", "other").out
    assert len(stub.questions("GET", "clusters/orders")) == 1


def test_several_emergencies_fail_if_one_fails(rotator: Program, stub: Stub) -> None:
    """An emergency of many clusters ends with 1 when one of them could not begin, and shows each."""
    rows = [
        v1.EmergencyRow(cluster="orders", rotation="r1", phase="locking"),
        v1.EmergencyRow(cluster="billing", error="cooling_down", detail="ran a moment ago"),
    ]
    report = v1.EmergencyReport(id="e1", at="", by="op", reason="leak", clusters=rows)
    stub.on("POST", "emergency", Says(report, 202))
    ran = rotator("emergency", "--all", "--reason", "leak", "--yes", "--exclude", "rabbit@x")
    assert ran.code == 1
    assert "ran a moment ago" in ran.out
    [asked] = stub.asked
    assert asked.json == {
        "clusters": ["*"], "reason": "leak", "exclude": ["rabbit@x"], "force": False,
    }  # fmt: skip


def test_one_emergency_is_a_rotation(rotator: Program, stub: Stub) -> None:
    """An emergency of one cluster is asked for as its rotation."""
    stub.on("POST", "clusters/orders/rotations", Says(rotation("staged", kind="emergency"), 202))
    assert rotator("emergency", "orders", "--reason", "leak", "--yes").code == 0
    assert stub.asked[0].json["kind"] == "emergency"


def test_a_broken_pipe_is_quiet(rotator: Program, stub: Stub) -> None:
    """A reader that goes away causes no complaint."""
    stub.on("GET", "clusters", v1.Clusters(clusters=[cluster()] * 2000))
    with rotator.start("status", "-o", "json") as process:
        process.stdout.read(1)
        process.stdout.close()
        err = process.stderr.read()
        process.wait(20)
    assert err == b""


def test_an_unforeseen_error_is_one_short_line(
    rotator: Program, stub: Stub, tmp_path: Path
) -> None:
    """A bug prints where it happened, no traceback and no value."""
    (tmp_path / "sitecustomize.py").write_text(
        "import rotator.cli.tables as t\n"
        "def broken(*a): raise RuntimeError('PLANTEDSECRET')\n"
        "t.cluster = broken\n"
    )
    stub.on("GET", "clusters/orders", cluster())
    path = f"{tmp_path}:{rotator.environment['PYTHONPATH']}"
    ran = rotator("status", "orders", env={"PYTHONPATH": path})
    assert ran.code == 1
    assert "unexpected RuntimeError at rotator.cli.commands.status" in ran.err
