"""Agents as real processes, one beside each BEAM node: started, killed, stopped, held still."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from rotator.cli.demo.nodes import BeamNode, write_private
from tests.support.service import wait_for

END_SECONDS = 30.0
BOOT_SECONDS = 120.0


@dataclass(kw_only=True)
class Agent:
    """The agent of one node; its files are in the node's directory."""

    node: BeamNode
    service: str
    cluster: str
    token: str = field(repr=False)
    epmd_port: int
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.directory = self.node.directory / "agent"
        self.directory.mkdir(mode=0o700)
        self.config = self.directory / "agent.yaml"
        self.log = self.directory / "log"
        token_file = self.directory / "token"
        write_private(token_file, self.token)
        node = {
            "name": self.node.name,
            "cookie_file": str(self.node.cookie_file),
            "boot_file": str(self.node.boot_file),
            "epmd_port": self.epmd_port,
        }
        settings = {
            "service": self.service,
            "cluster": self.cluster,
            "token_file": str(token_file),
            "state_dir": str(self.directory / "state"),
            "nodes": [node],
        }
        self.config.write_text(yaml.safe_dump(settings), encoding="utf-8")

    @property
    def is_alive(self) -> bool:
        """Whether its process runs, held still or not."""
        return self.process is not None and self.process.poll() is None

    def command(self, *words: str) -> Sequence[str]:
        """`rotator agent` with this configuration."""
        return [sys.executable, "-m", "rotator", "agent", "--config", str(self.config), *words]

    def start(self, *failpoints: str) -> None:
        """Start it, to fail once at each of these points."""
        assert not self.is_alive
        armed = {"ROTATOR_FAILPOINTS": ",".join(failpoints)} if failpoints else {}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command("--verbose"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **armed},
            )

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(END_SECONDS)

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        if self.process is None:
            return
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self, *failpoints: str) -> None:
        """Stop it, and start it again."""
        self.stop()
        self.start(*failpoints)

    def pause(self) -> None:
        """SIGSTOP: it stands still, with its connections open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def wait_dead(self, *, seconds: float = BOOT_SECONDS) -> None:
        """Until it has met its failpoint."""
        wait_for(f"{self.node.name}: its agent ends", lambda: not self.is_alive, seconds=seconds)

    def boot(self, *, seconds: float = BOOT_SECONDS) -> int:
        """`rotator agent boot`: what its node waits for before it starts; the exit code."""
        return self.begin_boot(seconds=seconds).wait(seconds + END_SECONDS)

    def begin_boot(self, *, seconds: float = BOOT_SECONDS) -> subprocess.Popen[bytes]:
        """The same, not waited for."""
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self.command("boot", self.node.name, "--timeout", str(seconds)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def output(self) -> str:
        """Everything it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def processor_seconds(self) -> float:
        """Time that its process has had on a processor."""
        if not self.is_alive or self.process is None:
            return 0.0
        return processor_seconds(self.process.pid)

    def _signal(self, number: signal.Signals) -> None:
        if self.is_alive and self.process is not None:
            self.process.send_signal(number)


def processor_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), stat, fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
