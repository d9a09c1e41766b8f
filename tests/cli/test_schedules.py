"""What people read of schedules, and what scripts do."""

from __future__ import annotations

import json
from dataclasses import replace

from rotator.protocol import v1
from tests.cli.conftest import Program
from tests.cli.stub import Stub, cluster

SCHEDULE = v1.Schedule(
    cron="0 3 * * sun",
    timezone="Europe/Berlin",
    jitter_seconds=1200.0,
    window_seconds=14400.0,
    spacing_seconds=0.0,
    next_runs=["2026-11-29T02:14:07Z", "2026-12-06T02:03:00Z"],
    overdue_since=None,
)
RUN = v1.ScheduledRun(
    slot="2026-11-22T02:00:00Z", at="2026-11-22T02:09:00Z", rotation="019aa9c1f2d4-5b1c22aa90ef"
)
SKIP = v1.PassedOver(
    slot="2026-11-22T02:00:00Z",
    at="2026-11-22T06:00:00Z",
    why="window_closed",
    detail="unknown_cookie",
)
MASTER = v1.Master(
    name="default",
    epoch=3,
    opened_at="2026-08-20T00:00:00Z",
    imported=True,
    next_due="2026-11-18T00:00:00Z",
    overdue_since=None,
)


def shown(rotator: Program, stub: Stub, found: v1.Cluster) -> tuple[int, str]:
    """The exit code, and what is printed, without breaks of lines."""
    stub.on("GET", "clusters/orders", found)
    ran = rotator("status", "orders")
    assert ran.err == ""
    return ran.code, " ".join(ran.out.split())


def test_status_says_when_it_runs_next_and_when_it_ran_last(rotator: Program, stub: Stub) -> None:
    """Expression, zone and limits; a limit that is 0 is not worth a word."""
    code, out = shown(rotator, stub, cluster(schedule=replace(SCHEDULE, last_run=RUN)))
    assert code == 0
    assert "schedule: 0 3 * * sun Europe/Berlin, jitter 20 min, window 4 h" in out
    assert "spacing" not in out
    assert "next runs: 2026-11-29 02:14Z, 2026-12-06 02:03Z" in out
    assert "last run: 2026-11-22 02:09Z (019aa9c1f2d4-5b1c22aa90ef)" in out
    assert "overdue" not in out


def test_an_overdue_cluster_says_since_when_and_why_and_ends_with_7(
    rotator: Program, stub: Stub
) -> None:
    """Nobody has to ask why it did not run, and scripts notice."""
    overdue = replace(SCHEDULE, overdue_since="2026-11-22T02:09:00Z", last_passed_over=SKIP)
    code, out = shown(rotator, stub, cluster(schedule=overdue))
    assert code == 7
    assert "overdue since 2026-11-22 02:09Z" in out
    assert "passed over: 2026-11-22 02:00Z, its window went by (unknown_cookie)" in out
    stub.on("GET", "clusters", v1.Clusters(clusters=[cluster(schedule=overdue)]))
    ran = rotator("status")
    assert ran.code == 7
    assert "its schedule: overdue for" in ran.out


def test_what_was_passed_over_before_the_last_run_is_history(rotator: Program, stub: Stub) -> None:
    """Only what came after it is shown."""
    later = replace(RUN, at="2026-11-23T02:09:00Z")
    both = replace(SCHEDULE, last_run=later, last_passed_over=SKIP)
    assert "passed over" not in shown(rotator, stub, cluster(schedule=both))[1]


def test_a_paused_schedule_says_by_whom_and_why(rotator: Program, stub: Stub) -> None:
    """And promises no next run."""
    paused = replace(
        SCHEDULE,
        next_runs=[],
        paused_at="2026-11-23T00:00:00Z",
        paused_by="token:op",
        pause_reason="end of year",
    )
    code, out = shown(rotator, stub, cluster(schedule=paused))
    assert code == 0
    assert "paused by token:op for" in out
    assert ": end of year" in out
    assert "next runs" not in out


def test_a_master_that_a_person_has_to_renew_says_how(rotator: Program, stub: Stub) -> None:
    """With its age and the command, due or overdue; one that the service renews says when."""
    overdue = replace(MASTER, overdue_since=MASTER.next_due)
    code, out = shown(rotator, stub, cluster(master=overdue))
    assert code == 7
    assert "renew it with `rotator master import default`" in out
    code, out = shown(rotator, stub, cluster(master=replace(overdue, imported=False)))
    assert "master default: epoch 3" in out
    assert "imported" not in out
    code, out = shown(rotator, stub, cluster(master=MASTER))
    assert (code, "renewed at" in out) == (0, False)
    assert "imported; due by 2026-11-18 00:00Z: replace it with `rotator master import" in out
    code, out = shown(rotator, stub, cluster(master=replace(MASTER, imported=False)))
    assert (code, "renewed at 2026-11-18 00:00Z" in out) == (0, True)
    assert "master" not in shown(rotator, stub, cluster(master=replace(MASTER, next_due=None)))[1]


def test_pausing_sends_the_reason(rotator: Program, stub: Stub) -> None:
    """It asks nothing: the next command takes it back."""
    stub.on("POST", "clusters/orders/pause", cluster(schedule=SCHEDULE))
    ran = rotator("pause", "orders", "--reason", "end of year")
    assert ran.code == 0
    assert json.loads(stub.asked[-1].body)["reason"] == "end of year"


def test_resuming_says_what_was_passed_over(rotator: Program, stub: Stub) -> None:
    """And how to make up for it; where nothing was, it says nothing."""
    paused = replace(SCHEDULE, paused_at="2026-11-21T00:00:00Z", paused_by="token:op")
    stub.on("GET", "clusters/orders", cluster(schedule=paused))
    after = replace(SCHEDULE, last_passed_over=replace(SKIP, why="paused", detail=""))
    stub.on("POST", "clusters/orders/resume", cluster(schedule=after))
    ran = rotator("resume", "orders")
    assert ran.code == 0
    assert "`rotator rotate orders` makes up for it now" in ran.err
    stub.on("POST", "clusters/orders/resume", cluster(schedule=SCHEDULE))
    assert rotator("resume", "orders").err == ""
