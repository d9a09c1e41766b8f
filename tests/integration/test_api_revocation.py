from __future__ import annotations

import asyncio
import json

import pytest

from rotator.api.app import ROUTES
from tests.support.api import NODE, PATIENT, POLICY, a_world, attestation, served

ORDERS = "/v1/clusters/orders"
WITH_BODY = [route for route in ROUTES if route.takes is not None]


@pytest.fixture
async def world(tmp_path):
    """The service over a state store of its own."""
    async with a_world(tmp_path, {"orders": PATIENT, "billing": POLICY}) as made:
        yield made


async def _join(world, *, cluster="orders", clusters=("orders",)):
    row, text = await world.tokens.create(role="node", clusters=clusters, nodes=NODE, by="test")
    path = f"/v1/clusters/{cluster}/nodes/{NODE}"
    answer = await world.call("PUT", path, token=text, json=attestation(generation=1))
    assert answer.status_code == 200, answer.text
    return row, text


async def _with_open_body(world, method, path, *, token, body, meanwhile):
    """Send the head, then do something else, then send the body."""
    reached = asyncio.Event()
    go_on = asyncio.Event()

    async def slowly():
        reached.set()
        await go_on.wait()
        yield json.dumps(body).encode()

    asking = asyncio.ensure_future(world.call(method, path, token=token, content=slowly()))
    await reached.wait()
    await meanwhile()
    go_on.set()
    return await asking


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: f"{route.method} {route.path}")
async def test_a_token_that_is_revoked_while_a_body_is_open_is_401(world, route):
    """Whoever keeps a body open gets past no revocation, on any route that takes one."""
    row, text = await world.tokens.create(
        role=str(route.roles[0]),
        clusters=("*",),
        nodes=NODE if route.roles[0] == "node" else "",
        by="test",
    )
    names = dict.fromkeys(("rotation", "token", "claim"), "none")
    path = route.path.format(cluster="orders", node=NODE, **names)

    async def revoke():
        await world.tokens.revoke(row.id, by="test")

    answer = await _with_open_body(world, route.method, path, token=text, body={}, meanwhile=revoke)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


async def test_a_node_that_is_removed_while_its_report_is_open_does_not_come_back(world):
    """The rest of a report that began before a removal is 401, and the member stays away."""
    await world.initialise()
    _, text = await _join(world)
    path = f"{ORDERS}/nodes/{NODE}"

    async def remove():
        body = {"reason": "gone", "force": True}
        assert (await world.call("DELETE", path, json=body)).status_code == 200

    answer = await _with_open_body(
        world, "PUT", path, token=text, body=attestation(generation=1), meanwhile=remove
    )
    assert answer.status_code == 401
    left = (await world.call("GET", path)).json()
    assert (left["liveness"], left["shut_out"]) == ("left", True)


@pytest.mark.parametrize("query", [{}, {"generation": 0, "wait": "30s"}])
async def test_a_node_that_is_shut_out_gets_no_cookie_that_was_under_way(world, monkeypatch, query):
    """A view that was made before the token was revoked is not sent after."""
    await world.initialise()
    row, text = await _join(world)
    queries = world.app.state.services.queries
    node_view = queries.node_view

    async def slow_view(name, node):
        view = await node_view(name, node)
        await world.tokens.revoke(row.id, by="test")
        return view

    monkeypatch.setattr(type(queries), "node_view", lambda _self, *args: slow_view(*args))
    answer = await world.call("GET", f"{ORDERS}/cookie", token=text, params={"node": NODE, **query})
    assert answer.status_code == 401
    assert "current" not in answer.json()


async def test_removing_a_node_revokes_only_tokens_within_the_callers_scope(world):
    """A token that also opens a cluster of others is named, and goes on working there."""
    await world.initialise("orders")
    await world.initialise("billing")
    own, own_text = await _join(world)
    shared, shared_text = await _join(world, cluster="billing", clusters=("orders", "billing"))
    anywhere, _ = await _join(world, clusters=("*",))
    operator = await world.token("operator", clusters=("orders",))
    removed = await world.call(
        "DELETE",
        f"{ORDERS}/nodes/{NODE}",
        token=operator,
        json={"reason": "gone", "force": True},
    )
    assert removed.status_code == 200, removed.text
    assert removed.json()["revoked_tokens"] == [own.id]
    assert set(removed.json()["covering_tokens"]) == {shared.id, anywhere.id}
    elsewhere = f"/v1/clusters/billing/cookie?node={NODE}"
    assert (await world.call("GET", elsewhere, token=shared_text)).status_code == 200
    own_path = f"{ORDERS}/cookie?node={NODE}"
    assert (await world.call("GET", own_path, token=own_text)).status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{ORDERS}/rotations", {"kind": "emergency"}),
        ("/v1/emergency", {"clusters": ["orders"]}),
    ],
)
async def test_excluding_a_node_revokes_only_tokens_within_the_callers_scope(world, path, body):
    """An emergency of one cluster takes no token from another cluster; a warning names it."""
    await world.initialise()
    own, _ = await _join(world)
    shared, _ = await _join(world, clusters=("orders", "billing"))
    operator = await world.token("operator", clusters=("orders",))
    answer = await world.call(
        "POST", path, token=operator, json={**body, "reason": "stolen host", "exclude": [NODE]}
    )
    assert answer.status_code == 202, answer.text
    assert any(shared.id in warning for warning in answer.json()["warnings"])
    assert (await world.tokens.find(shared.id)).revoked_at is None
    assert (await world.tokens.find(own.id)).revoked_at is not None


async def test_who_hangs_up_while_a_body_is_open_is_no_bug(world, caplog):
    """A connection that ends within a body ends quietly: no error is logged."""
    text = await world.token("admin")
    ended = asyncio.Event()

    async def watched(scope, receive, send):
        try:
            await world.app(scope, receive, send)
        finally:
            ended.set()

    async with served(watched) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            f"POST {ORDERS}/init HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {text}\r\n"
            "Content-Length: 20\r\n\r\n{"
        )
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.wait_for(ended.wait(), 5)
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []
    assert (await world.call("GET", ORDERS)).json()["state"] == "uninitialised"
