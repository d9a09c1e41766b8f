"""A cluster that has been through rotations, copies of both stores from on the way, and the ways back."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from rotator.adapters.secret_stores import recovery_file
from rotator.cli.commands import rebuilding
from rotator.domain.cookie import Cookie
from rotator.domain.ids import ClusterName
from rotator.errors import AnotherProcess
from tests.support import canary
from tests.support.keeps import Keep
from tests.support.service import Service, wait_for

CLUSTER = "orders"
NODE = "rabbit@a"
PASSPHRASE = "a passphrase of the tests"
PLAIN = {"grace_window": "0", "lock_timeout": "1s", "members": {"expect": "none"}}
#: Before which write the service dies while it is in this moment of its rotation.
MOMENTS = {
    "staged": "S2:before:kill",
    "installing": "S3:before:kill",
    "promoting": "S4:before:kill",
    "rolling_out": "S5:before:kill",
    "retiring": "K3:before:kill",
}


@dataclass
class Reader:
    """A node that obeys no generation that goes backwards, as an agent does."""

    world: World
    generation: int = 0
    refused: int = 0  #: answers that were from an earlier time
    numbers: list[int] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)

    def ask(self) -> httpx.Response:
        """One poll; what is obeyed is kept, and must be of no earlier time."""
        path = f"clusters/{CLUSTER}/cookie?node={NODE}"
        if self.generation:
            path += f"&generation={self.generation}"
        token = self.world.service.token("node", nodes=NODE)
        answer = self.world.service.request("GET", path, token=token)
        if answer.status_code == httpx.codes.OK:
            self._take(answer.json())
        return answer

    def _take(self, desired: dict[str, Any]) -> None:
        if desired["generation"] < self.generation:
            self.refused += 1
            return
        self.generation = desired["generation"]
        served = [v for v in (desired["current"], desired["previous"]) if v is not None]
        for version in served:
            assert version["cookie"] not in self.world.over, "a cookie that is over was served"
        current = desired["current"]
        if not self.numbers or current["number"] != self.numbers[-1]:
            assert current["number"] > max(self.numbers, default=0), "a version came back"
            self.numbers.append(current["number"])
            self.cookies.append(current["cookie"])

    def attest(self) -> httpx.Response:
        """Report the cookie that was obeyed last, as an agent does that was not restarted."""
        own = self.world.fingerprint(self.cookies[-1])
        report = {
            "generation": self.generation,
            "at": "2026-01-01T00:00:00+00:00",
            "read_from": "vm",
            "holds": {str(self.numbers[-1]): own},
            "uses": self.numbers[-1],
            "own": own,
            "file": own,
            "agent": "fake",
        }
        token = self.world.service.token("node", nodes=NODE)
        path = f"clusters/{CLUSTER}/nodes/{NODE}"
        return self.world.service.request("PUT", path, token=token, json=report)


@dataclass
class World:
    """One service, what it was at each moment of its first rotation, and what it is now."""

    service: Service
    secrets: Keep
    state: Keep
    open: Callable[[], Any]
    moments: dict[str, tuple[Callable[[], None], Callable[[], None]]] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)  #: cookies that are retired or revoked
    uid: str = ""
    key: str = ""
    revoked: int = 0  #: tokens, by the last recovery
    why: dict[str, str] = field(default_factory=dict)  #: of the last rederiving

    @property
    def file(self) -> Path:
        """The recovery file, made at the end of its life."""
        return self.service.directory / "cookies.recovery"

    def fingerprint(self, cookie: str) -> str:
        """As the service computes it."""
        return Cookie(cookie).fingerprint(base64.b64decode(self.key), self.uid)

    def save(self) -> tuple[Callable[[], None], Callable[[], None]]:
        """Copies of state and secrets."""
        return self.state.save(), self.secrets.save()

    def document(self) -> dict[str, Any] | None:
        """The cluster's document as it is stored, numbers and cookies."""

        async def read() -> Any:
            stores = self.open()
            try:
                stored = await stores.cookies.read(ClusterName(CLUSTER))
            finally:
                await stores.close()
            return stored

        stored = asyncio.run(read())
        if stored is None:
            return None
        found = stored.document
        return {
            "current": found.current.number,
            "cookie": found.current.cookie.reveal(),
            "last_version": found.last_version,
            "generation": found.stamp.generation,
            "fence": found.stamp.fence,
            "versions": {v.number: v.cookie.reveal() for v in found.versions()},
        }

    def run(
        self, *words: str, text: str = "", failpoints: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A command on the server."""
        environment = {**os.environ, **self.service.environment}
        if failpoints:
            environment["ROTATOR_FAILPOINTS"] = failpoints
        command = [sys.executable, "-m", "rotator", *words, "--config", str(self.service.config)]
        return subprocess.run(
            [*command, "-o", "json"],
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=environment,
        )

    def recover(self, *, is_dry: bool = False) -> list[dict[str, Any]]:
        """What `rotator recover` does, without a process of its own; tokens begin anew."""
        found = rebuilding.recover(self.service.config, [], is_dry=is_dry, keeps_tokens=False)
        if not is_dry:
            self.service.tokens.clear()
            self.revoked = found.revoked_tokens
        return [asdict(one) for one in found.clusters]

    def rederive(self, file: Path | None = None, *, is_dry: bool = False) -> dict[str, str]:
        """What `rotator rederive` does, without a process of its own: what came of each thing."""
        phrase = None if file is None else recovery_file.passphrase(PASSPHRASE)
        done = rebuilding.rederive(self.service.config, [], file=file, phrase=phrase, is_dry=is_dry)
        self.why = {one.what: one.why for one in done}
        return {one.what: str(one.came) for one in done}

    def once_free(self, work: Callable[[], Any]) -> Any:
        """*work*, once the lease of who was killed has run out, where it is one that does."""

        def attempt() -> Any:
            try:
                return [work()]
            except AnotherProcess:
                return None

        (done,) = wait_for("the lease runs out", attempt)
        return done

    def export(self) -> rebuilding.Exported:
        """What `rotator master export` does, without a process of its own."""
        phrase = recovery_file.passphrase(PASSPHRASE)
        return rebuilding.export(self.service.config, self.file, phrase)

    def begin(self, kind: str = "manual", **more: Any) -> dict[str, Any]:
        """Rotate to the end."""
        body = {"kind": kind, "reason": "test", **more}
        begun = self.service.command(f"clusters/{CLUSTER}/rotations", body)
        assert begun is not None, "the cluster does not rotate"
        return self.service.until_phase(CLUSTER, begun["id"], "completed")

    def frozen(self) -> str:
        """By which code the cluster is frozen, once it is."""

        def ask() -> str | None:
            found = self.service.get(f"clusters/{CLUSTER}")
            codes = [b["code"] for b in found["blockers"] if b["subject"] == "frozen"]
            return codes[0] if found["state"] == "frozen" else None

        return str(wait_for("it is frozen", ask))

    def assert_rotates_nothing(self) -> None:
        """A manual rotation is refused, and a document stays as it is."""
        before = self.document()
        body = {"kind": "manual", "reason": "test"}
        assert self.service.command(f"clusters/{CLUSTER}/rotations", body) is None
        assert self.document() == before

    def assert_no_leak(self) -> None:
        """No cookie and no passphrase is where none belongs."""
        secrets = {cookie: cookie.encode() for cookie in self.over}
        secrets["passphrase"] = PASSPHRASE.encode()
        document = self.document()
        for number, cookie in (document or {"versions": {}})["versions"].items():
            secrets[f"version {number}"] = cookie.encode()
        where = canary.files_below(
            self.service.directory, leaving_out=[self.service.directory / "secrets"]
        )
        where |= self.state.content()
        if self.service.process is not None and not self.service.has_ended():
            where |= canary.process(self.service.process.pid)
        assert any(name.endswith(".log") for name in where)
        assert canary.find(secrets, where) == []


def lived(directory: Path, place: Any, state: Keep) -> tuple[World, Reader]:
    """A cluster whose version 1 is retired, 2 revoked and 3 current, copied on the way to 2.

    It is stopped, and its reader has obeyed all three. What is over is on record after that only.
    """
    service = Service(
        directory, place.settings, {CLUSTER: PLAIN}, dict(state.settings), place.environment
    )
    world = World(service=service, secrets=place.keep, state=state, open=place.open)
    reader = Reader(world)
    service.start()
    service.initialise(CLUSTER)
    for role in ("admin", "operator", "auditor"):
        service.token(role)
    answer = reader.ask().json()
    world.uid, world.key = answer["cluster_uid"], answer["fingerprint_key"]
    service.stop()
    service.start(*MOMENTS.values())
    body = {"kind": "manual", "reason": "test"}
    begun = service.command(f"clusters/{CLUSTER}/rotations", body)
    assert begun is not None
    for moment in MOMENTS:
        service.wait_ended()
        world.moments[moment] = world.save()
        service.start()
    service.until_phase(CLUSTER, begun["id"], "completed")
    reader.ask()
    world.begin("emergency")
    reader.ask()
    assert reader.numbers == [1, 2, 3]
    world.over |= set(reader.cookies[:2])
    assert world.export().epochs == ("default/1", "default/2")
    service.stop()
    return world, reader
