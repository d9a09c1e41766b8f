from __future__ import annotations

import asyncio

import pytest

from tests.support.api import NODE, PATIENT, POLICY, a_world, attestation

ORDERS = "/v1/clusters/orders"
COOKIE = "ABCDEFGHIJKLMNOPQRST"


@pytest.fixture
async def world(tmp_path):
    """The service over a state store of its own."""
    async with a_world(tmp_path, {"orders": PATIENT, "billing": POLICY}) as made:
        yield made


async def _join(world, node=NODE):
    token = await world.token("node", nodes=node, clusters=("orders",))
    path = f"{ORDERS}/nodes/{node}"
    answer = await world.call("PUT", path, token=token, json=attestation(generation=1))
    assert answer.status_code == 200, answer.text
    return token


async def test_a_repeated_request_is_done_once_and_answered_the_same(world):
    """The same key again gives the same answer, marked as a replay, and starts nothing."""
    await world.initialise()
    first = await world.call("POST", f"{ORDERS}/rotations", json={"reason": "due"}, key="k1")
    again = await world.call("POST", f"{ORDERS}/rotations", json={"reason": "due"}, key="k1")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    shown = await world.call("GET", first.headers["location"])
    assert shown.json()["id"] == first.json()["id"]
    assert len((await world.call("GET", f"{ORDERS}/rotations")).json()["rotations"]) == 1


async def test_a_key_belongs_to_one_request_of_one_principal(world):
    """Another body under the same key is 422, and another principal's key is another key."""
    await world.initialise()
    path = f"{ORDERS}/rotations"
    first = await world.call("POST", path, json={"reason": "due"}, key="k1")
    other = await world.call("POST", path, json={"reason": "overdue"}, key="k1")
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    token = await world.token("operator", clusters=("orders",))
    theirs = await world.call("POST", path, token=token, json={"reason": "due"}, key="k1")
    assert (theirs.status_code, theirs.json()["rotation"]) == (409, first.json()["id"])


async def test_a_request_that_is_still_running_is_not_begun_again(world, monkeypatch):
    """While a key is being served, the same key is 409 and says so."""
    await world.initialise()
    states, begun, go_on = world.state.clusters, asyncio.Event(), asyncio.Event()
    save = states.save

    async def slowly(*args, **kwargs):
        if kwargs.get("receipt"):
            begun.set()
            await go_on.wait()
        return await save(*args, **kwargs)

    monkeypatch.setattr(states, "save", slowly)
    path = f"{ORDERS}/rotations"
    first = asyncio.ensure_future(world.call("POST", path, json={}, key="k1"))
    await begun.wait()
    meanwhile = await world.call("POST", path, json={}, key="k1")
    assert (meanwhile.status_code, meanwhile.json()["code"]) == (409, "still_running")
    go_on.set()
    assert (await first).status_code == 202


async def test_what_was_refused_may_be_tried_again_under_its_key(world):
    """Only answers that went well are kept."""
    path = f"{ORDERS}/rotations"
    refused = await world.call("POST", path, json={}, key="k1")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_initialised")
    await world.initialise()
    assert (await world.call("POST", path, json={}, key="k1")).status_code == 202


async def test_init_and_decisions_are_done_once_as_well(world):
    """Init, hold and release under a key are replayed like a start."""
    for _ in range(2):
        answer = await world.call("POST", f"{ORDERS}/init", role="admin", json={}, key="k1")
        assert answer.status_code == 202
        assert answer.json()["state"] == "initialising"
    await world.until("orders", lambda found: found["state"] == "stable")
    rotation = await world.rotate()
    path = f"{ORDERS}/rotations/{rotation['id']}"
    for name, is_held in (("hold", True), ("release", False)):
        for _ in range(2):
            answer = await world.call("POST", f"{path}/{name}", json={"reason": "x"}, key=name)
            assert (answer.status_code, answer.json()["held"]) == (200, is_held)
    kinds = [one["kind"] for one in (await world.call("GET", path)).json()["facts"]]
    assert kinds.count("RotationHeld") == kinds.count("RotationReleased") == 1


async def test_a_token_is_made_once_under_its_key_and_shown_once(world):
    """A repeated creation is 409, since the answer held a secret and was not kept."""
    body = {"role": "auditor", "clusters": ["*"]}
    first = await world.call("POST", "/v1/tokens", role="admin", json=body, key="k1")
    assert first.status_code == 201
    again = await world.call("POST", "/v1/tokens", role="admin", json=body, key="k1")
    assert (again.status_code, again.json()["code"]) == (409, "already_done")
    assert "rot_" not in again.text
    other = await world.call(
        "POST", "/v1/tokens", role="admin", json={**body, "note": "x"}, key="k1"
    )
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")


async def test_a_token_for_an_undeclared_cluster_is_made_with_a_warning(world):
    """It may be a slip, or come before the declaration."""
    for clusters, warned in ((["orderz"], ["no cluster orderz is declared"]), (["*"], [])):
        body = {"role": "auditor", "clusters": clusters}
        made = await world.call("POST", "/v1/tokens", role="admin", json=body)
        assert (made.status_code, made.json()["warnings"]) == (201, warned)


async def test_an_imported_cookie_becomes_version_1(world, tmp_path):
    """Import is 201, again 200, with another cookie 409, and the cookie is in no answer or file."""
    body = {"cookie": COOKIE, "reason": "it runs already"}
    path = f"{ORDERS}/import"
    importing = await world.call("POST", path, role="admin", json=body, key="k1")
    assert importing.status_code == 201, importing.text
    assert importing.json()["versions"][0]["origin"] == "imported"
    assert importing.json()["blockers"] == []
    assert (await world.call("POST", path, role="admin", json=body)).status_code == 200
    other = await world.call("POST", path, role="admin", json={"cookie": "OTHEROTHER"})
    assert (other.status_code, other.json()["code"]) == (409, "already_initialised")
    assert COOKIE not in importing.text + other.text
    assert (await world.desired()).json()["current"]["cookie"] == COOKIE
    for file in tmp_path.iterdir():
        assert COOKIE.encode() not in file.read_bytes()
    bad = await world.call("POST", path, role="admin", json={"cookie": "two words"})
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid_cookie")


async def test_a_dry_run_says_what_would_happen_and_writes_nothing(world):
    """A plan has phases and warnings, and no rotation comes of it."""
    await world.initialise()
    body = {"kind": "emergency", "dry_run": True}
    answer = await world.call("POST", f"{ORDERS}/rotations", json=body, key="k1")
    assert answer.status_code == 200
    assert answer.json()["phases"][0] == "locking"
    assert answer.json()["to_version"] == 2
    assert (await world.call("GET", f"{ORDERS}/rotations")).json()["rotations"] == []


async def test_an_emergency_says_what_it_does_not_end(world):
    """Its plan, its beginning, and the answer for many clusters warn of code in nodes and of tokens that were read."""
    await world.initialise()
    path, body = f"{ORDERS}/rotations", {"kind": "emergency", "reason": "leaked", "force": True}
    plan = await world.call("POST", path, json={**body, "dry_run": True})
    begun = await world.call("POST", path, json=body)
    fleet = {"clusters": ["orders"], "reason": "leaked", "force": True}
    many = await world.call("POST", "/v1/emergency", json=fleet, key="k2")
    for answer in (plan, begun, many):
        assert any("runs inside a node" in warning for warning in answer.json()["warnings"])
        assert any("node tokens" in warning for warning in answer.json()["warnings"])


async def test_abort_and_roll_back_say_why_not(world):
    """A decision that the phase forbids is 409 with the reason, and one about nothing is 404."""
    await world.initialise()
    rotation = await world.rotate()
    await world.until("orders", lambda found: (found["rotation"] or {}).get("phase") == "grace")
    path = f"{ORDERS}/rotations/{rotation['id']}"
    refused = await world.call("POST", f"{path}/abort", json={"reason": "x"})
    assert (refused.status_code, refused.json()["code"]) == (409, "phase_forbids")
    assert "roll back instead" in refused.json()["detail"]
    longer = await world.call("POST", f"{path}/extend-grace", json={"seconds": 60})
    assert longer.json()["ends_at"] > rotation["started_at"]
    bare = await world.call("POST", f"{path}/rollback", json={})
    assert (bare.status_code, bare.json()["code"]) == (422, "reason_required")
    back = await world.call("POST", f"{path}/rollback", json={"reason": "regret"})
    assert (back.status_code, back.json()["rollback"]) == (202, True)
    elsewhere = f"/v1/clusters/billing/rotations/{rotation['id']}"
    assert (await world.call("GET", elsewhere)).status_code == 404
    assert (await world.call("POST", f"{elsewhere}/hold", json={})).status_code == 404


async def test_an_emergency_excludes_members_and_revokes_their_tokens_first(world):
    """An excluded node's own token is refused at once, and one with a pattern is named."""
    await world.initialise()
    token = await _join(world)
    wide = await world.token("node", nodes="rabbit@*")
    body = {"kind": "emergency", "reason": "stolen host", "exclude": [NODE]}
    answer = await world.call("POST", f"{ORDERS}/rotations", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["excludes"] == [NODE]
    wide_id = wide.split("_")[1]
    assert any(wide_id in warning for warning in answer.json()["warnings"])
    seen = await world.call("GET", f"{ORDERS}/cookie?node={NODE}", token=token)
    assert seen.status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "emergency", "reason": "x", "exclude": ["rabbit@nobody"]},
        {"kind": "emergency", "reason": "x", "exclude": ["not a name"]},
        {"kind": "manual", "reason": "x", "exclude": [NODE]},
        {"kind": "scheduled", "reason": "x"},
    ],
)
async def test_an_exclusion_that_makes_no_sense_revokes_nothing(world, body):
    """Unknown nodes, and exclusions of anything but an emergency, are refused before any change."""
    await world.initialise()
    token = await _join(world)
    answer = await world.call("POST", f"{ORDERS}/rotations", json=body)
    assert answer.status_code == 422
    seen = await world.call("GET", f"{ORDERS}/cookie?node={NODE}", token=token)
    assert seen.status_code == 200


async def test_an_emergency_that_is_refused_costs_no_node_its_token(world):
    """Within the cool-down nothing is revoked."""
    await world.initialise()
    token = await _join(world)
    body = {"kind": "emergency", "reason": "x"}
    assert (await world.call("POST", f"{ORDERS}/rotations", json=body)).status_code == 202
    again = await world.call("POST", f"{ORDERS}/rotations", json={**body, "exclude": [NODE]})
    assert (again.status_code, again.json()["code"]) == (409, "cooling_down")
    seen = await world.call("GET", f"{ORDERS}/cookie?node={NODE}", token=token)
    assert seen.status_code == 200


async def test_an_emergency_over_many_clusters_has_a_row_for_each(world):
    """All clusters in scope are rotated, and each row tells its rotation or its error."""
    await world.initialise("orders")
    body = {"clusters": ["*"], "reason": "master leaked"}
    answer = await world.call("POST", "/v1/emergency", json=body, key="k1")
    assert answer.status_code == 202
    rows = {row["cluster"]: row for row in answer.json()["clusters"]}
    assert rows["orders"]["rotation"]
    assert rows["billing"]["error"] == "not_initialised"
    again = await world.call("POST", "/v1/emergency", json=body, key="k1")
    assert again.json()["id"] == answer.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    other = await world.call("POST", "/v1/emergency", json={**body, "reason": "other"}, key="k1")
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    shown = await world.call("GET", answer.headers["location"])
    assert {row["cluster"] for row in shown.json()["clusters"]} == {"billing", "orders"}
    narrow = await world.token("operator", clusters=("billing",))
    seen = await world.call("GET", answer.headers["location"], token=narrow)
    assert [row["cluster"] for row in seen.json()["clusters"]] == ["billing"]
    outside = {"clusters": ["orders"], "reason": "x"}
    refused = await world.call("POST", "/v1/emergency", token=narrow, json=outside)
    assert refused.status_code == 404


async def test_members_are_shown_excused_and_removed(world):
    """A member that is live needs force, and its own token goes with it."""
    await world.initialise()
    token = await _join(world)
    wide = await world.token("node", nodes="rabbit@*")
    path = f"{ORDERS}/nodes/{NODE}"
    shown = await world.call("GET", path, token=token)
    assert shown.json()["name"] == NODE
    refused = await world.call("DELETE", path, json={"reason": "gone"})
    assert (refused.status_code, refused.json()["code"]) == (409, "member_is_live")
    assert (await world.call("GET", path, token=token)).status_code == 200
    body = {"reason": "gone", "force": True}
    excused = await world.call("POST", f"{path}/excuse", json=body)
    assert (excused.status_code, excused.json()["liveness"]) == (200, "excused")
    removed = await world.call("DELETE", path, json=body)
    assert removed.status_code == 200
    assert removed.json()["revoked_tokens"] == [token.split("_")[1]]
    assert removed.json()["covering_tokens"] == [wide.split("_")[1]]
    assert (await world.call("GET", path, token=token)).status_code == 401
    kept = (await world.call("GET", path)).json()
    assert (kept["liveness"], kept["shut_out"], kept["uses"]) == ("left", True, None)


async def test_a_node_leaves_in_good_order(world):
    """After `leave` a member is shown as left."""
    await world.initialise()
    token = await _join(world)
    answer = await world.call("POST", f"{ORDERS}/nodes/{NODE}/leave", token=token, json={})
    assert (answer.status_code, answer.json()["liveness"]) == (200, "left")


async def test_rotations_come_in_pages_newest_first(world):
    """The cursor of a page leads to the one after, and the last page has none."""
    await world.initialise("billing")
    made = []
    for _ in range(3):
        made.append((await world.rotate("billing"))["id"])
        await world.until("billing", lambda found: found["state"] == "stable")
    path = "/v1/clusters/billing/rotations"
    first = (await world.call("GET", path, params={"limit": 2})).json()
    assert [one["id"] for one in first["rotations"]] == [made[2], made[1]]
    rest = await world.call("GET", path, params={"limit": 2, "before": first["next"]})
    assert [one["id"] for one in rest.json()["rotations"]] == [made[0]]
    assert rest.json()["next"] is None


async def test_facts_come_in_pages_by_position(world):
    """Following `next` gives every fact once, in order."""
    await world.initialise()
    await world.rotate()
    await world.until("orders", lambda found: (found["rotation"] or {}).get("phase") == "grace")
    seen, after = [], 0
    while after is not None:
        page = (await world.call("GET", "/v1/facts", params={"after": after, "limit": 2})).json()
        seen += [one["position"] for one in page["facts"]]
        after = page["next"]
    everything = (await world.call("GET", "/v1/facts", params={"limit": 500})).json()["facts"]
    assert seen == [one["position"] for one in everything]
    assert len(seen) > 5


async def test_a_replica_decides_nothing_about_a_cluster_that_its_file_does_not_have(world):
    """Another file declares it: its master is not guessed, and nothing is written; it is shown."""
    known = world.crowds.policies
    world.crowds.policies = {name: one for name, one in known.items() if name != "billing"}
    billing = "/v1/clusters/billing"
    for path, body in (("init", {"reason": "x"}), ("import", {"cookie": COOKIE})):
        refused = await world.call("POST", f"{billing}/{path}", role="admin", json=body)
        assert (refused.status_code, refused.json()["code"]) == (503, "not_configured_here")
        assert "not in this replica's configuration" in refused.json()["detail"]
    stored = await world.state.clusters.load("billing")
    assert (stored.uid, stored.master, stored.versions) == (None, None, {})
    assert await world.state.epochs.newest("default") is None
    assert world.cookies.documents == {}
    assert (await world.call("GET", billing)).status_code == 200
    world.crowds.policies = known
    await world.initialise("billing")
    world.crowds.policies = {name: one for name, one in known.items() if name != "billing"}
    refused = await world.call("POST", f"{billing}/rotations", json={"reason": "x"})
    assert (refused.status_code, refused.json()["code"]) == (503, "not_configured_here")
    assert (await world.state.clusters.load("billing")).rotation is None
