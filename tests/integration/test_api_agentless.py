"""Nodes without an agent over HTTP: claimed by word, and what that means said beforehand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.domain.policy import Adoption, RolloutPolicy, Strategy
from tests.support.api import PATIENT, a_world

ORDERS = "/v1/clusters/orders"
ROLLOUT, CLAIMS = f"{ORDERS}/rollout", f"{ORDERS}/rollout/claims"
NAMES = ("a@h", "b@h", "c@h")
ROLLING = replace(
    PATIENT,
    adoption=Adoption.RESTART,
    without_agent=frozenset(NAMES),
    rollout=RolloutPolicy(soak=timedelta(0), claim_ttl=timedelta(seconds=30)),
)


@pytest.fixture
async def world(tmp_path):
    """Version 1 is current; nobody has an agent."""
    async with a_world(tmp_path, {"orders": ROLLING}) as made:
        await made.initialise()
        yield made


def stop_the_world(world) -> None:
    """The other strategy, from now on."""
    changed = replace(ROLLING, rollout=replace(ROLLING.rollout, strategy=Strategy.STOP_THE_WORLD))
    world.crowds.policies = {**world.crowds.policies, "orders": changed}


async def _rollout(world):
    return (await world.call("GET", ROLLOUT, role="orchestrator")).json()


async def _until(world, condition):
    async with asyncio.timeout(30):
        while not condition(found := await _rollout(world)):
            await asyncio.sleep(0.01)
    return found


async def _claims(world, most=10):
    answer = await world.call("POST", CLAIMS, role="orchestrator", json={"max": most})
    assert answer.status_code == 200, answer.text
    return answer.json()["claims"]


async def _say(world, claim, state):
    body = {"state": state, "token": claim["token"]}
    return await world.call("PUT", f"{CLAIMS}/{claim['id']}", role="orchestrator", json=body)


async def _carry_out(world, claim):
    assert (await _say(world, claim, "restarting")).json()["state"] == "restarting"
    done = (await _say(world, claim, "done")).json()
    assert done["state"] == "done"
    assert done["detail"].startswith("by the word of ")
    return claim["step"], claim["node"]


async def test_the_split_is_said_before_it_begins(world):
    """In the dry run, in the status, in the rollout, and in the answer to the start."""
    body = {"dry_run": True}
    plan = (await world.call("POST", f"{ORDERS}/rotations", json=body)).json()
    assert plan["awaits"] == list(NAMES)
    status = (await world.call("GET", ORDERS)).json()
    assert status["adoption"]["without_agent"] == list(NAMES)
    said = [plan["warnings"], status["notes"], (await _rollout(world))["notes"]]
    begun = (await world.call("POST", f"{ORDERS}/rotations", json={})).json()
    for sentences in (*said, begun["warnings"]):
        assert any("refuse each other" in one for one in sentences)
        assert any("restarted is who is said to be" in one for one in sentences)


async def test_they_are_restarted_one_after_the_other_by_word(world):
    """The rotation waits for the last word; claims and facts say that it is no more than that."""
    rotation = (await world.rotate())["id"]
    for name in NAMES:
        found = await _until(world, lambda found: found["next"])
        assert (found["rotation"], found["phase"]) == (rotation, "rolling_out")
        assert [step["node"] for step in found["next"]] == [name]
        [claim] = await _claims(world)
        await _carry_out(world, claim)
    await world.until("orders", lambda found: found["rotation"]["phase"] == "grace")
    found = await _rollout(world)
    assert (found["restarted"], found["members"], found["phase"]) == (3, 3, "grace")
    facts = (await world.call("GET", f"{ORDERS}/rotations/{rotation}")).json()["facts"]
    done = [fact["details"]["detail"] for fact in facts if fact["kind"] == "RestartDone"]
    assert len(done) == 3
    assert all(one.endswith("not by evidence") for one in done)


async def test_all_are_stopped_before_the_first_one_starts(world):
    """No start is handed out while one stop is not done, and the rotation waits for the last start."""
    stop_the_world(world)
    plan = (await world.call("POST", f"{ORDERS}/rotations", json={"dry_run": True})).json()
    assert any("down in between" in one for one in plan["warnings"])
    await world.rotate()
    found = await _until(world, lambda found: found["next"])
    assert found["strategy"] == "stop_the_world"
    stops = await _claims(world)
    assert [(one["step"], one["node"]) for one in stops] == [("stop", name) for name in NAMES]
    for one in stops[:2]:
        await _carry_out(world, one)
    assert await _claims(world) == []
    await _carry_out(world, stops[2])
    assert [step["step"] for step in (await _rollout(world))["next"]] == ["start"] * 3
    starts = await _claims(world)
    assert [await _carry_out(world, one) for one in starts] == [("start", name) for name in NAMES]
    await world.until("orders", lambda found: found["rotation"]["phase"] == "grace")


async def test_a_claim_that_was_not_begun_is_given_back(world):
    """It is no attempt, and the node may be claimed at once; one that was begun is not taken back."""
    await world.rotate()
    await _until(world, lambda found: found["next"])
    [claim] = await _claims(world)
    assert (await _say(world, claim, "released")).json()["state"] == "released"
    late = await _say(world, claim, "restarting")
    assert (late.status_code, late.json()["code"]) == (409, "claim_lost")
    [again] = await _claims(world)
    assert again["node"] == claim["node"]
    await _say(world, again, "restarting")
    refused = await _say(world, again, "released")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


async def test_rotation_and_phase_are_told_before_there_is_anything_to_restart(world):
    """Who asks once needs no second question to know whether a rotation is on its way."""
    found = await _rollout(world)
    assert (found["rotation"], found["phase"], found["version"]) == (None, None, None)
    rotation = (await world.rotate())["id"]
    found = await _until(world, lambda found: found["rotation"] is not None)
    assert found["rotation"] == rotation


async def test_an_emergency_says_that_it_reaches_none_of_them(world):
    """Nobody locks or resets them; they have to be restarted by hand."""
    body = {"kind": "emergency", "reason": "leak", "dry_run": True}
    plan = (await world.call("POST", f"{ORDERS}/rotations", json=body)).json()
    assert any("restart them yourself" in one for one in plan["warnings"])
    assert plan["awaits"] == []
