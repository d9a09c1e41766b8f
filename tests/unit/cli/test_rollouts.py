"""A rollout as people read it."""

from __future__ import annotations

from dataclasses import replace

from rotator.cli import rollouts
from rotator.cli.tables import Table
from rotator.protocol import v1

CLAIM = v1.Claim(
    id="c1", node="b@h", version=2, rotation="r", state="restarting", token=1, holder="ci",
    claimed_at="", expires_at="", seconds_left=30.0, step="stop",
)  # fmt: skip
FOUND = v1.Rollout(
    cluster="orders", revision=1, strategy="stop_the_world", rotation="r", phase="rolling_out",
    version=2, is_paused=True, max_unavailable=1,
    next=[v1.RolloutStep(node="a@h", version=2, reason="because", step="stop")],
    under_way=[CLAIM],
    waiting=[
        v1.RolloutWait(node="b@h", code="not_back", detail="late", since=None),
        v1.RolloutWait(node="c@h", code="awaiting_restart", detail="waits", since=None),
        v1.RolloutWait(node="", code="held", detail="release", since=None),
    ],
    unavailable=[], restarted=0, members=3, notes=["no proof"],
)  # fmt: skip


def test_each_node_that_is_not_done_is_told_once() -> None:
    """Who is next, who is under way, who waits, and what all of them wait for."""
    standing, note, table, shared = rollouts.rollout(FOUND)
    assert standing == "orders: stop the world, version 2: 0 of 3 restarted, held"
    assert note == "note: no proof"
    assert isinstance(table, Table)
    assert table.rows == [
        ("a@h", "stop", "next", "because"),
        ("b@h", "stop", "restarting", "by ci: not back (late)"),
        ("c@h", "-", "awaiting restart", "waits"),
    ]
    assert shared == "all wait for: held (release)"
    assert rollouts.is_stopped(FOUND)


def test_where_nothing_is_to_be_restarted_it_says_so() -> None:
    """With the phase of a rotation that is on its way, and of a cluster that adopts hot."""
    still = replace(FOUND, version=None, next=[], under_way=[], waiting=[], notes=[])
    on_its_way = replace(still, strategy="rolling", phase="installing")
    assert rollouts.rollout(on_its_way) == [
        "orders: rolling; nothing to restart just now, installing"
    ]
    [alone] = rollouts.rollout(replace(still, phase=None))
    assert alone == "orders: stop the world; nothing to restart just now"
    [hot] = rollouts.rollout(replace(still, strategy="hot"))
    assert "adopt while they run" in hot
    assert not rollouts.is_stopped(still)
