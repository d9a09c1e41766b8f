"""What orchestrators get over HTTP: what may restart, claims, and what becomes of them."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.domain.cookie import Cookie
from rotator.domain.policy import Adoption, RolloutPolicy
from tests.support.api import PATIENT, POLICY, a_world

ORDERS = "/v1/clusters/orders"
ROLLOUT, CLAIMS = f"{ORDERS}/rollout", f"{ORDERS}/rollout/claims"
NAMES = ("a@h", "b@h", "c@h")
BY_RESTART = replace(
    PATIENT,
    expect=frozenset(NAMES),
    adoption=Adoption.RESTART,
    rollout=RolloutPolicy(soak=timedelta(0), claim_ttl=timedelta(seconds=30)),
)


class Crew:
    """Three nodes as their agents tell of them."""

    def __init__(self, world) -> None:
        self.world = world
        self.own: dict[str, str] = {}

    async def look(self, name: str) -> dict:
        """Read desired state."""
        token = await self.world.token("node", nodes=name)
        path = f"{ORDERS}/cookie"
        answer = await self.world.call("GET", path, token=token, params={"node": name})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def tell(self, name: str, *, restarted: bool = False, **changes) -> None:
        """Look, keep the own cookie (a restarted one has current), attest."""
        desired = await self.look(name)
        key = base64.b64decode(desired["fingerprint_key"])

        def fingerprint(cookie: str) -> str:
            return Cookie(cookie).fingerprint(key, desired["cluster_uid"])

        if restarted or name not in self.own:
            self.own[name] = desired["current"]["cookie"]
        known = [desired[slot] for slot in ("current", "previous", "pending") if desired[slot]]
        mine = fingerprint(self.own[name])
        said = {
            "generation": desired["generation"],
            "at": "2026-11-23T06:45:00Z",
            "read_from": "vm",
            "holds": {str(v["number"]): fingerprint(v["cookie"]) for v in known},
            "own": mine,
            "file": mine,
            "links": {peer: {} for peer in NAMES if peer != name},
            **changes,
        }
        token = await self.world.token("node", nodes=name)
        answer = await self.world.call("PUT", f"{ORDERS}/nodes/{name}", token=token, json=said)
        assert answer.status_code == 200, answer.text

    async def all_tell(self) -> None:
        """A report of each."""
        for name in NAMES:
            await self.tell(name)


@pytest.fixture
async def world(tmp_path):
    """Version 2 is rolled out over version 1, which all three use; `billing` adopts hot."""
    async with a_world(tmp_path, {"orders": BY_RESTART, "billing": POLICY}) as made:
        await made.initialise()
        made.crew = Crew(made)
        await made.crew.all_tell()
        made.rotation = (await made.rotate())["id"]
        while (await _phase(made)) != "rolling_out":
            await made.crew.all_tell()
        await made.crew.all_tell()
        yield made


async def _phase(world):
    return (await world.call("GET", ORDERS)).json()["rotation"]["phase"]


async def _rollout(world, **query):
    return await world.call("GET", ROLLOUT, role="orchestrator", params=query)


async def _claim(world, status=200, **body):
    answer = await world.call("POST", CLAIMS, role="orchestrator", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()["claims"] if status == 200 else answer.json()


async def _say(world, claim, state, **more):
    body = {"state": state, "token": claim["token"], **more}
    return await world.call("PUT", f"{CLAIMS}/{claim['id']}", role="orchestrator", json=body)


async def _until_rollout(world, condition):
    async with asyncio.timeout(20):
        while not condition(found := (await _rollout(world)).json()):
            await asyncio.sleep(0.01)
    return found


async def test_nodes_are_restarted_one_after_the_other_until_all_use_current(world):
    """Each claim is done by what its node attests; then the next one may go, and the gate opens."""
    found = (await _rollout(world)).json()
    assert found["strategy"] == "rolling"
    assert (found["rotation"], found["phase"]) == (world.rotation, "rolling_out")
    assert (found["version"], found["restarted"], found["members"]) == (2, 0, 3)
    for name in NAMES:
        found = await _until_rollout(world, lambda found: found["next"])
        assert [step["node"] for step in found["next"]] == [name]
        [claim] = await _claim(world)
        assert (claim["node"], claim["version"], claim["state"]) == (name, 2, "claimed")
        assert await _claim(world) == []
        assert (await _say(world, claim, "restarting")).json()["state"] == "restarting"
        assert (await _say(world, claim, "done")).json()["state"] == "restarting"
        under_way = (await _rollout(world)).json()["under_way"]
        assert [one["id"] for one in under_way] == [claim["id"]]
        await world.crew.tell(name, restarted=True)
        assert (await _say(world, claim, "done")).json()["state"] == "done"
    await world.until("orders", lambda found: found["rotation"]["phase"] == "grace")
    facts = (await world.call("GET", f"{ORDERS}/rotations/{world.rotation}")).json()["facts"]
    kinds = [fact["kind"] for fact in facts if fact["kind"].startswith("Restart")]
    assert kinds == ["RestartClaimed", "RestartBegun", "RestartDone"] * 3


async def test_the_service_settles_claims_by_itself(world):
    """A node that is back ends its claim without a word of the orchestrator; it may have died."""
    [claim] = await _claim(world)
    await _say(world, claim, "restarting")
    await world.crew.tell("a@h", restarted=True)
    found = await _until_rollout(world, lambda found: not found["under_way"])
    assert found["restarted"] == 1
    assert [step["node"] for step in found["next"]] == ["b@h"]


async def test_of_two_who_claim_at_once_one_gets_it(world):
    """Many requests at the same moment: one claim, with the next token, and nobody is told a lie."""
    answers = await asyncio.gather(*(_claim(world, holder=f"o{n}") for n in range(8)))
    claims = [claim for claims in answers for claim in claims]
    assert [(claim["node"], claim["token"]) for claim in claims] == [("a@h", 1)]


async def test_a_repeated_claim_is_answered_the_same(world):
    """Under one idempotency key a claim whose answer was lost is had again, and no second one."""
    first = await world.call("POST", CLAIMS, role="orchestrator", json={}, key="k1")
    again = await world.call("POST", CLAIMS, role="orchestrator", json={}, key="k1")
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    # Nothing to hand out is no answer to keep: the same request may have luck later.
    none = await world.call("POST", CLAIMS, role="orchestrator", json={}, key="k2")
    assert none.json() == {"claims": []}
    claim = first.json()["claims"][0]
    await world.crew.tell("a@h", restarted=True)
    assert (await _say(world, claim, "done")).json()["state"] == "done"
    later = await world.call("POST", CLAIMS, role="orchestrator", json={}, key="k2")
    assert [claim["node"] for claim in later.json()["claims"]] == ["b@h"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"max": 0}, "invalid"),
        ({"max": 101}, "invalid"),
        ({"nodes": ["a"]}, "invalid"),
        ({"holder": "a\nb"}, "invalid"),
        ({"holder": "x" * 101}, "invalid"),
        ({"node": "a@h"}, "unknown_field"),
    ],
)
async def test_a_claim_that_cannot_be_meant_is_refused(world, body, code):
    """Nothing is handed out by mistake."""
    assert (await _claim(world, 422, **body))["code"] == code
    assert (await _rollout(world)).json()["under_way"] == []


async def test_a_claim_of_others_and_one_that_is_over_are_refused(world):
    """A late orchestrator learns from the code that it must not touch the node."""
    [claim] = await _claim(world, holder="deployer", nodes=["a@h"])
    assert claim["holder"] == "deployer"
    wrong = await _say(world, claim | {"token": 9}, "restarting")
    assert (wrong.status_code, wrong.json()["code"]) == (409, "claim_lost")
    assert (await _say(world, claim | {"id": "none"}, "restarting")).status_code == 404
    assert (await _say(world, claim, "expired")).status_code == 422
    assert (await _say(world, claim, "failed", detail="a\nb")).status_code == 422
    given_up = (await _say(world, claim, "failed", detail="ssh: no route")).json()
    assert (given_up["state"], given_up["detail"]) == ("failed", "ssh: no route")
    late = await _say(world, claim, "restarting")
    assert (late.status_code, late.json()["code"]) == (409, "claim_lost")


async def test_hold_is_the_pause(world):
    """While the rotation is held nothing is handed out and nothing begins; release goes on."""
    [claim] = await _claim(world)
    rotation = f"{ORDERS}/rotations/{world.rotation}"
    assert (await world.call("POST", f"{rotation}/hold", json={})).status_code == 200
    refused = await _say(world, claim, "restarting")
    assert (refused.status_code, refused.json()["code"]) == (409, "rollout_paused")
    found = (await _rollout(world)).json()
    assert found["is_paused"]
    assert "held" in {wait["code"] for wait in found["waiting"]}
    assert (await world.call("POST", f"{rotation}/release", json={})).status_code == 200
    assert (await _say(world, claim, "restarting")).json()["state"] == "restarting"


async def test_what_is_waited_for_is_named_in_the_cluster_too(world):
    """Operators see restarts as blockers, each with since when; so do orchestrators."""
    await _claim(world)
    found = await world.until(
        "orders", lambda found: ("restarting", "a@h") in _codes(found["blockers"])
    )
    assert ("awaiting_restart", "b@h") in _codes(found["blockers"])
    waits = (await _rollout(world)).json()["waiting"]
    assert {wait["since"] is not None for wait in waits if wait["code"] == "restarting"} == {True}


def _codes(blockers):
    return {(blocker["code"], blocker["subject"]) for blocker in blockers}


async def test_a_long_poll_ends_with_the_change(world):
    """The same revision waits, another one does not; 304 when the time is over."""
    found = await _rollout(world)
    revision, tag = found.json()["revision"], found.headers["etag"]
    same = await _rollout(world, revision=revision, wait="100ms")
    assert (same.status_code, same.headers["etag"]) == (304, tag)
    assert (await _rollout(world, revision=revision + 1, wait="60s")).status_code == 200
    waiting = asyncio.ensure_future(_rollout(world, revision=revision, wait="60s"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await _claim(world)
    answer = await asyncio.wait_for(waiting, 20)
    assert answer.json()["revision"] != revision
    assert answer.json()["under_way"]
    headers = {"if-none-match": answer.headers["etag"]}
    known = await world.call("GET", ROLLOUT, role="orchestrator", headers=headers)
    assert known.status_code in {200, 304}
    bad = await _rollout(world, revision="x")
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid")


async def test_a_long_poll_ends_with_what_changes_by_the_clock_alone(world):
    """Who falls silent changes no revision of the cluster; whoever polls is told all the same."""
    found = (await _rollout(world)).json()
    waiting = asyncio.ensure_future(_rollout(world, revision=found["revision"], wait="60s"))
    await asyncio.sleep(0.05)
    world.crowds.policies = {
        **world.crowds.policies,
        "orders": replace(BY_RESTART, node_ttl=timedelta(milliseconds=2)),
    }
    answer = (await asyncio.wait_for(waiting, 20)).json()
    assert answer["unavailable"] == list(NAMES)
    assert answer["next"] == []


async def test_a_revoked_token_ends_a_long_poll(world):
    """Rights are looked at again while it waits."""
    row, token = await world.tokens.create(role="orchestrator", clusters=("orders",), by="test")
    first = await world.call("GET", ROLLOUT, token=token)
    query = {"revision": first.json()["revision"], "wait": "60s"}
    waiting = asyncio.ensure_future(world.call("GET", ROLLOUT, token=token, params=query))
    await asyncio.sleep(0.05)
    await world.tokens.revoke(row.id, by="test")
    assert (await asyncio.wait_for(waiting, 20)).status_code == 401


async def test_a_cluster_that_adopts_hot_has_nothing_to_restart(world):
    """Its rollout is empty and says why; a claim is an empty list."""
    await world.initialise("billing")
    path = "/v1/clusters/billing/rollout"
    found = (await world.call("GET", path, role="orchestrator")).json()
    assert (found["strategy"], found["version"], found["next"]) == ("hot", None, [])
    claims = await world.call("POST", f"{path}/claims", role="orchestrator", json={})
    assert claims.json() == {"claims": []}
    missing = await world.call("GET", "/v1/clusters/none/rollout", role="orchestrator")
    assert missing.status_code == 404


async def test_no_answer_to_an_orchestrator_holds_a_cookie(world):
    """Node, version and who waits for what: nothing that opens a node."""
    [claim] = await _claim(world)
    answers = [
        (await _rollout(world)).text,
        (await _say(world, claim, "restarting")).text,
        (await _say(world, claim, "failed")).text,
    ]
    cookies = set(world.crew.own.values()) | {(await world.crew.look("a@h"))["current"]["cookie"]}
    assert not [cookie for cookie in cookies for text in answers if cookie in text]


async def test_a_dry_run_says_what_restarts_mean_before_they_begin(world):
    """How many at once, and where nobody keeps pairs in step, that the cluster is split meanwhile."""

    async def warnings():
        body = {"dry_run": True}
        return (await world.call("POST", f"{ORDERS}/rotations", json=body)).json()["warnings"]

    assert "3 members" in (await warnings())[0]
    assert "at most 1 at once" in (await warnings())[0]
    await world.initialise("billing")
    alone = replace(POLICY, adoption=Adoption.RESTART)
    world.crowds.policies = {**world.crowds.policies, "billing": alone}
    path = "/v1/clusters/billing/rotations"
    plan = (await world.call("POST", path, json={"dry_run": True})).json()
    assert any("refuse each other" in warning for warning in plan["warnings"])
