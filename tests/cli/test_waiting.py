"""`--wait` and `--watch` show each phase as it happens, and how it ended."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rotator.protocol import v1
from tests.cli.conftest import Program
from tests.cli.stub import ROTATION, Says, Stub, blocker, cluster, fact, problem, rotation

ALL = "clusters/orders/rotations"
ONE = f"{ALL}/{ROTATION}"


@pytest.fixture
def underway(stub: Stub) -> Stub:
    """A rotation that goes through its phases while one looks."""
    stub.on("POST", ALL, Says(rotation("staged"), 202))
    stub.on("GET", ONE, rotation("installing"), rotation("grace"), rotation("completed"))
    waits = blocker(detail="uses version 1")
    stub.on("GET", "clusters/orders", cluster(rotation=rotation("grace"), blockers=[waits]))
    return stub


def test_each_phase_is_one_line_even_those_nobody_saw(rotator: Program, underway: Stub) -> None:
    """Without a terminal every phase is a line on standard error with its time, once and in order."""
    ran = rotator("rotate", "orders", "--wait")
    assert ran.code == 0
    words = ["staged", "installing", "promoting", "rolling out", "grace", "retiring", "completed"]
    shown = [line.split(" s  ")[1] for line in ran.err.splitlines() if " s  " in line]
    assert [text for text in shown if not text.startswith("waits")] == words
    assert "  0.30 s  rolling out" in ran.err
    assert ran.err.count("waits for rabbit@b: laggard (uses version 1), since 06:45:01Z") == 1
    assert ran.out.splitlines()[0].endswith("completed after 30 s")


def test_the_result_alone_is_on_standard_output(rotator: Program, underway: Stub) -> None:
    """With `-o json` the final rotation is the one document on standard output."""
    ran = rotator("rotate", "orders", "--wait", "-o", "json")
    assert json.loads(ran.out)["phase"] == "completed"
    assert ran.err.splitlines()[-1].endswith("completed after 30 s")


@pytest.mark.parametrize("phase", ["aborted", "rolled_back", "superseded"])
def test_a_rotation_that_ends_otherwise_has_failed(
    rotator: Program, stub: Stub, phase: str
) -> None:
    """`rotate --wait` ends with 1 unless the rotation is completed."""
    stub.on("POST", ALL, Says(rotation("staged"), 202))
    stub.on("GET", ONE, rotation(phase))
    ran = rotator("rotate", "orders", "--wait")
    assert ran.code == 1
    assert phase.replace("_", " ") in ran.err
    assert phase.replace("_", " ") in ran.out


def test_an_abort_is_good_when_aborted(rotator: Program, stub: Stub) -> None:
    """`abort --wait` ends with 0 when the rotation is aborted."""
    stub.on("GET", "clusters/orders", cluster(rotation=rotation("installing")))
    stub.on("POST", f"{ONE}/abort", Says(rotation("installing", abort_requested=True), 202))
    stub.on("GET", ONE, rotation("aborted"))
    assert rotator("abort", "orders", "--yes", "--wait").code == 0


def test_time_runs_out_with_6_and_the_rotation_goes_on(rotator: Program, stub: Stub) -> None:
    """After --timeout it ends with 6 and says that the rotation goes on."""
    stub.on("POST", ALL, Says(rotation("staged"), 202))
    stub.on("GET", ONE, rotation("grace"))
    stub.on("GET", "clusters/orders", cluster(rotation=rotation("grace")))
    ran = rotator("rotate", "orders", "--wait", "--timeout", "0.5s", "-o", "json")
    assert ran.code == 6
    assert ran.out == ""
    assert "it goes on" in ran.err


def test_ctrl_c_ends_with_130_and_the_rotation_goes_on(rotator: Program, stub: Stub) -> None:
    """Ctrl-C while waiting says that the rotation goes on without us."""
    stub.on("POST", ALL, Says(rotation("staged"), 202))
    stub.on("GET", ONE, rotation("grace"))
    stub.on("GET", "clusters/orders", cluster(rotation=rotation("grace")))
    seen = f"rotation {ROTATION} of orders goes on without us"
    looked = lambda: len(stub.questions("GET", ONE)) > 1  # noqa: E731 - short
    ran = rotator.interrupted("rotate", "orders", "--wait", when=looked)
    assert ran.code == 130
    assert seen in ran.err


def test_a_restart_of_the_service_is_waited_out(rotator: Program, stub: Stub) -> None:
    """A service that is away for a moment does not end the waiting."""
    stub.on("POST", ALL, Says(rotation("staged"), 202))
    away = [problem(503, "state_unavailable")] * 6
    stub.on("GET", ONE, rotation("staged"), *away, rotation("completed"))
    stub.on("GET", "clusters/orders", cluster(rotation=rotation("staged")))
    ran = rotator("rotate", "orders", "--wait")
    assert ran.code == 0
    assert "trying again" in ran.err


def test_on_a_terminal_the_view_is_drawn_in_place(rotator: Program, underway: Stub) -> None:
    """With a terminal the phases are drawn again and again, and the result stays."""
    ran = rotator.on_terminal("rotate", "orders", "--wait")
    assert ran.code == 0
    assert "\x1b[" in ran.err
    assert "completed" in ran.err
    assert "\x1b[" not in ran.out


def test_watching_a_cluster_ends_with_its_rotation(rotator: Program, underway: Stub) -> None:
    """`status CLUSTER --watch` follows the rotation under way and then shows the cluster."""
    underway.on(
        "GET",
        "clusters/orders",
        cluster(rotation=rotation("installing")),
        cluster(rotation=rotation("installing")),
        cluster(),
    )
    ran = rotator("status", "orders", "--watch")
    assert ran.code == 0
    assert "rolling out" in ran.err
    assert "cluster orders: stable" in ran.out


def test_watching_all_prints_one_line_a_change_until_ctrl_c(rotator: Program, stub: Stub) -> None:
    """`status --watch` prints a cluster again only when something about it has changed."""
    rotating = cluster(state="rotating", rotation=rotation("grace"))
    stub.on("GET", "clusters", *(v1.Clusters(clusters=[one]) for one in (cluster(), rotating)))
    looked = lambda: len(stub.asked) > 3  # noqa: E731 - short
    ran = rotator.interrupted("status", "--watch", when=looked)
    assert ran.code == 130
    assert ran.out.splitlines() == [
        "orders  stable  version 1",
        "orders  rotating  version 1  grace",
    ]


def test_watching_as_json_is_one_line_a_change(rotator: Program, stub: Stub) -> None:
    """`status --watch -o json` prints a document a line, and only on a change."""
    rotating = cluster(state="rotating", rotation=rotation("grace"))
    stub.on("GET", "clusters", *(v1.Clusters(clusters=[one]) for one in (cluster(), rotating)))
    looked = lambda: len(stub.asked) > 3  # noqa: E731 - short
    ran = rotator.interrupted("status", "--watch", "-o", "json", when=looked)
    states = [json.loads(line)["clusters"][0]["state"] for line in ran.out.splitlines()]
    assert states == ["stable", "rotating"]


def test_init_waits_for_version_1(rotator: Program, stub: Stub) -> None:
    """`init --wait` ends when the cluster has its first version."""
    empty = cluster(state="initialising", current=None, current_since=None)
    stub.on("POST", "clusters/orders/init", Says(empty, 202))
    stub.on("GET", "clusters/orders", empty, cluster())
    ran = rotator("init", "orders", "--wait")
    assert ran.code == 0
    assert "cluster orders: stable" in ran.out


def test_init_that_may_not_look_says_so(rotator: Program, stub: Stub) -> None:
    """A token that may make version 1 but not see it ends with 4, and says that it is made."""
    empty = cluster(state="initialising", current=None, current_since=None)
    stub.on("POST", "clusters/orders/init", Says(empty, 202))
    stub.on("GET", "clusters/orders", problem(403, "not_allowed"))
    ran = rotator("init", "orders", "--wait")
    assert ran.code == 4
    assert "is being made" in ran.err


def test_what_the_facts_tell_is_not_taken_back(rotator: Program, stub: Stub) -> None:
    """Facts that are newer than the phase beside them do not make a phase come twice."""
    stub.on("POST", ALL, Says(rotation("staged"), 202))
    stale = replace(rotation("aborted"), phase="staged", finished_at=None)
    stub.on("GET", ONE, stale, rotation("aborted"))
    stub.on("GET", "clusters/orders", cluster(rotation=rotation("staged")))
    assert rotator("rotate", "orders", "--wait").err.count("  staged") == 1


@pytest.mark.parametrize(
    ("through", "said"),
    [
        ([], "nobody may have read the new cookie"),
        (["a", "b"], "the new cookie may have been read through a, b"),
    ],
)
@pytest.mark.parametrize("form", ["table", "json"])
def test_an_emergency_says_who_was_found_and_who_may_have_read(
    *, rotator: Program, stub: Stub, through: list[str], said: str, form: str
) -> None:
    """The strangers that began another round, and at its end whether it has shut them out."""
    again = replace(
        fact("LockRoundStarted", 0.1, 2),
        details={"round": 2, "found": {"a": ["evil@h"], "b": ["evil@h", "x@h"]}},
    )
    facts = [fact("EmergencyStarted"), again, fact("RotationCompleted", 2, 3)]
    over = rotation("completed", kind="emergency", may_have_been_read=through, facts=facts)
    stub.on("POST", ALL, Says(rotation("staged", kind="emergency"), 202))
    stub.on("GET", ONE, over)
    ran = rotator("emergency", "orders", "--reason", "leak", "--yes", "--wait", "-o", form)
    assert "(round 2: evil@h was found on a, b; x@h was found on b)" in ran.err
    assert ran.err.count(said) == 1
    assert ran.err.splitlines()[-1] == said


def test_the_end_shows_the_proof_and_no_passing_wait(rotator: Program, stub: Stub) -> None:
    """Who refuses the former version, and how that is known; what lasts a moment is no line."""
    proof = {"a": {"1": "handshake"}, "b": {"1": "handshake"}, "c": {}}
    ended = rotation("completed")
    *before, last = ended.facts or []
    proven = replace(ended, facts=[*before, replace(last, details={"proof": proof})])
    stub.on("POST", ALL, Says(rotation("staged"), 202))
    stub.on("GET", ONE, rotation("rolling_out"), proven)
    passing = replace(blocker(), since="2026-11-23T06:59:59.5Z")
    stub.on("GET", "clusters/orders", cluster(rotation=rotation("rolling_out"), blockers=[passing]))
    ran = rotator("rotate", "orders", "--wait")
    assert "waits for" not in ran.err
    assert ran.err.splitlines()[-1].endswith(
        " 30.50 s  (2 of 3 members refuse version 1 (handshake))"
    )
