"""The service as the agent asks it: whatever it answers, the agent gets sense or a clear error."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rotator.agent import server as module
from rotator.agent.server import Server
from rotator.errors import AgentRefused, ConfigurationError, ServiceAway
from rotator.protocol import v1
from tests.support.answers import HANG, desired, http, problem, serving
from tests.support.certificates import Authority

TOKEN = "CANARYTOKEN"
NODE = "n0@127.0.0.1"
REPORT = v1.Attestation(generation=3, at="2026-01-01T00:00:00+00:00", read_from="vm")
ATTESTED = {"generation": 3, "heartbeat_seconds": 15, "join": True}


def make(place: Path, port: int, *, scheme: str = "http", ca_cert: Path | None = None) -> Server:
    """An agent's side."""
    token_file = place / "token"
    if not token_file.exists():
        token_file.write_text(TOKEN + "\n")
    url = f"{scheme}://127.0.0.1:{port}"
    return Server(url=url, cluster="orders", token_file=token_file, ca_cert=ca_cert)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is found out in a moment."""
    monkeypatch.setattr(module, "_SECONDS", 0.3)


# --- sense ----------------------------------------------------------------------------------


async def test_desired_state_comes_as_it_is(tmp_path: Path) -> None:
    """The node's name, generation, wait and token are asked with, and the whole answer is decoded."""
    async with serving(lambda _: http(200, desired(unknown="kept out"))) as service:
        found = await make(tmp_path, service.port).desired(NODE, generation=2, wait=7)
    assert found is not None
    assert found.current == v1.NodeVersion(number=1, cookie="CANARYCURRENT")
    [head] = service.heads
    assert head.startswith(
        "GET /v1/clusters/orders/cookie?node=n0%40127.0.0.1&generation=2&wait=7s HTTP/1.1\r\n"
    )
    assert f"authorization: bearer {TOKEN}\r\n".lower() in head.lower()


async def test_nothing_new_is_none(tmp_path: Path) -> None:
    """304 means that the generation is still that one."""
    async with serving(lambda _: b"HTTP/1.1 304 X\r\n\r\n") as service:
        assert await make(tmp_path, service.port).desired(NODE, generation=3, wait=1) is None


async def test_reports_and_departures_are_told(tmp_path: Path) -> None:
    """An attestation is a PUT with the whole report, a departure a POST with its reason."""
    async with serving(lambda _: http(200, ATTESTED)) as service:
        server = make(tmp_path, service.port)
        assert (await server.attest(NODE, REPORT)).heartbeat_seconds == 15
        await server.leave(NODE, "gone")
    assert service.heads[0].startswith("PUT /v1/clusters/orders/nodes/n0%40127.0.0.1 ")
    assert service.heads[1].startswith("POST /v1/clusters/orders/nodes/n0%40127.0.0.1/leave ")
    assert service.bodies[0]["read_from"] == "vm"
    assert service.bodies[1] == {"reason": "gone"}


async def test_an_answer_in_chunks_is_put_together(tmp_path: Path) -> None:
    """Chunked transfer, and informational answers in front, are HTTP like any other."""
    body = http(200, desired()).split(b"\r\n\r\n", 1)[1]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    answer = b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(lambda _: answer + chunks + b"0\r\n\r\n") as service:
        assert await make(tmp_path, service.port).desired(NODE) is not None


async def test_the_token_is_read_anew_each_time(tmp_path: Path) -> None:
    """A token that is replaced in its place counts from the next call on."""
    async with serving(lambda _: http(200, desired())) as service:
        server = make(tmp_path, service.port)
        await server.desired(NODE)
        (tmp_path / "token").write_text("SECOND")
        await server.desired(NODE)
    assert "Bearer SECOND\r\n" in service.heads[1]


# --- nonsense -------------------------------------------------------------------------------

SECRETIVE = b'{"current": {"number": 1, "cookie": 7}, "x": "CANARY'

AWAY: dict[str, Callable[[], bytes | None]] = {
    "closed": lambda: b"",
    "cut in the head": lambda: b"HTTP/1.1 200 X\r\nContent-Le",
    "cut in the body": lambda: http(200, desired())[:-5],
    "cut in a chunk": lambda: b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{}",
    "endless head": lambda: b"HTTP/1.1 200 X\r\n" + b"X: y\r\n" * 100_000,
    "no HTTP": lambda: b"\x16\x03\x01CANARY\r\n\r\n" * 9,
    "SSH": lambda: b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "switches": lambda: b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "silent": lambda: HANG,
    "too large": lambda: http(200, b" " * (9 * 1024 * 1024)),
    "HTML": lambda: http(200, b"<html>CANARY</html>"),
    "cut JSON": lambda: http(200, SECRETIVE),
    "other JSON": lambda: http(200, ["CANARY"]),
    "wrong types": lambda: http(200, desired(current={"number": "1", "cookie": "CANARY"})),
    "missing": lambda: http(200, {"cluster": "CANARY"}),
    "deep JSON": lambda: http(200, b"[" * 100_000),
    "not UTF-8": lambda: http(200, b'{"cluster": "\xff\xfe"}'),
    "empty": lambda: http(200),
    "no content": lambda: b"HTTP/1.1 204 X\r\n\r\n",
    "503": lambda: problem(503, "leader_unknown", "wait"),
    "500": lambda: http(500, b"CANARY"),
    "502 of a proxy": lambda: http(502, b"<html>CANARY"),
    "404 of a proxy": lambda: http(404, b"<html>CANARY"),
    "problem that is none": lambda: http(403, {"code": None}),
    "problem not UTF-8": lambda: http(403, b'{"code": "\xff"}'),
}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("kind", list(AWAY))
async def test_an_answer_without_sense_is_a_service_that_is_away(kind: str, tmp_path: Path) -> None:
    """It is one error that shows neither what came nor the token, and the connection is closed."""
    async with serving(lambda _: AWAY[kind]()) as service:
        with pytest.raises(ServiceAway) as caught:
            await make(tmp_path, service.port).desired(NODE)
        assert "CANARY" not in str(caught.value) + repr(caught.value)
        assert caught.value.__context__ is None or caught.value.__suppress_context__
        await until(lambda: service.open == 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(status: int, tmp_path: Path) -> None:
    """The token goes to the place in the file and to no other."""
    async with serving(lambda _: http(200, desired())) as other:
        there = f"Location: http://127.0.0.1:{other.port}/"
        async with serving(lambda _: http(status, b"", there)) as service:
            with pytest.raises(ServiceAway, match=str(status)):
                await make(tmp_path, service.port).desired(NODE)
        assert other.heads == []


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "not_authenticated"), (403, "not_allowed"), (404, "not_found"), (409, "stale")],
)
async def test_a_refusal_says_what_the_service_says(status: int, code: str, tmp_path: Path) -> None:
    """A problem of the service is an error of its own kind, with its sentence on one line."""
    async with serving(
        lambda _: problem(status, code, "It is so.\n2026 ERROR \x1b[31mforged")
    ) as s:
        with pytest.raises(AgentRefused, match="It is so") as caught:
            await make(tmp_path, s.port).attest(NODE, REPORT)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_is_named_by_its_file_and_node(status: int, tmp_path: Path) -> None:
    """One host may have many; the token itself is not shown."""
    async with serving(lambda _: problem(status, "refused", "No.")) as service:
        with pytest.raises(AgentRefused) as caught:
            await make(tmp_path, service.port).desired(NODE)
    assert str(tmp_path / "token") in str(caught.value)
    assert NODE in str(caught.value)
    assert TOKEN not in str(caught.value)


async def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Neither the service nor its answer says which one was asked for."""
    async with serving(lambda _: problem(404, "not_found", "There is no such thing.")) as service:
        with pytest.raises(AgentRefused, match="no cluster orders there, or not in this token's"):
            await make(tmp_path, service.port).attest(NODE, REPORT)


async def test_nobody_at_home_is_away(tmp_path: Path) -> None:
    """A port where nobody listens is said with the service's place."""
    async with serving(lambda _: HANG) as service:
        port = service.port
    with pytest.raises(ServiceAway, match=f"127.0.0.1:{port}"):
        await make(tmp_path, port).desired(NODE)


async def test_a_long_poll_can_be_cancelled(tmp_path: Path) -> None:
    """Whoever stops the agent does not wait for the service, and leaves no connection."""
    async with serving(lambda _: HANG) as service:
        poll = asyncio.create_task(
            make(tmp_path, service.port).desired(NODE, generation=1, wait=300)
        )
        await until(lambda: service.heads)
        poll.cancel()
        with pytest.raises(asyncio.CancelledError):
            await poll
        await until(lambda: service.open == 0)


async def until(is_so: Callable[[], Any]) -> None:
    """Wait until it is."""
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.01)


# --- what is asked with ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n@h\r\nX-Evil: 1", "n@h HTTP/1.1", "../n@h?x#y", "né@h\x00"])
async def test_a_node_name_adds_nothing_to_a_request(name: str, tmp_path: Path) -> None:
    """Whatever a name holds stays one part of the path, and one value of the query."""
    async with serving(lambda _: http(200, ATTESTED)) as service:
        await make(tmp_path, service.port).attest(name, REPORT)
        with pytest.raises(ServiceAway):
            await make(tmp_path, service.port).desired(name)
    put, get = service.heads
    assert put.splitlines()[0].count("/") == 6
    assert len(put.split("\r\n")[0].split(" ")) == len(get.split("\r\n")[0].split(" ")) == 3
    assert "X-Evil:" not in put + get


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"a b", b"CANARY\r\nX-Evil: 1", b"\xff\xfe", b"CANARY\x00x", "é".encode()],
)
async def test_a_token_file_without_a_token_is_said_by_name(content: bytes, tmp_path: Path) -> None:
    """What cannot be a token is sent nowhere and shown nowhere; the file is named."""
    (tmp_path / "token").write_bytes(content)
    async with serving(lambda _: http(200, desired())) as service:
        with pytest.raises(AgentRefused, match="token") as caught:
            await make(tmp_path, service.port).desired(NODE)
    assert "CANARY" not in str(caught.value)
    assert service.heads == []


async def test_a_missing_token_file_is_said_by_name(tmp_path: Path) -> None:
    """The error names the file that is not there."""
    async with serving(lambda _: HANG) as service:
        server = make(tmp_path, service.port)
        (tmp_path / "token").unlink()
        with pytest.raises(AgentRefused, match=f"{tmp_path / 'token'} does not exist"):
            await server.desired(NODE)


@pytest.mark.parametrize(
    "url",
    [
        "", "h:1", "ftp://h:1", "http://", "http://:80", "http://u:CANARY@h", "http://:CANARY@h",
        "http://CANARY@h", "http://h:99999", "http://h:0", "http://h:x", "http://[::1", "http://h/v1",
        "http://h?q=1", "http://h#f", "http://h h", "http://h\n", "http://é", "http://" + "a" * 64,
    ],
)  # fmt: skip
def test_a_service_that_is_no_place_is_refused(url: str, tmp_path: Path) -> None:
    """Only scheme, host and port are wanted, and a password in it is not repeated."""
    with pytest.raises(ConfigurationError, match="service") as caught:
        Server(url=url, cluster="c", token_file=tmp_path, ca_cert=None)
    assert "CANARY" not in str(caught.value)


# --- TLS ------------------------------------------------------------------------------------


def tls(signed: Any) -> ssl.SSLContext:
    """The service's side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed.certificate, signed.key)
    return context


async def test_tls_is_verified(tmp_path: Path) -> None:
    """An authority that is not ours, and a certificate of another host, get no token; ours is spoken to."""
    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    good = ours.sign("good", address="127.0.0.1")
    elsewhere = ours.sign("elsewhere", address="127.0.0.9")
    foreign = other.sign("foreign", address="127.0.0.1")
    for signed in (foreign, elsewhere):
        async with serving(lambda _: http(200, desired()), tls=tls(signed)) as service:
            server = make(tmp_path, service.port, scheme="https", ca_cert=ours.certificate)
            with pytest.raises(ServiceAway, match="SSL"):
                await server.desired(NODE)
            assert service.heads == []
    async with serving(lambda _: http(200, desired()), tls=tls(good)) as service:
        server = make(tmp_path, service.port, scheme="https", ca_cert=ours.certificate)
        assert await server.desired(NODE) is not None


def test_a_ca_cert_that_is_none_is_said_by_name(tmp_path: Path) -> None:
    """A missing file, and one without certificates, are errors of the configuration."""
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("none.pem", "empty.pem"):
        with pytest.raises(ConfigurationError, match=name):
            make(tmp_path, 1, scheme="https", ca_cert=tmp_path / name)
