"""Dangerous commands ask; where nobody can be asked, they fail and name the flag."""

from __future__ import annotations

import pytest

from rotator.protocol import v1
from tests.cli.conftest import Program
from tests.cli.stub import BEGAN, ROTATION, Says, Stub, cluster, member, rotation, token

DANGEROUS = [
    ["emergency", "orders", "--reason", "leak"],
    ["emergency", "--all", "--reason", "leak"],
    ["rollback", "orders", "--reason", "bad"],
    ["abort", "orders"],
    ["end-grace", "orders"],
    ["excuse", "orders", "rabbit@a", "--reason", "gone", "--force"],
    ["leave", "orders", "rabbit@a"],
    ["remove", "orders", "rabbit@a", "--reason", "gone"],
    ["token", "revoke", "abcdefghijkl"],
]


@pytest.fixture
def obliging(stub: Stub) -> Stub:
    """A service that does whatever it is asked."""
    stub.on("GET", "clusters/orders", cluster(rotation=rotation("grace")))
    stub.on("POST", "clusters/orders/rotations", Says(rotation(), 202))
    for verb in ("rollback", "abort", "end-grace"):
        stub.on("POST", f"clusters/orders/rotations/{ROTATION}/{verb}", rotation("grace"))
    for verb in ("excuse", "leave"):
        stub.on("POST", f"clusters/orders/nodes/rabbit@a/{verb}", member())
    gone = v1.Removed(cluster="orders", node="rabbit@a", revoked_tokens=[], covering_tokens=[])
    stub.on("DELETE", "clusters/orders/nodes/rabbit@a", gone)
    stub.on("DELETE", "tokens/abcdefghijkl", token())
    row = v1.EmergencyRow(cluster="orders", rotation=ROTATION, phase="locking")
    report = v1.EmergencyReport(id="e1", at="", by="op", reason="leak", clusters=[row])
    stub.on("POST", "emergency", Says(report, 202))
    return stub


def changes(stub: Stub) -> int:
    """How many questions were more than reading."""
    return sum(asked.method != "GET" for asked in stub.asked)


@pytest.mark.parametrize("arguments", DANGEROUS, ids=" ".join)
def test_without_a_terminal_the_flag_is_named(
    rotator: Program, obliging: Stub, arguments: list[str]
) -> None:
    """Without a terminal and without --yes nothing is sent; with it, it is done."""
    ran = rotator(*arguments, stdin="y\n")
    assert ran.code == 2
    assert "--yes" in ran.err
    assert changes(obliging) == 0
    assert rotator(*arguments, "--yes").code == 0
    assert changes(obliging) == 1


@pytest.mark.parametrize(("typed", "code", "sent"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
def test_on_a_terminal_it_asks(
    rotator: Program, obliging: Stub, typed: str, code: int, sent: int
) -> None:
    """On a terminal only a yes goes on; the question is not on standard output."""
    ran = rotator.on_terminal(
        "emergency", "orders", "--reason", "leak", prompt="[y/N]", typed=typed
    )
    assert ran.code == code
    assert "Go on? [y/N]" in ran.err
    assert "Go on?" not in ran.out
    assert changes(obliging) == sent


@pytest.mark.parametrize(
    "arguments",
    [
        ["hold", "orders"],
        ["excuse", "orders", "rabbit@a", "--reason", "gone"],
        ["rotate", "orders"],
    ],
    ids=" ".join,
)
def test_what_is_not_dangerous_does_not_ask(
    rotator: Program, obliging: Stub, arguments: list[str]
) -> None:
    """Commands that can be taken back run without a question."""
    obliging.on("POST", f"clusters/orders/rotations/{ROTATION}/hold", rotation("grace"))
    assert rotator(*arguments).code == 0


OVER = "the grace window is over"


@pytest.fixture
def held(stub: Stub) -> Stub:
    """A rotation that is held, and whose grace window is over."""
    over = rotation("grace", held=True, ends_at=BEGAN)
    stub.on("GET", "clusters/orders", cluster(rotation=over))
    stub.on("GET", f"clusters/orders/rotations/{ROTATION}", over)
    stub.on("POST", f"clusters/orders/rotations/{ROTATION}/release", rotation("grace"))
    return stub


@pytest.mark.parametrize(
    ("typed", "flags", "code", "sent"),
    [("y\n", [], 0, 1), ("n\n", [], 1, 0), ("", ["--yes"], 0, 1)],
)
def test_a_release_that_takes_the_way_back_asks(
    *, rotator: Program, held: Stub, typed: str, flags: list[str], code: int, sent: int
) -> None:
    """The window has run on while the rotation was held: on a terminal that is asked about."""
    prompt = "way back" if flags else "[y/N]"
    ran = rotator.on_terminal("release", "orders", *flags, prompt=prompt, typed=typed)
    assert OVER in ran.err
    assert (ran.code, changes(held)) == (code, sent)


@pytest.mark.parametrize("flags", [[], ["--rotation", ROTATION]], ids=["", "by id"])
def test_a_release_without_a_terminal_only_warns(
    rotator: Program, held: Stub, flags: list[str]
) -> None:
    """A release can be scripted, whichever way the rotation is named."""
    ran = rotator("release", "orders", *flags)
    assert (ran.code, changes(held)) == (0, 1)
    assert f"warning: {OVER}" in ran.err


def test_a_release_within_the_window_says_nothing(rotator: Program, held: Stub) -> None:
    """Nothing is lost by it."""
    open_still = rotation("grace", held=True, ends_at="2026-11-23T07:00:01Z")
    held.on("GET", "clusters/orders", cluster(rotation=open_still))
    ran = rotator("release", "orders")
    assert (ran.code, ran.err) == (0, "")
