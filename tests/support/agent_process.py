"""`rotator agent` as a real process beside one node, for tests: started, killed, asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.service import Service

ROTATOR = (sys.executable, "-m", "rotator")
_END_SECONDS = 60.0


@dataclass
class AgentProcess:
    """The agent of one node, with a token, a settings file and a state directory of its own.

    *node* is its row of agent.yaml: `name`, `cookie_file`, `boot_file` and more.
    """

    service: Service
    cluster: str
    directory: Path
    node: dict[str, Any]
    program: tuple[str, ...] = ROTATOR
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.token_file = self.directory / "node.token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(
            self.service.token("node", nodes=self.name, clusters=(self.cluster,))
        )
        self.config = self.directory / "agent.yaml"
        self.log = self.directory / "agent.log"
        settings = {
            "service": f"http://127.0.0.1:{self.service.port}",
            "cluster": self.cluster,
            "token_file": str(self.token_file),
            "state_dir": str(self.directory / "state"),
            "nodes": [{key: _plain(value) for key, value in self.node.items()}],
        }
        self.config.write_text(yaml.safe_dump(settings), encoding="utf-8")

    @property
    def name(self) -> str:
        """The node's name."""
        return str(self.node["name"])

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def command(self, *words: str) -> list[str]:
        """`rotator agent` with its settings."""
        return [*self.program, "agent", "--config", str(self.config), *words]

    def start(self) -> None:
        """Start it; nothing is waited for."""
        assert not self.is_alive
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.environment},
            )

    def run(self, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """One of its commands, to its end."""
        return subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={**os.environ, **self.environment},
        )

    def boot(self, *, seconds: float = 60) -> None:
        """`rotator agent boot`; fails with what it says when the node may not boot."""
        ran = self.run("--timeout", str(seconds), "boot", seconds=seconds + 60)
        assert ran.returncode == 0, ran.stderr

    def status(self) -> dict[str, Any]:
        """The node's row of `rotator agent status`."""
        (row,) = json.loads(self.run("-o", "json", "status").stdout)["nodes"]
        return dict(row)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that takes too long."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def output(self) -> str:
        """Everything it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
