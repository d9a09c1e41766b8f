"""`rotator rollout`, against a stub of the service."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from rotator.protocol import v1
from tests.cli.conftest import Program
from tests.cli.stub import Stub

DONE = v1.Rollout(
    cluster="orders", revision=3, strategy="rolling", rotation="r", phase="rolling_out", version=2,
    is_paused=False, max_unavailable=1, next=[], under_way=[], waiting=[], unavailable=[],
    restarted=3, members=3,
)  # fmt: skip
NEXT = replace(
    DONE, revision=1, next=[v1.RolloutStep(node="a@h", version=2, reason="why")], restarted=2
)


def test_a_rollout_is_a_table_or_the_document(rotator: Program, stub: Stub) -> None:
    """The table names who is next; `-o json` is what the service said."""
    stub.on("GET", "clusters/orders/rollout", NEXT)
    ran = rotator("rollout", "orders")
    assert (ran.code, ran.err) == (0, "")
    assert "2 of 3 restarted" in ran.out
    assert ran.out.splitlines()[-1].split() == ["a@h", "restart", "next", "why"]
    assert json.loads(rotator("rollout", "orders", "-o", "json").out) == asdict(NEXT)


def test_a_node_that_is_not_back_ends_it_with_7(rotator: Program, stub: Stub) -> None:
    """For scripts: somebody has to look."""
    late = v1.RolloutWait(node="b@h", code="not_back", detail="late", since=None)
    stub.on("GET", "clusters/orders/rollout", replace(DONE, waiting=[late], restarted=2))
    ran = rotator("rollout", "orders")
    assert (ran.code, ran.err) == (7, "")
    assert "not back" in ran.out


def test_watching_ends_with_the_last_restart(rotator: Program, stub: Stub) -> None:
    """Each change once, as text or as documents."""
    answers = (NEXT, NEXT, DONE)
    stub.on("GET", "clusters/orders/rollout", *answers)
    ran = rotator("rollout", "orders", "--watch")
    assert ran.code == 0
    assert ran.out.count("2 of 3 restarted") == 1
    assert ran.out.count("3 of 3 restarted") == 1
    stub.on("GET", "clusters/orders/rollout", *answers)
    ran = rotator("rollout", "orders", "--watch", "-o", "json")
    assert [json.loads(line)["restarted"] for line in ran.out.splitlines()] == [2, 3]
