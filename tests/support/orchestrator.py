"""`rotator orchestrate` as a real process, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.kubernetes.cluster import FakeKubernetes
from tests.support.service import Service

_END_SECONDS = 60.0
#: All that an orchestrator may do in its namespace: what the docs and the chart say.
RULES = (
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
)


@dataclass
class OrchestratorProcess:
    """One orchestrator of one cluster; what it restarts by stands in *words*."""

    service: Service
    cluster: str
    directory: Path
    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.log = self.directory / "orchestrator.log"
        self.token_file = self.directory / "token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(
            self.service.token("orchestrator", clusters=(self.cluster,)), encoding="utf-8"
        )

    @property
    def command(self) -> list[str]:
        """How it is started."""
        kind, *rest = self.words
        return [
            sys.executable, "-m", "rotator", "orchestrate", kind, self.cluster,
            "--addr", f"http://127.0.0.1:{self.service.port}",
            "--token-file", str(self.token_file), *rest,
        ]  # fmt: skip

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it."""
        assert not self.is_alive
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, **self.environment},
            )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and self.is_alive:
            self.process.kill()
            self.process.wait(_END_SECONDS)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_END_SECONDS)

    def wait(self, *, seconds: float = 300) -> int:
        """Its exit code, once it has ended by itself."""
        assert self.process is not None
        return self.process.wait(seconds)

    def output(self) -> str:
        """Everything it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def evictor(
    kubernetes: FakeKubernetes,
    service: Service,
    directory: Path,
    *more: str,
    cluster: str = "orders",
    node_name: str = "{pod}@127.0.0.1",
) -> OrchestratorProcess:
    """`rotator orchestrate kubernetes` with a service account that may do what it needs, and no more."""
    if kubernetes.get("ServiceAccount", "orchestrator") is None:
        kubernetes.account("orchestrator", *RULES)
    directory.mkdir(mode=0o700, exist_ok=True)
    token = directory / "kube.token"
    token.touch(mode=0o600)
    token.write_text(kubernetes.token("orchestrator"))
    words = (
        "kubernetes", "--node-name", node_name, "--selector", "app=app", "--namespace", "default",
        "--settle", "2s", "--kube-api", kubernetes.address, "--kube-token-file", str(token),
        "--kube-cacert", str(kubernetes.ca), *more,
    )  # fmt: skip
    return OrchestratorProcess(service, cluster, directory, words)
