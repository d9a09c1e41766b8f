"""Poll, look and tell, against whatever the service does; nothing spins, nothing ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rotator.agent import runner
from rotator.agent.boot_files import BootFormat
from rotator.agent.decide import Memory
from rotator.agent.files import NodeFiles
from rotator.agent.loop import NodeAgent, Outcome
from rotator.agent.runner import Runner
from rotator.agent.server import Server
from rotator.agent.settings import NodeSettings
from rotator.domain.cookie import Cookie
from rotator.domain.ids import ClusterUid, NodeName
from tests.support.answers import HANG, Service, desired, http, problem, serving
from tests.support.openbao import free_port

ME = NodeName("n0@127.0.0.1")


class Script:
    """A service that knows what to say to polls and to reports."""

    def __init__(self) -> None:
        self.poll: Callable[[str], bytes | None] = self.wait
        self.report = attested(15)
        self.now = desired()

    def wait(self, head: str) -> bytes | None:
        """As the service does: desired state, then silence until it changes."""
        is_known = f"generation={self.now['generation']}&" in head
        return HANG if is_known else http(200, self.now)

    def __call__(self, head: str) -> bytes | None:
        """Poll or report."""
        return self.poll(head) if head.startswith("GET") else self.report


def attested(seconds: float) -> bytes:
    """The answer to a report."""
    return http(200, {"generation": 3, "heartbeat_seconds": seconds, "join": True})


class Running:
    """A runner of a node whose VM is down, and what can be seen of it."""

    def __init__(self, place: Path, agent: NodeAgent, service: Service, script: Script) -> None:
        self.place, self.agent, self.service, self.script = place, agent, service, script

    def status(self) -> str:
        """The text of the status file."""
        path = self.place / f"{ME}.status.json"
        return path.read_text() if path.exists() else ""

    async def until(self, is_so: Callable[[], Any]) -> None:
        """Wait until it is; the runner must not have ended."""
        async with asyncio.timeout(60):
            while not is_so():
                assert not self.task.done()
                await asyncio.sleep(0.01)

    task: asyncio.Task[None]


@asynccontextmanager
async def running(
    place: Path, script: Script, *, before: Callable[[NodeAgent], None] = lambda _: None
) -> AsyncIterator[Running]:
    """Run it until the end of the block."""
    (place / "token").write_text("CANARYTOKENOFTHENODE")
    files = NodeFiles(cookie_file=place / "c", boot_file=place / "b", boot_format=BootFormat.ERL)
    if not files.cookie_file.exists():
        files.write_cookie(Cookie("CANARYCURRENT"))
    settings = NodeSettings(name=ME, files=files, port=free_port())
    async with serving(script) as service:
        url = f"http://127.0.0.1:{service.port}"
        server = Server(url=url, cluster="orders", token_file=place / "token", ca_cert=None)
        agent = NodeAgent(settings, state_dir=place)
        before(agent)
        made = Running(place, agent, service, script)
        made.task = asyncio.create_task(Runner(agent, server, state_dir=place).run())
        try:
            yield made
        finally:
            made.task.cancel()
            await asyncio.gather(made.task, return_exceptions=True)
            await agent.close()


async def test_orders_are_taken_obeyed_and_told(tmp_path: Path) -> None:
    """A new generation is asked for, remembered, done and attested, and then nothing more is said."""
    async with running(tmp_path, Script()) as here:
        await here.until(lambda: here.service.bodies)
        assert here.agent.memory.generation == 3
        assert {body["generation"] for body in here.service.bodies} == {3}
        await here.until(lambda: any("generation=3&wait=60s" in h for h in here.service.heads))
    assert "CANARY" not in json.dumps(here.service.bodies)


async def test_another_adoption_is_known_with_the_answer_to_a_report(tmp_path: Path) -> None:
    """A setting makes no new generation, and nobody adopts where nodes are restarted by now."""
    script = Script()
    async with running(tmp_path, script) as here:
        await here.until(lambda: here.agent.orders is not None)
        said = {"generation": 3, "heartbeat_seconds": 0.1, "join": True, "adoption": "restart"}
        script.report = http(200, said)
        await here.until(lambda: here.agent.orders is not None and here.agent.orders.restarts)
        script.report = attested(0.1)
        await here.until(lambda: here.agent.orders is not None and not here.agent.orders.restarts)


async def test_before_init_the_agent_says_that_it_is_here(tmp_path: Path) -> None:
    """A cluster without a version wants nothing, and gets the sign of life of its node."""
    script = Script()
    script.now = desired(generation=0, current=None, cluster_uid=None, fingerprint_key=None)
    async with running(tmp_path, script) as here:
        await here.until(lambda: here.service.bodies)
        assert here.service.bodies[0]["own"] is None
        assert here.agent.settings.files.read_boot() is None


async def test_a_heartbeat_is_told_though_nothing_changed(tmp_path: Path) -> None:
    """The service hears of the node as often as it wants to."""
    script = Script()
    script.report = attested(0.1)
    async with running(tmp_path, script) as here:
        await here.until(lambda: here.service.count("PUT") >= 4)
        bodies = [{**body, "at": ""} for body in here.service.bodies]
        assert bodies[-1] == bodies[-2]


async def test_the_agent_mends_files_while_the_service_is_away(tmp_path: Path) -> None:
    """Orders outlive the service: a cookie file that was set by hand is set back without it."""
    script = Script()
    script.report = attested(0.1)
    async with running(tmp_path, script) as here:
        await here.until(lambda: here.service.bodies)
        script.report = problem(503, "sealed")
        await here.until(lambda: "sealed" in here.status())
        here.agent.settings.files.write_cookie(Cookie("SETBYHAND"))
        await here.until(lambda: here.agent.settings.files.read_cookie() == Cookie("CANARYCURRENT"))
        script.report = attested(0.1)
        await here.until(lambda: "sealed" not in here.status())


async def test_a_generation_that_goes_backwards_is_refused_and_said(tmp_path: Path) -> None:
    """A service that was set back is not obeyed: no file changes, and the status says why."""

    def before(agent: NodeAgent) -> None:
        agent.memory = Memory(generation=9)

    script = Script()
    script.now = desired(current={"number": 1, "cookie": "CANARYSETBACK"})
    async with running(tmp_path, script, before=before) as here:
        await here.until(lambda: "set back" in here.status())
        assert here.agent.orders is None
        assert here.agent.memory.generation == 9
        assert here.agent.settings.files.read_cookie() == Cookie("CANARYCURRENT")
        assert not here.agent.settings.files.boot_file.exists()


async def test_another_cluster_begins_to_count_anew(tmp_path: Path) -> None:
    """A cluster that was made again has another uid: its first generation is obeyed."""

    def before(agent: NodeAgent) -> None:
        agent.memory = Memory(generation=9, cluster_uid=ClusterUid("11" * 16))

    script = Script()
    async with running(tmp_path, script, before=before) as here:
        await here.until(lambda: here.agent.orders is not None)
        assert here.agent.memory.generation < 9
        assert here.agent.memory.cluster_uid != ClusterUid("11" * 16)


@pytest.mark.parametrize(
    "answer",
    [
        problem(401, "not_authenticated", "A valid token is needed."),
        problem(403, "not_allowed", "No."),
    ],
)
async def test_a_revoked_token_is_shown_and_does_not_spin(answer: bytes, tmp_path: Path) -> None:
    """Every call is refused: the status says so, the log once, and calls are few."""
    script = Script()
    script.poll, script.report = (lambda _: answer), answer
    async with running(tmp_path, script) as here:
        await here.until(lambda: "the service refuses" in here.status())
        before = len(here.service.heads)
        await asyncio.sleep(1.0)  # how often it asks within a time is the question itself
        assert len(here.service.heads) - before <= 8
        assert "CANARY" not in here.status()


async def test_a_refused_report_waits_for_the_heartbeat(tmp_path: Path) -> None:
    """409 is told again at the heartbeat and no sooner, while orders go on coming."""
    script = Script()
    script.report = problem(409, "stale_generation", "It is older.")
    async with running(tmp_path, script) as here:
        await here.until(lambda: "It is older" in here.status())
        before = here.service.count("PUT")
        await asyncio.sleep(1.5)  # as above
        assert here.service.count("PUT") - before <= 2


async def test_a_service_that_does_not_wait_is_not_spun_on(tmp_path: Path) -> None:
    """Answers that come at once, with nothing new in them, are asked for a few times a second."""
    script = Script()
    for answer in (http(200, script.now), b"HTTP/1.1 304 X\r\n\r\n"):
        script.poll = lambda head, answer=answer: (
            answer if "generation=" in head else http(200, script.now)
        )
        async with running(tmp_path, script) as here:
            await here.until(lambda: here.service.count("GET") >= 2)
            before = here.service.count("GET")
            await asyncio.sleep(1.0)  # as above
            assert here.service.count("GET") - before <= 4


async def test_a_defect_in_a_look_ends_nothing_and_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it happened is logged and never what it says, the status names it, and the next look goes on."""
    looks, secret = 0, "CANARY" + "COOKIE"
    whole = NodeAgent.look

    async def look(self: NodeAgent) -> Outcome:
        nonlocal looks
        looks += 1
        if looks < 3:
            raise KeyError(secret)
        return await whole(self)

    monkeypatch.setattr(runner, "_AFTER_FAILURE", 0.05)
    monkeypatch.setattr(NodeAgent, "look", look)
    async with running(tmp_path, Script()) as here:
        await here.until(lambda: looks >= 1 and "a defect" in here.status())
        await here.until(lambda: looks >= 3 and "a defect" not in here.status())
    assert "unexpected KeyError" in caplog.text
    assert "test_runner.py" in caplog.text
    assert secret not in caplog.text


async def test_a_memory_that_cannot_be_stored_is_told(tmp_path: Path) -> None:
    """Orders that cannot be remembered are an error with the file's name, asked for again, not an end."""
    (tmp_path / f"{ME}.memory").mkdir()
    script = Script()

    def load(_: object) -> Memory:
        return Memory()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rotator.agent.memory.load", load)
        async with running(tmp_path, script) as here:
            await here.until(lambda: "memory cannot be written" in here.status())
            (tmp_path / f"{ME}.memory").rmdir()
            await here.until(lambda: here.agent.memory.generation == 3)
            await here.until(lambda: "memory cannot be written" not in here.status())


async def test_leaving_a_service_that_is_away_does_not_keep_the_agent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The node goes for good in any case, and the log says that nobody was told."""
    script = Script()
    async with running(tmp_path, script) as here:
        token_file = tmp_path / "token"
        server = Server(
            url=f"http://127.0.0.1:{free_port()}", cluster="c", token_file=token_file, ca_cert=None
        )
        await runner.leave(here.agent, server)
    assert "could not leave" in caplog.text


async def test_evidence_that_is_not_read_any_more_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that hangs lets the node fall silent: the last report is not sent again as if it were new."""
    monkeypatch.setattr(runner, "_STALE_AFTER", 0.2)
    script = Script()
    script.report = attested(0.1)
    async with running(tmp_path, script) as here:
        await here.until(lambda: here.service.bodies)
        hangs = asyncio.Event()

        async def look() -> Outcome:
            hangs.set()
            return await asyncio.Future()

        monkeypatch.setattr(here.agent, "look", look)
        await asyncio.wait_for(hangs.wait(), 60)
        await asyncio.sleep(0.6)
        told = len(here.service.bodies)
        await asyncio.sleep(0.5)
        assert len(here.service.bodies) == told


async def test_a_vm_that_goes_is_looked_at_at_once_and_not_spun_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No heartbeat is waited for; where the connection ends at every look, looks stay few."""
    looks, gone = 0, asyncio.Event()

    async def look(self: NodeAgent) -> Outcome:
        nonlocal looks
        looks += 1
        return Outcome(report=None, next_look=float("inf"), is_settled=True)

    async def wait_gone(self: NodeAgent) -> None:
        await gone.wait()

    monkeypatch.setattr(NodeAgent, "look", look)
    monkeypatch.setattr(NodeAgent, "wait_gone", wait_gone)
    async with running(tmp_path, Script()) as here:
        await here.until(lambda: here.agent.orders is not None)
        await asyncio.sleep(0.2)  # the looks at new orders
        before = looks
        gone.set()
        await here.until(lambda: looks > before)
        before = looks
        await asyncio.sleep(2.0)  # how often it looks within a time is the question itself
        assert looks - before <= 4
