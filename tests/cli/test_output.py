"""What is printed where: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from rotator.protocol import v1
from tests.cli.conftest import Program
from tests.cli.stub import (
    ROTATION,
    Says,
    Stub,
    blocker,
    cluster,
    fact,
    member,
    plan,
    problem,
    rotation,
    token,
)


def test_status_lists_every_cluster(rotator: Program, stub: Stub) -> None:
    """A row for each cluster tells state, version, phase and what is waited for."""
    billing = cluster("billing", state="rotating", rotation=rotation("grace"), blockers=[blocker()])
    stub.on("GET", "clusters", v1.Clusters(clusters=[billing, cluster()]))
    ran = rotator("status")
    heading, first, second = ran.out.splitlines()
    assert heading.split()[:3] == ["CLUSTER", "STATE", "CURRENT"]
    assert first.startswith("billing")
    assert "grace" in first
    assert "rabbit@b: laggard" in first
    assert second.startswith("orders")
    assert ran.err == ""


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_format_may_stand_before_and_after_the_command(
    rotator: Program, stub: Stub, place: str
) -> None:
    """`-o json` gives one JSON document, alone on standard output, wherever it stands."""
    stub.on("GET", "clusters/orders", cluster())
    arguments = ["-o", "json", "status", "orders"]
    ran = rotator(*(arguments if place == "before" else arguments[2:] + arguments[:2]))
    assert json.loads(ran.out) == asdict(cluster())
    assert ran.err == ""


def test_yaml_says_the_same(rotator: Program, stub: Stub) -> None:
    """`-o yaml` gives the same document as YAML."""
    stub.on("GET", "clusters/orders", cluster())
    assert yaml.safe_load(rotator("status", "orders", "-o", "yaml").out) == asdict(cluster())


def test_programs_get_fields_that_this_release_does_not_know(rotator: Program, stub: Stub) -> None:
    """An answer of a newer service is passed on whole, and its tables still work."""
    stub.on("GET", "clusters/orders", Says({**asdict(cluster()), "mood": "good"}))
    assert json.loads(rotator("status", "orders", "-o", "json").out)["mood"] == "good"
    assert "cluster orders: stable" in rotator("status", "orders").out


def test_tables_in_a_pipe_are_not_cut(rotator: Program, stub: Stub) -> None:
    """Without a terminal a long name stands in one line, whole."""
    name = "rabbit@" + "x" * 100
    stub.on("GET", "clusters/orders/nodes", v1.Members(nodes=[member(name)]))
    assert any(line.startswith(name) for line in rotator("nodes", "orders").out.splitlines())


def test_text_of_others_moves_no_cursor(rotator: Program, stub: Stub) -> None:
    """Control characters and markup in a reason are shown as text."""
    bad = rotation("completed", reason="\x1b[2J[red]gone[/red]")
    stub.on("GET", "clusters/orders/rotations", v1.Rotations(rotations=[bad], next=None))
    out = rotator("rotations", "orders").out
    assert "\x1b" not in out
    assert "[red]gone[/red]" in out


@pytest.mark.parametrize(
    ("arguments", "path", "answer", "shown"),
    [
        (["nodes", "orders", "rabbit@a"], "clusters/orders/nodes/rabbit@a", member(), "rabbit@b"),
        (
            ["rotations", "orders", ROTATION],
            f"clusters/orders/rotations/{ROTATION}",
            rotation("completed"),
            "rolling out",
        ),
        (["facts"], "facts", v1.Facts(facts=[fact("VersionStaged")], next=None), "VersionStaged"),
        (["token", "list"], "tokens", v1.Tokens(tokens=[token()]), "abcdefghijkl"),
    ],
    ids=["nodes", "rotations", "facts", "token list"],
)
def test_each_list_reads_and_parses(
    *, rotator: Program, stub: Stub, arguments: list[str], path: str, answer: object, shown: str
) -> None:
    """Each command that shows something has a table and a document."""
    stub.on("GET", path, answer)
    ran = rotator(*arguments)
    assert (ran.code, ran.err) == (0, "")
    assert shown in ran.out
    assert json.loads(rotator(*arguments, "-o", "json").out) == asdict(answer)  # type: ignore[call-overload]


def test_warnings_do_not_disturb_the_document(rotator: Program, stub: Stub) -> None:
    """What the service warns of stands on standard error."""
    answer = rotation(warnings=["nothing is proven"])
    stub.on("POST", "clusters/orders/rotations", Says(answer, 202))
    ran = rotator("rotate", "orders", "-o", "json")
    assert json.loads(ran.out)["id"] == ROTATION
    assert "warning: nothing is proven" in ran.err


def test_a_dry_run_shows_the_plan(rotator: Program, stub: Stub) -> None:
    """A dry run tells what would happen, and ends with 5 if it would be refused."""
    stub.on("POST", "clusters/orders/rotations", plan(), plan(conflict="one is under way"))
    ran = rotator("rotate", "orders", "--dry-run")
    assert ran.code == 0
    assert "nothing was written" in ran.out
    assert rotator("rotate", "orders", "--dry-run").code == 5
    assert [asked.json["dry_run"] for asked in stub.asked] == [True, True]


def test_errors_are_a_sentence_and_what_to_do(rotator: Program, stub: Stub) -> None:
    """A problem is printed on standard error, with the next step, and nothing on standard output."""
    underway = problem(409, "rotation_underway", "A rotation is under way.", rotation=ROTATION)
    stub.on("POST", "clusters/orders/rotations", underway)
    ran = rotator("rotate", "orders", "-o", "json")
    assert ran.out == ""
    first, second = ran.err.splitlines()
    assert first == f"error: a rotation is under way (rotation {ROTATION})"
    assert "rotator status --watch" in second


def test_an_answer_of_something_else_is_named(rotator: Program, stub: Stub) -> None:
    """A web page instead of the API is no traceback but a sentence."""
    stub.on("GET", "clusters", Says("<html>welcome</html>"))
    ran = rotator("status")
    assert ran.code == 1
    assert "not understood" in ran.err


def test_status_says_who_holds_a_rotation_and_why(rotator: Program, stub: Stub) -> None:
    """The last one who has held it, with the reason that was given."""
    held = rotation("grace", held=True)
    by = replace(fact("RotationHeld", 1, position=9), reason="deployment")
    stub.on("GET", "clusters/orders", cluster(rotation=replace(held, facts=None)))
    known = replace(held, facts=[*(held.facts or []), by])
    stub.on("GET", f"clusters/orders/rotations/{ROTATION}", known)
    assert "  held by token:op: deployment\n" in rotator("status", "orders").out


def test_findings_of_agents_are_shown_where_members_are(rotator: Program, stub: Stub) -> None:
    """How many in the table, what they say below it, and in the status whose."""
    found = member("rabbit@b", preflight=["no boot file", "no epmd"])
    stub.on("GET", "clusters/orders/nodes", v1.Members(nodes=[member(), found]))
    head, first, second, *said = rotator("nodes", "orders").out.splitlines()
    assert [line.split()[-1] for line in (head, first, second)] == ["FINDINGS", "-", "2"]
    assert said == ["! rabbit@b: no boot file", "! rabbit@b: no epmd"]
    adoption = replace(cluster().adoption, members=2, findings=2)
    stub.on("GET", "clusters/orders", cluster(adoption=adoption))
    said_so = "2 members with findings: see `rotator nodes orders`\n"
    assert said_so in rotator("status", "orders").out


def test_versions_that_are_long_over_are_counted(rotator: Program, stub: Stub) -> None:
    """Status shows what is in use and the last that are over, and says how many more there are."""
    made = [
        v1.Version(
            number=number,
            stage="current" if number == 12 else "retired",
            origin="derived",
            epoch=1,
            created_at="2026-11-23T06:45:00Z",
            fingerprint=None,
        )
        for number in range(12, 0, -1)
    ]
    stub.on("GET", "clusters/orders", replace(cluster(), versions=made))
    lines = rotator("status", "orders").out.splitlines()
    shown = [
        int(line.split()[0]) for line in lines if line.split()[1:2] in (["current"], ["retired"])
    ]
    assert shown == [12, 11, 10, 9]
    assert "and 8 older ones that are over; -o json has them all" in lines
    assert len(json.loads(rotator("status", "orders", "-o", "json").out)["versions"]) == 12


def test_an_expected_node_that_has_left_is_named(rotator: Program, stub: Stub) -> None:
    """Status says so where the configuration still names a node that went in good order."""
    adoption = replace(cluster().adoption, members=2, on_current=2, expects="a, b, c", left=["c@h"])
    stub.on("GET", "clusters/orders", replace(cluster(), adoption=adoption))
    out = rotator("status", "orders").out
    assert "members: 2/2 on current, 1 left (expects a, b, c)" in out
    assert "expected, and gone in good order: c@h" in out


def test_a_plan_does_not_say_for_how_long(rotator: Program, stub: Stub) -> None:
    """What speaks against a rotation that was not begun has no age."""
    stub.on("POST", "clusters/orders/rotations", replace(plan(), blockers=[blocker()]))
    out = rotator("rotate", "orders", "--dry-run").out
    assert "held up by:" in out
    assert "rabbit@b: laggard" in out
    assert ", for " not in out


@pytest.mark.parametrize(
    "words", [(), ("list",), ("orders",), ("list", "verify"), ("--limit", "7")]
)
def test_facts_lists_unless_another_command_is_named(
    rotator: Program, stub: Stub, words: tuple[str, ...]
) -> None:
    """`rotator facts` goes on being a command, beside `facts verify`; a cluster may be called so."""
    stub.on("GET", "facts", v1.Facts(facts=[fact("VersionStaged")], next=None))
    ran = rotator("facts", *words)
    assert ran.code == 0
    assert "VersionStaged" in ran.out


def test_facts_verify_asks_no_service(rotator: Program, tmp_path: Path) -> None:
    """It reads the stores that a file names; without the file it says which option is missing."""
    ran = rotator("facts", "verify")
    assert ran.code == 2
    assert "--config" in ran.err
    ran = rotator("facts", "verify", "--config", str(tmp_path / "none.yaml"))
    assert ran.code == 2
    assert "none.yaml" in ran.err


def test_facts_leave_the_long_and_the_empty_to_json(rotator: Program, stub: Stub) -> None:
    """A fact's row has short values; the whole of it is in `-o json`."""
    details = {
        "nodes": "",
        "token": "t1",
        "expires_at": "2026-11-23T06:45:00.123Z",
        "why": "x" * 99,
    }
    found = replace(fact("TokenCreated"), details=details)
    stub.on("GET", "facts", v1.Facts(facts=[found], next=None))
    out = rotator("facts").out
    assert "token=t1 expires_at=2026-11-23 06:45:00Z why=" in out
    assert "nodes=" not in out
    assert "x" * 50 not in out
    assert "x" * 99 in rotator("facts", "-o", "json").out
