from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from rotator.api import throttle
from rotator.api.throttle import Limits
from rotator.bootstrap import beats
from tests.support.api import NODE, a_world, attestation


@pytest.fixture
async def world(tmp_path):
    """The service with a clock of limits that stands still."""
    async with a_world(tmp_path) as made:
        await made.initialise()
        gate = made.app.state.throttle
        gate._clock = lambda: 0.0
        gate.limits = Limits(requests_per_second=1, burst=5, long_polls=2)
        yield made


async def _statuses(world, times, **options):
    answers = [await world.call("GET", "/v1/clusters", **options) for _ in range(times)]
    return [answer.status_code for answer in answers]


async def test_a_token_that_asks_too_often_is_429_with_a_problem(world):
    """Beyond its burst a token is told when to come back; another one is served meanwhile."""
    other = (await world.tokens.create(role="operator", clusters=("*",), by="test"))[1]
    assert await _statuses(world, 8) == [200] * 6 + [429] * 2  # the first was a stranger
    refused = await world.call("GET", "/v1/clusters")
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["code"] == "too_many_requests"
    assert "limits.requests_per_second" in refused.json()["detail"]
    assert await _statuses(world, 1, token=other) == [200]


async def test_nodes_are_served_while_an_operator_and_strangers_flood(world):
    """A flood with a token, and one with guesses from the same address, cost a node nothing."""
    assert (await world.desired()).status_code == 200
    flood = await _statuses(world, 50)
    guesses = await _statuses(world, throttle.STRANGERS_BURST + 50, token="rot_AAAAAAAAAAAA_guess")
    assert flood.count(429) == 44
    assert set(guesses) == {401, 429}
    assert (await world.desired()).status_code == 200


async def test_strangers_shut_out_no_token_that_comes_for_the_first_time(world):
    """Not after a restart, and not one that was made since; one that was revoked is a stranger."""
    acquaint = beats.acquaintance(world.tokens, world.app.state.throttle)

    async def made():
        return await world.tokens.create(role="operator", clusters=("*",), by="test")

    found = [await made(), await made()]
    await world.tokens.revoke(found[1][0].id, by="test")
    await acquaint()
    found.append(await made())
    await acquaint()
    await _statuses(world, throttle.STRANGERS_BURST, token="rot_AAAAAAAAAAAA_guess")
    answers = [await _statuses(world, 1, token=text) for _, text in found]
    assert answers == [[200], [429], [200]]


async def test_what_is_refused_was_not_looked_up(world, monkeypatch):
    """A request beyond the limit costs no look into the state store, and its body is not read."""
    await _statuses(world, 6)
    looked = []
    monkeypatch.setattr(type(world.tokens), "authenticate", lambda *_: looked.append(1))
    url = "/v1/clusters/orders/rotations"
    assert (await world.call("POST", url, content=b"{" * 300_000)).status_code == 429
    assert looked == []


async def test_a_guessed_token_takes_nothing_from_the_token_whose_id_it_has(world):
    """Ids of tokens are no secret: whoever knows one cannot use up what its owner may ask."""
    row, text = await world.tokens.create(role="operator", clusters=("*",), by="test")
    for _ in range(20):
        guess = f"rot_{row.id}_{'0' * 43}"
        assert (await world.call("GET", "/v1/clusters", token=guess)).status_code == 401
    assert await _statuses(world, 6, token=text) == [200] * 6


async def test_a_token_waits_so_often_at_once(world):
    """One long poll too many of a node is 429, and the others go on waiting."""
    generation = (await world.desired()).json()["generation"]
    world.app.state.throttle.limits = Limits(long_polls=2)
    polls = [
        asyncio.ensure_future(world.desired(generation=generation, wait="60s")) for _ in range(2)
    ]
    deadline = time.monotonic() + 30
    while 2 not in world.app.state.throttle._waiting.values():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    refused = await world.desired(generation=generation, wait="60s")
    assert refused.status_code == 429
    assert "limits.long_polls" in refused.json()["detail"]
    other = await world.token("node", nodes="rabbit@b")
    path = "/v1/clusters/orders/cookie"
    answer = await world.call("GET", path, token=other, params={"node": "rabbit@b"})
    assert answer.status_code == 200
    assert not any(poll.done() for poll in polls)
    world.closing.set()
    assert [answer.status_code for answer in await asyncio.gather(*polls)] == [304, 304]
    assert not world.app.state.throttle._waiting


async def test_one_principal_does_not_take_every_stream_of_facts(world):
    """Streams are limited for each token, not only in all."""
    gate = world.app.state.throttle
    row, text = await world.tokens.create(role="auditor", clusters=("*",), by="test")
    stream = (f"token:{row.id}", "facts/stream")
    with gate.waiting(*stream), gate.waiting(*stream):
        refused = await world.call("GET", "/v1/facts/stream", token=text)
    assert refused.status_code == 429
    assert world.app.state.streams == 0


async def test_others_than_nodes_are_told_to_wait_while_too_many_are_served(world, monkeypatch):
    """When their places are taken, operators are 503 with a time, and nodes are served."""
    monkeypatch.setattr(throttle, "WAIT_SECONDS", 0.05)
    gate = world.app.state.throttle
    await world.token("operator")
    async with AsyncExitStack() as stack:
        for _ in range(throttle.OTHERS_AT_WORK):
            await stack.enter_async_context(gate.at_work(is_node=False))
        answer = await world.call("GET", "/v1/clusters")
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        path = f"/v1/clusters/orders/nodes/{NODE}"
        told = await world.call("PUT", path, role="node", json=attestation())
        assert told.status_code == 200
    assert (await world.call("GET", "/v1/clusters")).status_code == 200


async def test_a_body_that_is_slow_takes_no_place_of_others(world, monkeypatch):
    """However many bodies are half there, operators whose requests are whole are served."""
    monkeypatch.setattr(throttle, "WAIT_SECONDS", 0.05)
    world.app.state.throttle.limits = Limits()
    ended = asyncio.Event()
    begun = []

    async def body():
        begun.append(1)
        yield b"{"
        await ended.wait()
        yield b"}"

    path = "/v1/clusters/billing/init"
    posts = [
        asyncio.ensure_future(world.call("POST", path, role="admin", content=body()))
        for _ in range(2 * throttle.OTHERS_AT_WORK)
    ]
    deadline = time.monotonic() + 30
    while len(begun) < len(posts):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert (await world.call("GET", "/v1/clusters")).status_code == 200
    ended.set()
    assert {answer.status_code for answer in await asyncio.gather(*posts)} <= {202, 409, 503}
