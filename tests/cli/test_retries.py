"""A command whose answer was lost is sent again under the same key, and done once."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Program
from tests.cli.stub import Says, Stub, cluster, problem, rotation

LOST = Says(status=None)
ROTATIONS = "clusters/orders/rotations"


@pytest.mark.parametrize(
    "fault",
    [LOST, Says("", 502), problem(503, "store_unreachable"), problem(409, "still_running")],
    ids=["lost", "bad gateway", "unavailable", "still running"],
)
def test_a_passing_fault_is_tried_again_under_the_same_key(
    rotator: Program, stub: Stub, fault: Says
) -> None:
    """The second attempt has the body and the key of the first."""
    stub.on("POST", ROTATIONS, fault, Says(rotation(), 202))
    assert rotator("rotate", "orders").code == 0
    first, second = stub.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body


def test_each_command_has_a_key_of_its_own(rotator: Program, stub: Stub) -> None:
    """Two runs are two commands, and reading has no key."""
    stub.on("POST", ROTATIONS, Says(rotation(), 202))
    stub.on("GET", "clusters/orders", cluster())
    rotator("rotate", "orders")
    rotator("rotate", "orders")
    rotator("status", "orders")
    keys = [asked.headers.get("idempotency-key") for asked in stub.asked]
    assert None not in keys[:2]
    assert keys[0] != keys[1]
    assert keys[2] is None


@pytest.mark.parametrize(
    ("fault", "attempts"), [(LOST, 5), (problem(409, "conflict"), 1), (problem(500, "internal"), 1)]
)
def test_attempts_are_bounded(rotator: Program, stub: Stub, fault: Says, attempts: int) -> None:
    """What does not pass ends after a few attempts, and what cannot pass after one."""
    stub.on("POST", ROTATIONS, fault)
    ran = rotator("rotate", "orders")
    assert ran.code != 0
    assert len(stub.asked) == attempts
