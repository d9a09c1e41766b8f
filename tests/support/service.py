"""The service as a real process, for tests: started, asked, killed, started again."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from rotator.cli.demo.processes import free_port

READY_SECONDS = 30.0
END_SECONDS = 60.0


def wait_for(what: str, condition: Any, *, seconds: float = END_SECONDS) -> Any:
    """Ask until the answer is true; fail with the last answer's name after *seconds*."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class Service:
    """One service with a directory of its own; `settings` is what rotator.yaml will hold."""

    directory: Path
    secret_store: dict[str, Any]
    clusters: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    kdf_profile: str = "cheapest-argon2id"

    def __post_init__(self) -> None:
        self.port, self.health_port = free_port(), free_port()
        self.config = self.directory / "rotator.yaml"
        self.log = self.directory / "service.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.tokens: dict[str, str] = {}
        self.starts = 0
        self.armed: frozenset[str] = frozenset()
        self.write_config()

    @property
    def data(self) -> Path:
        """Where the state store lies."""
        return self.directory / "data"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data / "state.sqlite"

    def write_config(self) -> None:
        """Write rotator.yaml anew."""
        settings = {
            "listen": {"port": self.port, "health_port": self.health_port},
            "data_dir": str(self.data),
            "secret_store": self.secret_store,
            "masters": {"default": {"kdf": "argon2id", "profile": self.kdf_profile}},
            "clusters": self.clusters,
            **self.more,
        }
        self.config.write_text(yaml.safe_dump(settings), encoding="utf-8")

    def start(self, *failpoints: str, wait: bool = True) -> None:
        """Start it, failing once at each of these points; with *wait*, until it is ready or ended.

        When it is started again after its death, only those are left that it has not met yet.
        """
        self.armed |= set(failpoints)
        self.starts += 1
        environment = {**os.environ, **self.environment}
        if self.armed - self.hits():
            environment["ROTATOR_FAILPOINTS"] = ",".join(sorted(self.armed - self.hits()))
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rotator", "serve", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )
        if wait:
            wait_for("the service is ready", lambda: self.has_ended() or self.is_ready())

    def hits(self) -> set[str]:
        """The failpoints that it has met, as LINE:WHEN:HOW."""
        if not self.log.exists():
            return set()
        rows = self.output().splitlines()
        return {row.split()[1] for row in rows if row.startswith("failpoint ")}

    def is_ready(self) -> bool:
        """Whether readyz says so."""
        try:
            return self._get_health() == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _get_health(self) -> int:
        url = f"http://127.0.0.1:{self.health_port}/readyz"
        return httpx.get(url, timeout=2, trust_env=False).status_code

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process is None or self.process.poll() is not None

    def wait_ended(self) -> int:
        """Its exit status, once it has ended."""
        assert self.process is not None
        return self.process.wait(END_SECONDS)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and not self.has_ended():
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        assert self.process is not None
        if not self.has_ended():
            self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def output(self) -> str:
        """Everything it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def token(self, role: str, *, nodes: str = "", clusters: tuple[str, ...] = ("*",)) -> str:
        """A token made as `token create --local` makes it, without a process of its own."""
        key = f"{role}/{nodes}/{clusters}"
        if key not in self.tokens:
            self.tokens[key] = asyncio.run(self._make_token(role, nodes, clusters))
        return self.tokens[key]

    async def _make_token(self, role: str, nodes: str, clusters: tuple[str, ...]) -> str:
        from rotator.bootstrap import local_tokens
        from rotator.settings import load

        async with local_tokens(load(self.config)) as tokens:
            _, text = await tokens.create(
                role=role, clusters=clusters, nodes=nodes, by="local", note="test"
            )
            return str(text)

    def request(
        self,
        method: str,
        path: str,
        *,
        role: str = "operator",
        token: str | None = None,
        key: str | None = None,
        **options: Any,
    ) -> httpx.Response:
        """One call of the API."""
        headers = dict(options.pop("headers", {}))
        headers["Authorization"] = f"Bearer {token or self.token(role)}"
        if key is not None:
            headers["Idempotency-Key"] = key
        return httpx.request(
            method,
            f"http://127.0.0.1:{self.port}/v1/{path}",
            headers=headers,
            timeout=options.pop("timeout", 30),
            trust_env=False,
            **options,
        )

    def get(self, path: str, *, role: str = "operator") -> dict[str, Any]:
        """The JSON of a successful GET."""
        answer = self.request("GET", path, role=role)
        assert answer.status_code == httpx.codes.OK, answer.text
        return dict(answer.json())

    def command(
        self, path: str, body: dict[str, Any], *, role: str = "operator", method: str = "POST"
    ) -> dict[str, Any] | None:
        """A command that is repeated under one idempotency key until it has an answer.

        If the process ends meanwhile it is started again.
        """
        key = secrets.token_hex(16)
        token = self.token(role)
        deadline = time.monotonic() + self._patience()
        while time.monotonic() < deadline:
            try:
                answer = self.request(method, path, token=token, key=key, json=body, timeout=5)
            except httpx.HTTPError:
                self.revive()
                continue
            if answer.status_code < httpx.codes.BAD_REQUEST:
                return dict(answer.json())
            if answer.status_code == httpx.codes.CONFLICT and "running" not in answer.text:
                return None
            time.sleep(0.05)
        raise AssertionError(f"no answer to {path}; the log ends:\n{self.output()[-3000:]}")

    def revive(self) -> None:
        """Start it again if it has ended."""
        time.sleep(0.05)
        if self.has_ended():
            self.start()

    def rotation(self, cluster: str, rotation_id: str) -> dict[str, Any]:
        """One rotation with its facts."""
        return self.get(f"clusters/{cluster}/rotations/{rotation_id}")

    def until_phase(self, cluster: str, rotation_id: str, *phases: str) -> dict[str, Any]:
        """The rotation once it is in one of these phases, over deaths of the process."""

        def ask() -> dict[str, Any] | None:
            try:
                rotation = self.rotation(cluster, rotation_id)
            except httpx.HTTPError:
                self.revive()
                return None
            return rotation if rotation["phase"] in phases else None

        return dict(wait_for(f"{rotation_id} in {phases}", ask, seconds=self._patience()))

    def initialise(self, cluster: str) -> None:
        """`init`, until version 1 is current, over deaths of the process."""
        self.command(f"clusters/{cluster}/init", {"reason": "test"}, role="admin")
        self.until_stable(cluster)

    def until_stable(self, cluster: str) -> dict[str, Any]:
        """The cluster once nothing is under way."""

        def ask() -> dict[str, Any] | None:
            try:
                found = self.get(f"clusters/{cluster}")
            except httpx.HTTPError:
                self.revive()
                return None
            return found if found["state"] == "stable" else None

        return dict(wait_for(f"{cluster} is stable", ask, seconds=self._patience()))

    def _patience(self) -> float:
        """Each failpoint may cost a start, which takes its time on a loaded machine."""
        return END_SECONDS + READY_SECONDS * len(self.armed)
