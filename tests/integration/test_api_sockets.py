from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from contextlib import suppress

import httpx
import pytest

from rotator.api.certificate import Tls
from rotator.api.doors import Doors
from rotator.api.limits import DeadlineProtocol
from rotator.api.routes import facts
from rotator.api.routes.health import create_health_app
from rotator.errors import StoreSealed
from rotator.testing.factories import NOW
from tests.support.api import a_world, served
from tests.support.certificates import Authority


class Hasty(DeadlineProtocol):
    head_deadline = 0.4


def hasty(doors=None, **deadlines):
    """A protocol with doors of its own, and with deadlines short enough to wait for."""
    short = dict.fromkeys(
        ("tls_deadline", "head_deadline", "body_deadline", "idle_deadline", "taking_deadline"), 0.8
    )
    return type("Hasty", (DeadlineProtocol,), {"doors": doors or Doors(), **short, **deadlines})


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


HALF_OPEN = {
    "nothing at all": b"",
    "the first word": b"GET",
    "half a head": b"GET /v1/clusters HTTP/1.1\r\nHost: x\r\nX-A: ",
    "half a body": b"POST /v1/clusters/orders/init HTTP/1.1\r\nHost: x\r\n"
    b"Authorization: Bearer %s\r\nContent-Length: 99\r\n\r\n{",
    "half a chunk": b"POST /v1/clusters/orders/init HTTP/1.1\r\nHost: x\r\n"
    b"Authorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{",
    "half a body of a stranger": b"POST /v1/clusters/orders/init HTTP/1.1\r\nHost: x\r\n"
    b"Content-Length: 99\r\n\r\n{",
    "empty lines after an answer": b"GET /v1/clusters HTTP/1.1\r\nHost: x\r\n\r\n\r\n",
}


async def _until(condition, what, *, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


def _unread(port):
    """A socket that takes next to nothing, and whose answers nobody reads."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", port))
    return made


@pytest.mark.parametrize("kind", HALF_OPEN)
async def test_half_open_connections_are_gone_after_their_deadline(world, kind):
    """Whatever it is that a peer leaves half done, it is cut, while others are served."""
    token = (await world.token("admin")).encode()
    sent = HALF_OPEN[kind].replace(b"%s", token)
    protocol = hasty()
    async with served(world.app, protocol) as port:
        opened = [_unread(port) for _ in range(40)]
        for one in opened:
            one.sendall(sent)
        await _until(lambda: protocol.doors.open == len(opened), "all are in")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/openapi.json")).status_code == 200
        await _until(lambda: not protocol.doors.open, "all are cut")
        for one in opened:
            one.close()
        assert (await world.call("GET", "/v1/clusters/orders")).json()["state"] == "uninitialised"


async def test_bytes_after_an_answer_do_not_keep_a_connection(world):
    """A body that goes on dripping after its request was refused is cut like any other."""
    protocol = hasty()
    async with served(world.app, protocol) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HALF_OPEN["half a body of a stranger"])
        assert b" 401 " in await reader.readuntil(b"\r\n\r\n")

        def drip():
            writer.write(b" ")
            return not protocol.doors.open

        await _until(drip, "it is cut")
        writer.close()


async def test_who_asks_on_and_reads_nothing_is_cut(world):
    """A peer that takes none of its answers is cut once they fill what is kept for it."""
    protocol = hasty()
    async with served(world.app, protocol) as port:
        one = _unread(port)
        await _until(lambda: protocol.doors.open, "it is in")

        def ask():
            with suppress(OSError):
                one.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", socket.MSG_DONTWAIT)
            return not protocol.doors.open

        await _until(ask, "it is cut")
        one.close()


async def test_a_pipelined_request_is_not_begun(world):
    """Who sends a second request before the first is answered gets one answer, and may ask again."""
    token = (await world.token("admin")).encode()
    known = b"Host: x\r\nAuthorization: Bearer %s\r\n" % token
    init = b"POST /v1/clusters/orders/init HTTP/1.1\r\n%sContent-Length: 2\r\n\r\n{}" % known
    async with served(world.app, hasty()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/clusters/orders HTTP/1.1\r\n" + known + b"\r\n" + init * 20)
        answer = await asyncio.wait_for(reader.read(), 30)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        writer.close()
    assert (await world.call("GET", "/v1/clusters/orders")).json()["state"] == "uninitialised"


async def test_a_connection_without_a_handshake_of_tls_is_cut(world, tmp_path):
    """Whoever connects to the port of TLS and says nothing is cut, while others are served."""
    authority = Authority(tmp_path, "ca")
    signed = authority.sign("service", address="127.0.0.1")
    tls = Tls(certificate=signed.certificate, key=signed.key)
    async with served(world.app, hasty(), tls=tls) as port:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        trusted = ssl.create_default_context(cafile=str(authority.certificate))
        async with httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{port}", verify=trusted
        ) as client:
            assert (await client.get("/openapi.json")).status_code == 200
        assert all(await asyncio.gather(*(_is_closed(reader, within=30) for reader, _ in opened)))
        for _, writer in opened:
            writer.close()


async def test_a_renewed_certificate_is_shown_without_a_restart(world, tmp_path, caplog):
    """As cert-manager replaces it; half of a pair is not taken, and open connections go on."""
    authority = Authority(tmp_path, "ca")
    first = authority.sign("service", address="127.0.0.1")
    before = first.certificate.read_text()
    tls = Tls(certificate=first.certificate, key=first.key)
    async with served(world.app, hasty(tls_deadline=60.0, head_deadline=60.0), tls=tls) as port:

        async def shown() -> str:
            return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))

        trusted = ssl.create_default_context(cafile=str(authority.certificate))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted)
        assert await shown() == before
        second = authority.sign("renewed", address="127.0.0.1")
        second.certificate.replace(first.certificate)
        await _until(lambda: "certificate not taken" in caplog.text, "half of it was looked at")
        assert await shown() == before
        caplog.clear()
        second.key.replace(first.key)
        with caplog.at_level("INFO"):
            await _until(lambda: "certificate read again" in caplog.text, "it was taken")
        assert await shown() == first.certificate.read_text() != before
        writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(12), 30)) == b"HTTP/1.1 200"
        writer.close()


async def test_what_is_no_http_is_refused_with_a_problem(world):
    """Bytes that cannot be a request are answered once, and their connection ends."""
    protocol = hasty()
    async with served(world.app, protocol) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        head, _, body = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(body)["code"] == "malformed_head"
        writer.close()


async def test_a_long_poll_outlives_the_deadlines_of_connections(world):
    """A request that is being answered is cut by none of them."""
    await world.initialise()
    generation = (await world.desired()).json()["generation"]
    headers = {"Authorization": f"Bearer {await world.token('node')}"}
    async with served(world.app, hasty()) as port, httpx.AsyncClient(headers=headers) as client:
        url = f"http://127.0.0.1:{port}/v1/clusters/orders/cookie?node=rabbit@a"
        answer = await client.get(f"{url}&generation={generation}&wait=2s", timeout=30)
    assert answer.status_code == 304


async def test_more_connections_from_an_address_than_it_may_have_are_refused(world):
    """One too many is 429 with a time to come back, and is let in once another is gone."""
    protocol = hasty(Doors(per_address=2), head_deadline=60.0)
    async with served(world.app, protocol) as port:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await _until(lambda: protocol.doors.open == 2, "two are in")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head, _, body = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: " in head
        assert json.loads(body)["code"] == "too_many_connections"
        writer.close()
        opened[0][1].close()
        await _until(lambda: protocol.doors.open == 1, "one has gone")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/openapi.json")).status_code == 200
        opened[1][1].close()


async def test_where_doors_make_room_a_probe_is_answered_however_many_only_stay(world):
    """The oldest idle connection goes for it; the others, and what is counted, stay as they are."""
    protocol = hasty(Doors(per_address=2, makes_room=True), head_deadline=60.0, idle_deadline=60.0)
    async with served(world.app, protocol) as port:
        opened = []
        for count in (1, 2):
            opened.append(await asyncio.open_connection("127.0.0.1", port))
            await _until(lambda count=count: protocol.doors.open == count, "it is in")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/openapi.json", timeout=30)).status_code == 200
        assert await _is_closed(opened[0][0], within=30)
        await _until(lambda: protocol.doors.open == 1, "the younger one is left")
        opened[1][1].write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(opened[1][0].read(), 30)
        assert answer.startswith(b"HTTP/1.1 200 ")
        await _until(lambda: not protocol.doors.open, "all have gone")
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
            without = await client.get("/readyz?exclude=secrets_manager")
        assert alive.status_code == 200
        assert ready.status_code == (200 if code == "ok" else 503)
        assert without.status_code == 200
        parts = ready.json()["parts"]
        assert parts["state_store"]["ok"] is True
        assert parts["secrets_manager"]["code"] == code
        assert parts["secrets_manager"]["since"] == "2026-11-23T06:45:00Z"
        assert "secret.host" not in ready.text
