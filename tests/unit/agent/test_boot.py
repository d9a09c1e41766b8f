"""Before a node starts: its two files, and the word that it may join."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rotator.agent import boot as module
from rotator.agent.boot import files_for, prepare
from rotator.agent.boot_files import BootFormat
from rotator.agent.decide import Boot, Seen
from rotator.agent.files import NodeFiles
from rotator.agent.server import Server
from rotator.agent.settings import NodeSettings
from rotator.domain.cookie import Cookie
from rotator.errors import BootRefused
from tests.support.agents import ALIEN, ME, NEW, OLD, B, C, orders
from tests.support.answers import Say, desired, http, problem, serving
from tests.support.openbao import free_port

CURRENT = {"number": 2, "cookie": "CANARYCURRENT"}
PREVIOUS = {"number": 1, "cookie": "CANARYPREVIOUS"}


def node(place: Path) -> NodeSettings:
    """Its files in one directory."""
    files = NodeFiles(cookie_file=place / "c", boot_file=place / "b", boot_format=BootFormat.ERL)
    return NodeSettings(name=ME, files=files)


async def prepared(place: Path, say: Say | None, *, patience: float = 60) -> str:
    """What `agent boot` says, with this service, or none."""
    (place / "token").write_text("CANARYTOKEN")

    async def at(port: int) -> str:
        url = f"http://127.0.0.1:{port}"
        server = Server(url=url, cluster="orders", token_file=place / "token", ca_cert=None)
        return await prepare(node(place), server, patience=patience)

    if say is None:
        return await at(free_port())
    async with serving(say) as service:
        try:
            return await at(service.port)
        finally:
            assert "CANARY" not in json.dumps(service.bodies)


def saying(join: Callable[[], bool] = lambda: True, **changes: Any) -> Say:
    """A service with these orders."""
    given = {"current": CURRENT, "members": {B: "live", C: "live"}, **changes}

    def say(head: str) -> bytes:
        if head.startswith("GET"):
            is_known = "generation=3&" in head
            return b"HTTP/1.1 304 X\r\n\r\n" if is_known else http(200, desired(**given))
        return http(200, {"generation": 3, "heartbeat_seconds": 15, "join": join()})

    return say


def test_each_peer_gets_what_it_uses_for_this_node() -> None:
    """What the peer attested counts first, then the boot file if that is still accepted, then current."""
    found = Seen(own=None, boot=Boot(pins={B: OLD, C: OLD}))
    boot, is_there = files_for(orders(pairs={B: NEW}), found)
    assert (boot, is_there) == (Boot(own=NEW, pins={B: NEW, C: OLD}), False)
    stale = Seen(own=None, file=NEW, boot=Boot(pins={B: ALIEN, C: ALIEN}))
    boot, _ = files_for(orders(), stale)
    assert boot.pins == {B: NEW, C: NEW}


def test_files_that_are_right_are_left_alone() -> None:
    """Nothing is written where both files are as they shall be."""
    right = Seen(own=None, file=NEW, boot=Boot(pins={B: NEW, C: NEW}))
    assert files_for(orders(), right)[1]
    for changes in ({"file": OLD}, {"file": None}, {"boot": None}, {"boot": Boot(pins={B: NEW})}):
        given = {"file": right.file, "boot": right.boot, **changes}
        assert not files_for(orders(), Seen(own=None, **given))[1]  # type: ignore[arg-type]


async def test_files_are_written_and_the_node_may_join(tmp_path: Path) -> None:
    """The node boots with current, and with what each peer last attested."""
    said = await prepared(tmp_path, saying(previous=PREVIOUS, pairs={B: 1}))
    assert "2 pins" in said
    files = node(tmp_path).files
    assert files.read_cookie() == Cookie("CANARYCURRENT")
    boot = files.read_boot()
    assert boot is not None
    assert boot.pins == {B: Cookie("CANARYPREVIOUS"), C: Cookie("CANARYCURRENT")}


async def test_a_node_waits_until_it_may_join(tmp_path: Path) -> None:
    """Not the first answer counts but the one that says join."""
    answers = iter([False, False, True])
    await prepared(tmp_path, saying(lambda: next(answers)))
    assert next(answers, None) is None


async def test_a_node_that_may_not_join_does_not_boot(tmp_path: Path) -> None:
    """When its patience is over, the end says why and what to look at."""
    with pytest.raises(BootRefused, match=r"may not join yet.*rolling_out.*rotator status"):
        await prepared(tmp_path, saying(lambda: False, phase="rolling_out"), patience=0.1)


async def test_nothing_is_written_while_an_emergency_locks(tmp_path: Path) -> None:
    """What is current in a lock is what leaked."""
    say = saying(lock={"round": 1, "emergency": "e1"}, phase="locking")
    with pytest.raises(BootRefused, match="locking"):
        await prepared(tmp_path, say, patience=0.1)
    assert not (tmp_path / "c").exists()
    assert not (tmp_path / "b").exists()


async def test_before_init_a_node_boots_as_it_is(tmp_path: Path) -> None:
    """A cluster without a version has no say in it."""
    assert "no version yet" in await prepared(tmp_path, saying(current=None))
    assert not (tmp_path / "c").exists()


async def test_a_service_that_is_away_keeps_no_node_with_files_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are there have to do, and without them the end is clear."""
    monkeypatch.setattr(module, "_AWAY", 0.1)
    with pytest.raises(BootRefused, match="no files to boot"):
        await prepared(tmp_path, None)
    files = node(tmp_path).files
    files.write_cookie(Cookie("MINE"))
    with pytest.raises(BootRefused):
        await prepared(tmp_path, None)
    files.write_boot(Boot(pins={}))
    assert "files that are there" in await prepared(tmp_path, None)
    assert files.read_cookie() == Cookie("MINE")


def refusing(head: str) -> bytes:
    """A service to which the token is none, any more."""
    assert head
    return problem(401, "not_authenticated", "A valid token is needed.")


async def test_a_token_that_is_refused_keeps_no_node_with_files_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Expired or revoked, it is as if the service were away: said loudly, and the files are as they were."""
    monkeypatch.setattr(module, "_AWAY", 0.1)
    with pytest.raises(BootRefused, match=r"valid token.*no files to boot"):
        await prepared(tmp_path, refusing)
    assert caplog.records == []
    files = node(tmp_path).files
    files.write_cookie(Cookie("MINE"))
    files.write_boot(Boot(pins={B: OLD}))
    assert "files that are there" in await prepared(tmp_path, refusing)
    [told] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "WITHOUT THE SERVICE'S WORD" in told.getMessage()
    assert "A valid token is needed" in told.getMessage()
    assert (files.read_cookie(), files.read_boot()) == (Cookie("MINE"), Boot(pins={B: OLD}))


async def test_a_token_that_is_not_there_keeps_no_node_with_files_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The place of the token is named in the log, and without files the end is clear."""
    monkeypatch.setattr(module, "_AWAY", 0.1)
    async with serving(refusing) as service:
        url = f"http://127.0.0.1:{service.port}"
        server = Server(url=url, cluster="orders", token_file=tmp_path / "none", ca_cert=None)
        with pytest.raises(BootRefused, match=r"none does not exist.*no files to boot"):
            await prepare(node(tmp_path), server, patience=60)
        node(tmp_path).files.write_cookie(Cookie("MINE"))
        node(tmp_path).files.write_boot(Boot(pins={}))
        assert "files that are there" in await prepare(node(tmp_path), server, patience=60)
    assert "none does not exist" in caplog.text


async def test_not_now_stays_an_error_for_a_node_with_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that answers has the last word, however long it says so."""
    monkeypatch.setattr(module, "_AWAY", 0.0)
    files = node(tmp_path).files
    files.write_cookie(Cookie("MINE"))
    files.write_boot(Boot(pins={}))
    with pytest.raises(BootRefused, match="may not join yet"):
        await prepared(tmp_path, saying(lambda: False), patience=0.3)


async def test_one_answer_that_fails_is_not_taken_for_a_service_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Time without a word counts from the last answer: a node that was told to wait goes on waiting."""
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    now = 0.0
    monkeypatch.setattr(module, "_now", lambda: now)
    asked = 0

    def say(head: str) -> bytes:
        nonlocal asked, now
        asked += head.startswith("GET")
        if asked == 2:  # As if it had been told to wait for long.
            now = 2 * module._AWAY
        if asked == 3:
            return problem(503, "unavailable", "A moment.")
        return saying(lambda: asked > 3)(head)

    assert "2 pins" in await prepared(tmp_path, say)
    assert "WITHOUT" not in caplog.text


async def test_a_boot_can_be_stopped(tmp_path: Path) -> None:
    """Whoever stops the start of the node does not wait for its patience."""
    waiting = asyncio.create_task(prepared(tmp_path, saying(lambda: False)))
    async with asyncio.timeout(60):
        while not (tmp_path / "c").exists():
            await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_peers_use_meanwhile_is_asked_anew_and_a_conflict_is_no_end(
    tmp_path: Path,
) -> None:
    """Pairs change without a new generation, and a report that came too late is sent again."""
    asked = 0

    def say(head: str) -> bytes:
        nonlocal asked
        if head.startswith("GET"):
            asked += 1
            pairs = {B: 1 if asked < 3 else 2}
            return http(
                200, desired(current=CURRENT, previous=PREVIOUS, members={B: "live"}, pairs=pairs)
            )
        if asked == 1:
            return http(409, {"code": "stale_generation", "detail": "too late"})
        return http(200, {"generation": 3, "heartbeat_seconds": 15, "join": asked >= 3})

    await prepared(tmp_path, say)
    assert (tmp_path / "b").read_text().splitlines()[1:] == [f"-setcookie {B} CANARYCURRENT"]
