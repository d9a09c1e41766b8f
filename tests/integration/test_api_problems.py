from __future__ import annotations

import asyncio
import json
import logging
import re

import pytest

from rotator.api import auth
from rotator.api.app import ROUTES
from rotator.api.auth import Role
from rotator.errors import StateUnavailable, StoreSealed
from tests.support.api import NODE, a_world, attestation

CANARY = "CanaryCookieThatMustNotComeBack"
ORDERS = "/v1/clusters/orders"
PROBLEM = "application/problem+json"


@pytest.fixture
async def world(tmp_path):
    """The service over a state store of its own."""
    async with a_world(tmp_path) as made:
        yield made


def _role(route):
    return str(min(route.roles))


def _bodies(fields):
    for value in (CANARY, [CANARY], {CANARY: CANARY}, [[CANARY]], {"12": CANARY}, 12.5):
        for name in (*fields, CANARY):
            yield json.dumps({name: value}).encode()
    for raw in (CANARY, f'"{CANARY}"', f'["{CANARY}"]', f'{{"{CANARY}":', f'{{"a":{CANARY}}}'):
        yield raw.encode()
    yield f'{{"{CANARY}":1,"{CANARY}":1}}'.encode()
    yield CANARY.encode() + b"\xff"


def _places_of(route):
    known = {"cluster": "orders", "node": NODE}
    known |= {"rotation": "r", "emergency": "e", "token": "t", "claim": "c"}
    for name in re.findall(r"{(\w+)}", route.path):
        yield route, route.path.format(**{**known, name: CANARY}), {}, None
    path = route.path.format(**known)
    for name in (
        "node",
        "generation",
        "revision",
        "wait",
        "before",
        "after",
        "limit",
        "cluster",
        CANARY,
    ):
        yield route, path, {name: CANARY}, None
    if route.takes is not None:
        for body in _bodies(route.takes.__dataclass_fields__):
            yield route, path, {}, body


def _places():
    """Every place of every route that can carry a canary."""
    for route in ROUTES:
        if Role.PUBLIC not in route.roles:
            yield from _places_of(route)


async def test_no_answer_to_a_refused_request_repeats_what_was_sent(world, caplog):
    """A canary in each path, query, field, key and header comes back in no problem and no log."""
    caplog.set_level(logging.DEBUG)
    world.closing.set()
    tried = refused = 0
    for route, path, query, body in _places():
        headers = {"X-Request-Id": CANARY, "If-None-Match": CANARY, "Last-Event-ID": CANARY}
        if body is not None:
            headers["Idempotency-Key"] = f"{CANARY} {CANARY}"
        answer = await world.call(
            route.method, path, role=_role(route), params=query, content=body, headers=headers
        )
        tried += 1
        if answer.status_code < 400:
            continue
        refused += 1
        assert CANARY not in answer.text + str(answer.headers), (route, path, query, body)
        assert answer.headers["content-type"] == PROBLEM
        assert answer.headers["cache-control"] == "no-store"
        found = answer.json()
        assert found["status"] == answer.status_code
        assert found["status"] < 500
        assert found["request_id"] == answer.headers["x-request-id"]
        assert found["type"] == f"/problems/{found['code']}"
    assert refused > 400
    assert tried - refused < 150
    ours = [one for one in caplog.records if one.name.startswith("rotator")]
    assert not any(CANARY in one.getMessage() + str(one.__dict__) for one in ours)


@pytest.mark.parametrize("path", ["/", "/v1", f"/{CANARY}", "/v1/clusters/orders/pause/", "/docs"])
async def test_a_path_that_is_none_is_a_problem_too(world, path):
    """An unknown path is a 404 document like any other, and repeats nothing."""
    answer = await world.client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["code"] == "not_found"
    assert CANARY not in answer.text


async def test_a_wrong_method_is_405_and_names_the_right_ones(world):
    """The answer to a wrong method says which ones there are."""
    answer = await world.client.request("PATCH", "/v1/clusters")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b"\xff\xfe", "malformed_body", 400),
        (b"{", "malformed_body", 400),
        (b"[]", "malformed_body", 400),
        (b'{"reason": "a", "reason": "b"}', "malformed_body", 400),
        (b'{"reason": NaN}', "malformed_body", 400),
        (b'{"reason": "\\ud800"}', "malformed_body", 400),
        (b'{"reason": ' + b"9" * 5000 + b"}", "malformed_body", 400),
        (b'{"reason": ' + b"[" * 40 + b"]" * 40 + b"}", "malformed_body", 400),
        (b"[" * 100_000, "malformed_body", 400),
        (b'{"reason": "' + b"x" * 300_000 + b'"}', "body_too_large", 413),
        (b'{"reason": "x", "unknown": 1}', "unknown_field", 422),
        (b'{"reason": 1}', "invalid", 422),
        (b'{"reason": "x", "force": "yes"}', "invalid", 422),
        (b'{"reason": "two\\nlines"}', "invalid", 422),
        (b'{"reason": "' + b"x" * 2000 + b'"}', "invalid", 422),
    ],
)
async def test_a_bad_body_has_its_own_error(world, body, code, status):
    """Each way to get a body wrong is told by a code of its own, and changes nothing."""
    path = f"{ORDERS}/init"
    answer = await world.call("POST", path, role="admin", content=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    found = (await world.call("GET", ORDERS)).json()
    assert found["state"] == "uninitialised"


async def test_brackets_in_a_string_are_no_nesting(world):
    """Depth is counted outside of strings."""
    body = {"reason": "[" * 100 + '\\"' + "{" * 100}
    answer = await world.call("POST", f"{ORDERS}/init", role="admin", json=body)
    assert answer.status_code == 202


async def test_a_chunked_body_is_bounded_as_well(world):
    """A body without a length is refused once it is too large."""

    async def chunks():
        for _ in range(40):
            yield b" " * 10_000

    answer = await world.call("POST", f"{ORDERS}/init", role="admin", content=chunks())
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{ORDERS}/rotations", {"kind": "emergency"}),
        ("POST", f"{ORDERS}/rotations", {"kind": "emergency", "reason": "  "}),
        ("POST", "/v1/emergency", {"clusters": ["orders"], "reason": ""}),
        ("POST", f"{ORDERS}/nodes/{NODE}/excuse", {}),
        ("DELETE", f"{ORDERS}/nodes/{NODE}", {}),
    ],
)
async def test_dangerous_commands_need_a_reason(world, method, path, body):
    """Emergency, excuse and remove are refused without a reason, by name."""
    await world.initialise()
    answer = await world.call(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "reason_required")


@pytest.mark.parametrize(
    "change",
    [
        {"generation": "42"},
        {"generation": -1},
        {"generation": True},
        {"generation": None},
        {"at": "yesterday"},
        {"at": "2026-13-23T06:45:00Z"},
        {"at": "2026-11-23T06:45:00"},
        {"at": 5},
        {"read_from": "guess"},
        {"read_from": []},
        {"holds": []},
        {"holds": {"x": "f1:" + "0" * 32}},
        {"holds": {"1": "f1:short"}},
        {"own": CANARY},
        {"file": 1},
        {"pins": {"rabbit@b": CANARY}},
        {"pins": {"x" * 256: "f1:" + "0" * 32}},
        {"pins": {f"rabbit@{n}": "f1:" + "0" * 32 for n in range(2001)}},
        {"refuses": {"1": "hearsay"}},
        {"links": {"rabbit@b": True}},
        {"links": {"rabbit@b": {"hidden": 1}}},
        {"foreign_links": "x"},
        {"foreign_links": [1]},
        {"locked_round": 1.5},
        {"otp_release": 25},
        {"agent": 0},
        {"pins": False},
        {"preflight": ""},
        {"preflight": ["a\x00b"]},
    ],
)
async def test_a_report_of_the_wrong_shape_is_refused_by_field(world, change):
    """The answer names the field and what is wanted, never what came."""
    await world.initialise()
    said = attestation(generation=1) | change
    answer = await world.call("PUT", f"{ORDERS}/nodes/{NODE}", role="node", json=said)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(next(iter(change)))
    assert CANARY not in answer.text
    assert (await world.call("GET", f"{ORDERS}/nodes")).json()["nodes"] == []


async def test_a_conflict_names_the_rotation_that_is_under_way(world):
    """409 carries the id of the rotation in the way."""
    await world.initialise()
    world.reconciler.reconcile = _never
    first = await world.rotate()
    answer = await world.call("POST", f"{ORDERS}/rotations", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "rotation_underway")
    assert answer.json()["rotation"] == first["id"]
    assert "running" not in answer.text


async def _never(name):
    return 60.0


@pytest.mark.parametrize("error", [StateUnavailable("db at secret.host"), StoreSealed("at x:8200")])
async def test_a_store_that_cannot_be_used_is_503_without_its_address(world, monkeypatch, error):
    """A store's fault says to come back, and says its details to the log alone."""

    async def fail(self, name):
        raise error

    monkeypatch.setattr(world.state.clusters.__class__, "load", fail)
    answer = await world.call("GET", ORDERS)
    assert (answer.status_code, answer.json()["code"]) == (503, error.code)
    assert int(answer.headers["retry-after"]) > 0
    assert str(error) not in answer.text


async def test_a_bug_is_500_with_an_id_and_its_values_are_nowhere(world, monkeypatch, caplog):
    """What nobody foresaw is told by a request id; the log has places, not values."""

    async def fail(self, name):
        secret = CANARY
        raise ValueError(secret)

    monkeypatch.setattr(world.state.clusters.__class__, "load", fail)
    answer = await world.call("GET", ORDERS)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    record = next(one for one in caplog.records if one.getMessage() == "unhandled")
    assert record.request_id == answer.json()["request_id"]
    assert record.error == "ValueError"
    assert CANARY not in answer.text
    assert CANARY not in str(record.__dict__)


async def test_a_request_id_is_kept_if_it_is_one(world):
    """An id in hex comes back; anything else is replaced."""
    good = "0af7651916cd43dd8448eb211c80319c"
    answer = await world.client.get("/openapi.json", headers={"X-Request-Id": good})
    assert answer.headers["x-request-id"] == good
    answer = await world.client.get("/openapi.json", headers={"X-Request-Id": "<script>"})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


def test_the_guard_compares_patterns_by_star_alone():
    """Only `*` is special in a node pattern; brackets and question marks are what they are."""
    covers = auth.tokens.covers
    assert covers("rabbit@*", "rabbit@a")
    assert covers("*@a", "rabbit@a")
    assert covers("r*@*.example", "rabbit@host.example")
    assert covers("*", "")
    assert covers("a*a", "aa")
    assert not covers("a*a", "a")
    assert not covers("rabbit@a", "rabbit@ab")
    assert not covers("rabbit@?", "rabbit@a")
    assert not covers("rabbit@[a]", "rabbit@a")
    assert not covers("*b*b", "ab")


async def test_waiting_for_a_body_has_an_end(world, monkeypatch):
    """A body that never comes is 408."""
    monkeypatch.setattr("rotator.api.bodies.BODY_SECONDS", 0.05)

    async def slowly():
        yield b"{"
        await asyncio.sleep(5)

    answer = await world.call("POST", f"{ORDERS}/init", role="admin", content=slowly())
    assert (answer.status_code, answer.json()["code"]) == (408, "timeout")
