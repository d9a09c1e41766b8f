from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from rotator.errors import StateUnavailable
from tests.support.api import NODE, PATIENT, POLICY, a_world, attestation

BODY = {"clusters": ["orders"], "reason": "master leaked"}
OTHERS = [
    {**BODY, "exclude": [NODE]},
    {**BODY, "force": True},
    {**BODY, "reason": "another"},
    {**BODY, "clusters": ["*"]},
]


@pytest.fixture
async def world(tmp_path):
    """The service over a state store of its own, with one member in each of two clusters."""
    async with a_world(tmp_path, {"orders": PATIENT, "billing": POLICY}) as made:
        for cluster in ("orders", "billing"):
            await made.initialise(cluster)
            path = f"/v1/clusters/{cluster}/nodes/{NODE}"
            token = await made.token("node", clusters=(cluster,))
            said = attestation(generation=1)
            assert (await made.call("PUT", path, token=token, json=said)).status_code == 200
        yield made


async def _begin(world, body=BODY, key="k1"):
    return await world.call("POST", "/v1/emergency", json=body, key=key)


async def _is_shut_out(world, cluster):
    token = await world.token("node", clusters=(cluster,))
    answer = await world.call("GET", f"/v1/clusters/{cluster}/cookie?node={NODE}", token=token)
    return answer.status_code == 401


@pytest.mark.parametrize("other", OTHERS)
async def test_an_emergencys_key_belongs_to_its_whole_body(world, other):
    """Another body under the key, were it but `exclude` or `force`, is 422 and changes nothing."""
    assert (await _begin(world)).status_code == 202
    refused = await _begin(world, other)
    assert (refused.status_code, refused.json()["code"]) == (422, "key_reused")
    assert not await _is_shut_out(world, "orders")


@pytest.mark.parametrize("other", OTHERS)
async def test_an_interrupted_emergency_goes_on_for_the_same_body_alone(world, monkeypatch, other):
    """Where the first try died before its row was stored, its key knows what was asked."""

    async def fail(self, emergency):
        raise StateUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(type(world.state.emergencies), "add", fail)
        assert (await _begin(world)).status_code == 503
    refused = await _begin(world, other)
    assert (refused.status_code, refused.json()["code"]) == (422, "key_reused")
    assert not await _is_shut_out(world, "orders")
    answer = await _begin(world)
    assert answer.status_code == 202
    (row,) = answer.json()["clusters"]
    rotations = (await world.call("GET", "/v1/clusters/orders/rotations")).json()["rotations"]
    assert [one["id"] for one in rotations] == [row["rotation"]]
    again = await _begin(world)
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (
        answer.json()["id"],
        "true",
    )


async def test_an_emergencys_key_is_forgotten_after_a_day(world, monkeypatch):
    """24 hours later the same key begins another emergency, with another body if need be."""
    first = await _begin(world)
    states = type(world.state.clusters)
    now = states.now

    async def tomorrow(self):
        return await now(self) + timedelta(hours=24, seconds=1)

    monkeypatch.setattr(states, "now", tomorrow)
    second = await _begin(world, {**BODY, "reason": "again"})
    assert second.status_code == 202
    assert second.json()["id"] != first.json()["id"]
    assert "idempotent-replayed" not in second.headers


async def test_a_key_of_another_command_begins_no_emergency(world):
    """One principal's key stands for one request, whatever the route."""
    path = "/v1/clusters/orders/rotations"
    assert (await world.call("POST", path, json={"reason": "due"}, key="k1")).status_code == 202
    refused = await _begin(world)
    assert (refused.status_code, refused.json()["code"]) == (422, "key_reused")


async def test_a_cluster_whose_emergency_is_refused_keeps_its_tokens(world):
    """Nodes are shut out where the emergency starts, and not where it is cooling down."""
    assert (await _begin(world)).status_code == 202
    body = {"clusters": ["orders", "billing"], "reason": "stolen host", "exclude": [NODE]}
    answer = await _begin(world, body, key="k2")
    rows = {row["cluster"]: row for row in answer.json()["clusters"]}
    assert rows["orders"]["error"] == "cooling_down"
    assert rows["billing"]["rotation"]
    assert not await _is_shut_out(world, "orders")
    assert await _is_shut_out(world, "billing")


async def test_force_shuts_out_during_the_cool_down_as_well(world):
    """What `force` lets start also takes the tokens of those that it excludes."""
    assert (await _begin(world)).status_code == 202
    body = {**BODY, "force": True, "exclude": [NODE]}
    answer = await _begin(world, body, key="k2")
    assert answer.json()["clusters"][0]["rotation"]
    assert await _is_shut_out(world, "orders")


async def test_a_node_that_is_excluded_is_refused_with_any_token_until_it_is_readmitted(world):
    """Neither its reports nor its polls count, whatever it shows; then it joins as a new one."""
    member, desired = f"/v1/clusters/orders/nodes/{NODE}", f"/v1/clusters/orders/cookie?node={NODE}"
    wide = await world.token("node", nodes="rabbit@*", clusters=("orders",))
    begun = await world.call("GET", desired, token=wide)
    assert begun.status_code == 200
    waiting = asyncio.ensure_future(
        world.call("GET", f"{desired}&generation={begun.json()['generation']}&wait=30s", token=wide)
    )
    await asyncio.sleep(0)
    answer = await _begin(world, {**BODY, "exclude": [NODE]})
    assert any("rabbit@*" in one for one in answer.json()["warnings"])
    assert (await waiting).json()["code"] == "shut_out"

    async def knock(token, known=""):
        said = await world.call("PUT", member, token=token, json=attestation(generation=1))
        polled = await world.call("GET", f"{desired}{known}", token=token)
        left = await world.call("POST", f"{member}/leave", token=token, json={})
        return {(one.status_code, one.json().get("code")) for one in (said, polled, left)}

    _, anew = await world.tokens.create(role="node", clusters=("orders",), nodes=NODE, by="test")
    for token in (wide, anew):
        assert await knock(token) == {(403, "shut_out")}
    shown = (await world.call("GET", member)).json()
    assert (shown["liveness"], shown["shut_out"]) == ("excused", True)
    known = f"&generation={(await world.until('orders', bool))['generation']}"
    assert (403, "shut_out") in await knock(wide, known)
    refused = await world.call("POST", f"{member}/readmit", json={})
    assert refused.json()["code"] == "reason_required"
    let_in = await world.call("POST", f"{member}/readmit", json={"reason": "installed anew"})
    assert let_in.json() == {"cluster": "orders", "node": NODE}
    said = attestation(generation=1)
    assert (await world.call("PUT", member, token=wide, json=said)).status_code == 200
    assert not (await world.call("GET", member)).json()["shut_out"]


async def test_a_node_that_was_removed_does_not_come_back_by_a_pattern(world):
    """Its name is kept, and a second removal changes nothing."""
    member = f"/v1/clusters/orders/nodes/{NODE}"
    wide = await world.token("node", nodes="rabbit@*", clusters=("orders",))
    body = {"reason": "sold", "force": True}
    for _ in range(2):
        assert (await world.call("DELETE", member, json=body)).status_code == 200
        said = await world.call("PUT", member, token=wide, json=attestation(generation=1))
        assert (said.status_code, said.json()["code"]) == (403, "shut_out")
