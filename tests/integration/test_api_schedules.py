"""Schedules over HTTP, on a real state store and a clock that is put forward."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rotator.domain.calendar import Calendar
from rotator.domain.policy import RotationPolicy
from rotator.domain.schedule import Schedule
from tests.support.api import POLICY, World, a_world

ORDERS = "/v1/clusters/orders"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SCHEDULE = Schedule(calendar=Calendar("0 3 * * sun", UTC), jitter=timedelta(), window=4 * HOUR)
MONDAY = datetime(2030, 1, 7, 12, tzinfo=UTC)
WEEKLY = RotationPolicy(expect=None, grace_window=HOUR, schedule=SCHEDULE)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A cluster with a schedule that has been taken up, and one without."""
    async with a_world(tmp_path, {"orders": WEEKLY, "billing": POLICY}) as made:
        await go_to(made, MONDAY)
        await made.initialise()
        await until_fact(made, "ScheduleChanged")
        yield made


async def until_fact(world: World, kind: str) -> dict[str, Any]:
    """The newest fact of this kind, once there is one."""
    for _ in range(1000):
        world.reconciler.poke("orders")  # type: ignore[arg-type]
        answer = await world.call("GET", "/v1/facts?cluster=orders&limit=100", role="auditor")
        found = [fact for fact in answer.json()["facts"] if fact["kind"] == kind]
        if found:
            return dict(max(found, key=lambda fact: fact["position"]))
        await asyncio.sleep(0.01)
    raise AssertionError(f"no {kind}")


async def go_to(world: World, at: datetime) -> None:
    """Put the clock forward; it runs on from there."""
    real = datetime.now(UTC)

    async def now() -> datetime:
        return at + (datetime.now(UTC) - real)

    world.state.clusters.now = now  # type: ignore[method-assign]
    world.reconciler.poke("orders")  # type: ignore[arg-type]


async def shown(world: World) -> dict[str, Any]:
    """The schedule of `orders`."""
    return dict((await world.call("GET", ORDERS)).json()["schedule"])


async def next_slot(world: World) -> datetime:
    """As the API tells it."""
    return datetime.fromisoformat((await shown(world))["next_runs"][0])


async def test_a_cluster_tells_when_it_is_rotated_next(world: World) -> None:
    """Expression, zone, limits, the next three starts; nothing is overdue."""
    found = (await world.call("GET", ORDERS)).json()
    schedule = found["schedule"]
    assert (schedule["cron"], schedule["timezone"]) == ("0 3 * * sun", "UTC")
    assert (schedule["window_seconds"], schedule["jitter_seconds"]) == (14400, 0)
    runs = [datetime.fromisoformat(run) for run in schedule["next_runs"]]
    assert [run.isoweekday() for run in runs] == [7, 7, 7]
    assert {later - run for run, later in itertools.pairwise(runs)} == {7 * DAY}
    assert found["next_due"] == schedule["next_runs"][0]
    assert schedule["overdue_since"] is None
    assert (await world.call("GET", "/v1/clusters/billing")).json()["schedule"] is None


async def test_a_rotation_begins_by_itself_when_it_is_due(world: World) -> None:
    """By the service, of kind scheduled; the fact and the cluster name the slot."""
    slot = await next_slot(world)
    await go_to(world, slot)
    found = await world.until("orders", lambda cluster: cluster["rotation"])
    assert (found["rotation"]["kind"], found["rotation"]["by"]) == ("scheduled", "rotator")
    started = await until_fact(world, "RotationStarted")
    assert datetime.fromisoformat(started["details"]["slot"]) == slot
    run = (await shown(world))["last_run"]
    assert (run["rotation"], datetime.fromisoformat(run["slot"])) == (found["rotation"]["id"], slot)
    assert datetime.fromisoformat((await shown(world))["next_runs"][0]) == slot + 7 * DAY


async def test_outside_of_its_window_a_rotation_keeps_its_way_back_open(world: World) -> None:
    """The grace window is over, and previous is not retired before the next window opens."""
    slot = await next_slot(world)
    await go_to(world, slot)
    found = await world.until("orders", in_grace)
    path = f"{ORDERS}/rotations/{found['rotation']['id']}/end-grace"
    await go_to(world, slot + 5 * HOUR)
    await until_fact(world, "ClockJumped")
    assert (await world.call("POST", path, json={})).status_code == 200
    found = await world.until("orders", lambda found: codes(found) == ["outside_window"])
    assert found["rotation"]["phase"] == "grace"
    assert [version["stage"] for version in found["versions"]] == ["current", "previous"]
    await go_to(world, slot + 7 * DAY)
    world.reconciler.poke("orders")  # type: ignore[arg-type]
    await world.until("orders", lambda found: "outside_window" not in codes(found))
    await world.call("POST", path, json={})
    await until_fact(world, "RotationCompleted")


def in_grace(found: dict[str, Any]) -> bool:
    """Whether the rotation under way keeps its way back open."""
    return (found["rotation"] or {}).get("phase") == "grace"


def codes(found: dict[str, Any]) -> list[str]:
    """What the cluster waits for."""
    return [blocker["code"] for blocker in found["blockers"]]


async def test_a_paused_schedule_begins_nothing(world: World) -> None:
    """Who paused it and why is shown; resuming passes over what went by, with a fact."""
    slot = await next_slot(world)
    paused = await world.call("POST", f"{ORDERS}/pause", json={"reason": "end of year"}, key="p1")
    assert paused.status_code == 200
    again = await world.call("POST", f"{ORDERS}/pause", json={"reason": "end of year"}, key="p1")
    assert again.json() == paused.json()
    schedule = paused.json()["schedule"]
    assert (schedule["pause_reason"], schedule["next_runs"]) == ("end of year", [])
    await go_to(world, slot + HOUR)
    assert (await shown(world))["overdue_since"] is None
    resumed = await world.call("POST", f"{ORDERS}/resume", json={})
    schedule = resumed.json()["schedule"]
    assert schedule["paused_at"] is None
    assert schedule["last_passed_over"]["why"] == "paused"
    assert datetime.fromisoformat(schedule["next_runs"][0]) == slot + 7 * DAY
    fact = await until_fact(world, "ScheduleResumed")
    assert datetime.fromisoformat(fact["details"]["passed_over"]) == slot
    found = (await world.call("GET", f"{ORDERS}/rotations")).json()["rotations"]
    assert found == []


async def test_a_cluster_without_a_schedule_cannot_be_paused(world: World) -> None:
    """409 says that the configuration has none."""
    for order in ("pause", "resume"):
        answer = await world.call("POST", f"/v1/clusters/billing/{order}", json={})
        assert (answer.status_code, answer.json()["code"]) == (409, "no_schedule")


async def test_a_rotation_by_hand_spares_the_one_that_was_due(world: World) -> None:
    """The slot is passed over as fresh; the fact names the version that is young enough."""
    slot = await next_slot(world)
    await go_to(world, slot - HOUR / 2)
    begun = await world.rotate(reason="by hand")
    await world.until("orders", in_grace)
    await world.call("POST", f"{ORDERS}/rotations/{begun['id']}/end-grace", json={})
    await world.until("orders", lambda found: found["state"] == "stable")
    await go_to(world, slot)
    fact = await until_fact(world, "SlotPassedOver")
    assert fact["details"]["why"] == "fresh"
    assert fact["details"]["detail"].startswith("version 2 is of ")
    found = (await world.call("GET", f"{ORDERS}/rotations")).json()["rotations"]
    assert [rotation["kind"] for rotation in found] == ["manual"]
    assert (await shown(world))["overdue_since"] is None
