"""Who may do what: every route by role by kind of token, out of the table of routes itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from rotator.api.app import ROUTES
from rotator.domain.cluster import Change
from rotator.errors import RevisionConflict
from rotator.testing.state.values import full_claim
from tests.support.api import NODE, PATIENT, POLICY, ROLES, a_world, attestation

READ = {"auditor", "operator"}
CLUSTER = "/v1/clusters/{cluster}"
MEMBER = f"{CLUSTER}/nodes/{{node}}"
ROTATION = f"{CLUSTER}/rotations/{{rotation}}"
WAITING = replace(PATIENT, lock_timeout=timedelta(hours=1))
WHY = {"reason": "matrix"}


@dataclass(frozen=True)
class Expect:
    """What a route promises: to whom it answers, and what it says to a token of another cluster."""

    roles: set[str]
    body: dict[str, Any] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    elsewhere: int = 404  #: to a role that may ask, whose clusters are others; 200: sees its own


# The contract's table, written down a second time: a route that is not here fails the build.
EXPECTED = {
    ("GET", "/v1/clusters"): Expect(READ, elsewhere=200),
    ("GET", CLUSTER): Expect(READ | {"admin"}),
    ("POST", f"{CLUSTER}/init"): Expect({"admin"}, WHY),
    ("POST", f"{CLUSTER}/import"): Expect({"admin"}, {"cookie": "MATRIXCOOKIE12345678", **WHY}),
    ("GET", f"{CLUSTER}/cookie"): Expect({"node"}, query={"node": NODE}),
    ("PUT", MEMBER): Expect({"node"}, attestation()),
    ("GET", f"{CLUSTER}/nodes"): Expect(READ),
    ("GET", MEMBER): Expect(READ | {"node"}),
    ("POST", f"{MEMBER}/leave"): Expect({"node"}, WHY),
    ("POST", f"{MEMBER}/excuse"): Expect({"operator"}, {"force": True, **WHY}),
    ("POST", f"{MEMBER}/readmit"): Expect({"operator"}, WHY),
    ("DELETE", MEMBER): Expect({"operator"}, {"force": True, **WHY}),
    ("POST", f"{CLUSTER}/pause"): Expect({"operator"}, WHY),
    ("POST", f"{CLUSTER}/resume"): Expect({"operator"}, WHY),
    ("POST", f"{CLUSTER}/rotations"): Expect({"operator"}, {"kind": "emergency", **WHY}),
    ("GET", f"{CLUSTER}/rotations"): Expect(READ | {"orchestrator"}),
    ("GET", ROTATION): Expect(READ | {"orchestrator"}),
    ("POST", f"{ROTATION}/hold"): Expect({"operator"}, WHY),
    ("POST", f"{ROTATION}/release"): Expect({"operator"}, WHY),
    ("POST", f"{ROTATION}/abort"): Expect({"operator"}, WHY),
    ("POST", f"{ROTATION}/rollback"): Expect({"operator"}, WHY),
    ("POST", f"{ROTATION}/extend-grace"): Expect({"operator"}, {"seconds": 60.0, **WHY}),
    ("POST", f"{ROTATION}/end-grace"): Expect({"operator"}, WHY),
    ("GET", f"{CLUSTER}/rollout"): Expect(READ | {"orchestrator"}),
    ("POST", f"{CLUSTER}/rollout/claims"): Expect({"orchestrator"}, {"max": 1}),
    ("PUT", f"{CLUSTER}/rollout/claims/{{claim}}"): Expect(
        {"orchestrator"}, {"state": "restarting", "token": 1}
    ),
    ("POST", "/v1/emergency"): Expect({"operator"}, {"clusters": ["orders"], **WHY}),
    ("GET", "/v1/emergencies/{emergency}"): Expect(READ),
    ("POST", "/v1/tokens"): Expect(
        {"admin"}, {"role": "auditor", "clusters": ["orders"]}, elsewhere=403
    ),
    ("GET", "/v1/tokens"): Expect({"admin"}, elsewhere=200),
    ("DELETE", "/v1/tokens/{token}"): Expect({"admin"}, WHY),
    ("GET", "/v1/facts"): Expect(READ, query={"cluster": "orders"}),
    ("GET", "/v1/facts/stream"): Expect(READ, query={"cluster": "orders"}),
    ("GET", "/openapi.json"): Expect({"public"}),
}
#: Not refused: it went well, or the cluster is not in the state for it, or the stream has ended.
LET_IN = {200, 201, 202, 409, 503}


@pytest.fixture
async def world(tmp_path):
    """A service whose cluster `orders` has a member, and one emergency that waits for it to lock."""
    async with a_world(tmp_path, {"orders": WAITING, "billing": POLICY}) as made:
        await made.initialise()
        path = f"/v1/clusters/orders/nodes/{NODE}"
        assert (await made.call("PUT", path, role="node", json=attestation())).status_code == 200
        yield made


async def _names(world):
    """What stands in the braces of a route's path: things that are there, of `orders` alone."""
    body = {"clusters": ["orders"], "reason": "matrix"}
    emergency = (await world.call("POST", "/v1/emergency", json=body)).json()
    token, _ = await world.tokens.create(role="auditor", clusters=("orders",), by="test")
    await world.until("orders", lambda found: found["rotation"]["phase"] == "locking")
    return {
        "claim": await _claim(world),
        "cluster": "orders",
        "node": NODE,
        "rotation": emergency["clusters"][0]["rotation"],
        "emergency": emergency["id"],
        "token": token.id,
    }


async def _claim(world):
    """The id of a claim that is over: whoever may speak for it is told so."""
    ended = full_claim(1)
    while True:
        before = await world.state.clusters.load("orders")
        with suppress(RevisionConflict):
            await world.state.clusters.save(before, Change(cluster=before.with_claim(ended)))
            return ended.id


async def _tokens(world, role):
    """One token of the role for each way in which it may be the wrong one."""

    async def make(clusters=("orders",), nodes=NODE, **more):
        return await world.tokens.create(
            role=role, clusters=clusters, nodes=nodes if role == "node" else "", by="test", **more
        )

    revoked, text = await make()
    await world.tokens.revoke(revoked.id, by="test")
    return {
        "own": (await make())[1],
        "other cluster": (await make(clusters=("billing",)))[1],
        "other node": (await make(nodes="rabbit@b"))[1] if role == "node" else None,
        "revoked": text,
        "expired": (await make(expires_in=timedelta(microseconds=1)))[1],
        "none": "",
    }


def _status(route, expect, role, case):
    """What the answer has to be; None: let in."""
    names_a_node = "{node}" in route.path or "node" in expect.query
    if "public" in expect.roles:
        return None
    if case in {"revoked", "expired", "none"}:
        return 401
    if role not in expect.roles or (case == "other node" and names_a_node):
        return 403
    if case == "other cluster":
        return None if expect.elsewhere == 200 else expect.elsewhere
    return None


async def _ask(world, route, names, *, token):
    expect = EXPECTED[route.method, route.path]
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await world.client.request(
        route.method,
        route.path.format(**names),
        params=expect.query,
        json=expect.body if route.method != "GET" else None,
        headers=headers,
    )


async def _everything(world):
    """What must not change when somebody is refused."""
    facts = await world.state.clusters.facts(None, limit=1, newest_first=True)
    tokens = [(row.id, row.revoked_at) for row in await world.tokens.list()]
    return facts[0].position, tokens


def _without_id(answer):
    problem = answer.json()
    del problem["request_id"]
    return problem


def test_every_route_has_an_expectation_and_no_other_is_expected():
    """Whoever adds a route says here whom it is for, and the table of routes says the same."""
    roles = {(route.method, route.path): {str(role) for role in route.roles} for route in ROUTES}
    assert roles == {key: expect.roles for key, expect in EXPECTED.items()}


async def _cells(world):
    """Route, role, kind of token, the token, and what the answer has to be."""
    tokens = {role: await _tokens(world, role) for role in ROLES}
    return [
        (route, role, case, token, _status(route, EXPECTED[route.method, route.path], role, case))
        for route in ROUTES
        for role, cases in tokens.items()
        for case, token in cases.items()
        if token is not None
    ]


def _cell(route, role, case):
    return f"{route.method} {route.path}: {role}, {case}"


async def test_whoever_may_not_is_refused_and_nothing_has_happened(world):
    """For every route each role with each wrong token has the refusal of the table, and no effect."""
    names = await _names(world)
    cells = await _cells(world)
    before = await _everything(world)
    wrong = []
    for route, role, case, token, status in cells:
        if status is None:
            continue
        answer = await _ask(world, route, names, token=token)
        is_right = answer.status_code == status
        is_right &= ("www-authenticate" in answer.headers) == (status == 401)
        if status == 404 and "{cluster}" in route.path:
            elsewhere = {**names, "cluster": "no-such-cluster"}
            unknown = await _ask(world, route, elsewhere, token=token)
            is_right &= _without_id(unknown) == _without_id(answer)
        if not is_right:
            wrong.append(f"{_cell(route, role, case)}: {status} wanted: {answer.text}")
    assert wrong == []
    assert await _everything(world) == before


async def test_whoever_may_is_let_in_and_sees_no_other_cluster(world):
    """For every route each role of the table passes, and lists hold nothing out of its scope."""
    names = await _names(world)
    cells = [cell for cell in await _cells(world) if cell[-1] is None]
    world.closing.set()  # a stream that is let in ends at once
    wrong = []
    for route, role, case, token, _ in cells:
        answer = await _ask(world, route, names, token=token)
        is_right = answer.status_code in LET_IN
        if case == "other cluster" and EXPECTED[route.method, route.path].elsewhere == 200:
            is_right &= "orders" not in answer.text
        if not is_right:
            wrong.append(f"{_cell(route, role, case)}: {answer.status_code}: {answer.text}")
    assert wrong == []
    own = {(route.method, route.path, role) for route, role, case, *_ in cells if case == "own"}
    for key, expect in EXPECTED.items():
        assert {role for *route, role in own if tuple(route) == key} >= expect.roles - {"public"}
