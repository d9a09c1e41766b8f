from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from rotator.api.limits import DeadlineProtocol
from rotator.api.routes import facts
from rotator.api.routes.health import create_health_app
from rotator.errors import StoreSealed
from rotator.testing.factories import NOW
from tests.support.api import a_world, served


class Hasty(DeadlineProtocol):
    head_deadline = 0.4


@pytest.fixture
async def world(tmp_path):
    """The service over a state store of its own."""
    async with a_world(tmp_path) as made:
        yield made


async def _is_closed(reader, *, within):
    try:
        return await asyncio.wait_for(reader.read(), within) == b""
    except ConnectionError:
        return True


async def test_half_open_connections_are_gone_after_the_deadline(world):
    """Of 200 connections without a complete head none lives on, while others are served."""
    async with served(world.app, Hasty) as port:
        starts = (b"", b"GET", b"GET /v1/clusters HTTP/1.1\r\nHost: x\r\nX-A: ")
        opened = []
        for number in range(200):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(starts[number % len(starts)])
            opened.append((reader, writer))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/openapi.json")).status_code == 200
        closed = await asyncio.gather(*(_is_closed(reader, within=3) for reader, _ in opened))
        assert all(closed)
        for _, writer in opened:
            writer.close()


async def test_a_head_that_drips_is_cut_as_well(world):
    """Bytes that go on coming do not move the deadline."""
    async with served(world.app, Hasty) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = time.monotonic()
        writer.write(b"GET / HTTP/1.1\r\n")
        try:
            while time.monotonic() - began < 3:
                writer.write(b"X-Drip: 1\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
                if reader.at_eof():
                    break
        except ConnectionError:
            pass
        assert time.monotonic() - began < 2
        writer.close()


async def test_a_second_request_on_a_connection_has_its_own_deadline(world):
    """A kept connection is not cut while idle, but is when its next head is not finished."""
    async with served(world.app, Hasty) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET /v1/clusters HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 401 " in head
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            await asyncio.sleep(0.6)
        writer.write(b"GET /v1/clus")
        assert await _is_closed(reader, within=2)
        writer.close()


@pytest.mark.parametrize("is_complete", [True, False])
async def test_a_head_that_is_too_large_is_431(world, is_complete):
    """More than 32 KiB of head are refused, whether they come to an end or not."""
    async with served(world.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Many: 0123456789\r\n" * 1000)
        writer.write(b"X-More: " + b"y" * 20_000 + (b"\r\n\r\n" if is_complete else b""))
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "head_too_large"
        writer.close()


async def test_a_body_may_be_larger_than_a_head(world):
    """The limit on heads does not count the body that follows in the same packet."""
    async with served(world.app) as port:
        url = f"http://127.0.0.1:{port}/v1/clusters/orders/init"
        token = await world.token("admin")
        async with httpx.AsyncClient() as client:
            answer = await client.post(
                url,
                headers={"Authorization": f"Bearer {token}"},
                content=b" " * 100_000 + b'{"reason": "x"}',
            )
        assert answer.status_code == 202


async def _events(lines):
    event = {}
    async for line in lines:
        if line == "" and event:
            yield event
            event = {}
        elif line.startswith(":"):
            yield {"comment": line}
        elif line:
            name, _, value = line.partition(": ")
            event[name] = value


async def _next_event(events, wanted):
    async for event in events:
        if wanted(event):
            return event
    raise AssertionError("the stream has ended")


async def test_facts_are_streamed_as_they_happen(world, monkeypatch):
    """A stream shows each fact with its position, and comments while there is nothing to tell."""
    monkeypatch.setattr(facts, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(facts, "_LOOK_SECONDS", 0.05)
    headers = {"Authorization": f"Bearer {await world.token('auditor')}"}
    async with served(world.app) as port, httpx.AsyncClient(timeout=10) as client:
        url = f"http://127.0.0.1:{port}/v1/facts/stream"
        async with client.stream("GET", url, headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            events = _events(answer.aiter_lines())
            await world.initialise()
            found = await _next_event(events, lambda e: e.get("event") == "ClusterInitialised")
            fact = json.loads(found["data"])
            assert fact["position"] == int(found["id"])
            assert fact["cluster"] == "orders"
            await _next_event(events, lambda e: e.get("comment") == ": heartbeat")
        headers["Last-Event-ID"] = "0"
        async with client.stream("GET", url, headers=headers) as answer:
            events = _events(answer.aiter_lines())
            first = await _next_event(events, lambda e: "id" in e)
            assert first["id"] == "1"
    deadline = time.monotonic() + 5
    while world.app.state.streams and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert world.app.state.streams == 0


async def test_a_stream_ends_with_its_token_and_with_the_process(world, monkeypatch):
    """A revoked token's stream says that it ends, and at shutdown no stream holds anybody up."""
    monkeypatch.setattr(facts, "_LOOK_SECONDS", 0.05)
    row, text = await world.tokens.create(role="auditor", clusters=("*",), by="test")
    async with served(world.app) as port, httpx.AsyncClient(timeout=10) as client:
        url = f"http://127.0.0.1:{port}/v1/facts/stream"
        headers = {"Authorization": f"Bearer {text}"}
        async with client.stream("GET", url, headers=headers) as answer:
            events = _events(answer.aiter_lines())
            await anext(events)
            await world.tokens.revoke(row.id, by="test")
            found = await _next_event(events, lambda e: e.get("event") == "end")
            assert json.loads(found["data"]) == {"code": "not_authenticated"}
        headers = {"Authorization": f"Bearer {await world.token('auditor')}"}
        async with client.stream("GET", url, headers=headers) as answer:
            events = _events(answer.aiter_lines())
            await anext(events)
            world.closing.set()
            assert [event async for event in events if event.get("event") == "end"] == []


async def test_streams_are_bounded_in_number(world, monkeypatch):
    """One more stream than there may be is 503 with a time to come back."""
    monkeypatch.setattr(facts, "MAX_STREAMS", 0)
    answer = await world.call("GET", "/v1/facts/stream")
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert int(answer.headers["retry-after"]) > 0


async def test_who_hangs_up_during_a_long_poll_is_not_waited_for(world):
    """A connection that is closed ends its wait, so that nothing is left behind."""
    await world.initialise()
    token = await world.token("node")
    async with served(world.app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        found = (await world.desired()).json()["generation"]
        target = f"/v1/clusters/orders/cookie?node=rabbit@a&generation={found}&wait=60s"
        head = f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        writer.write(head.encode())
        await asyncio.sleep(0.3)
        assert any(world.wakeups._waiting.values())
        writer.close()
        deadline = time.monotonic() + 3
        while any(world.wakeups._waiting.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        assert not any(world.wakeups._waiting.values())


async def test_readiness_names_each_part_and_since_when():
    """Ready is 200, degraded is 503, and each part says its own code without an address."""
    faults = [None, StoreSealed("vault at secret.host"), RuntimeError("secret.host")]

    async def good():
        return

    async def changing():
        if faults[0] is not None:
            raise faults[0]

    for fault, code in zip(faults, ("ok", "store_sealed", "internal"), strict=True):
        faults[0] = fault
        app = create_health_app({"state_store": good, "secrets_manager": changing}, now=lambda: NOW)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            alive, ready = await client.get("/healthz"), await client.get("/readyz")
        assert alive.status_code == 200
        assert ready.status_code == (200 if code == "ok" else 503)
        parts = ready.json()["parts"]
        assert parts["state_store"]["ok"] is True
        assert parts["secrets_manager"]["code"] == code
        assert parts["secrets_manager"]["since"] == "2026-11-23T06:45:00Z"
        assert "secret.host" not in ready.text
