"""A RabbitMQ cluster on loopback, out of Debian's package: processes of the test's own.

No service of the package runs. Each node has its own name, ports, data, logs, home with the cookie
file, and an environment file that its start script reads; all share one private epmd.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rotator.cli.demo.epmd import Erlang
from rotator.cli.demo.nodes import write_private
from rotator.cli.demo.processes import free_port, wait_until
from tests.support.parts import RABBITMQ

SCRIPTS = Path(RABBITMQ).parent
#: Loopback alone, and no epmd but ours. `SERVER_ADDITIONAL_ERL_ARGS` is left to the environment file.
_LOOPBACK = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"
_READY_SECONDS = 120.0

_SETTINGS = """\
listeners.tcp.1 = 127.0.0.1:{port}
cluster_partition_handling = {partition_handling}
disk_free_limit.absolute = 1MB
cluster_formation.peer_discovery_backend = classic_config
{peers}
"""


@dataclass
class RabbitNode:
    """One broker; its files outlive it, so that a restart finds what was left."""

    erlang: Erlang
    name: str
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.port, self.dist_port = free_port(), free_port()
        self.directory = self.erlang.directory / self.name
        self.directory.mkdir(mode=0o700)
        self.cookie_file = self.directory / ".erlang.cookie"
        self.environment_file = self.directory / "rabbitmq-env.conf"
        self.environment_file.touch(mode=0o600)
        (self.directory / "enabled_plugins").write_text("[].\n")
        self.log = self.directory / "start.log"

    @property
    def environment(self) -> dict[str, str]:
        """What its scripts read, all of it: nothing of the host's own settings."""
        place = self.directory
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(place),
            **self.erlang.environment,
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(place / "data"),
            "RABBITMQ_LOG_BASE": str(place / "log"),
            "RABBITMQ_CONFIG_FILE": str(place / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(place / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(self.environment_file),
            "RABBITMQ_SERVER_START_ARGS": _LOOPBACK,
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK,
            "RABBITMQ_CTL_DIST_PORT_MIN": "40000",
            "RABBITMQ_CTL_DIST_PORT_MAX": "60000",
            "ERL_CRASH_DUMP_BYTES": "0",
        }

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of its VM."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it; `wait_up` waits for it."""
        assert not self.is_alive
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [SCRIPTS / "rabbitmq-server"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # The script then becomes the VM, so that the process id is the VM's.
                env={**self.environment, "RUNNING_UNDER_SYSTEMD": "1"},
            )

    def is_up(self) -> bool:
        """Whether clients can come in; fails when it has ended."""
        assert self.is_alive, f"{self.name} ended:\n{self.log.read_text()[-3000:]}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def wait_up(self) -> None:
        """Wait until clients can come in."""
        wait_until(f"{self.name} is up", self.is_up, seconds=_READY_SECONDS)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """As its systemd unit does: `rabbitmqctl stop`, then SIGTERM for what is left."""
        self.ctl("stop")
        assert self.process is not None
        self.process.terminate()
        self.process.wait(_READY_SECONDS)
        self.process = None

    def ctl(self, *arguments: str) -> str:
        """What ``rabbitmqctl`` says, with this node's cookie file; fails when that fails."""
        return self._tool("rabbitmqctl", *arguments)

    def status(self) -> dict[str, Any]:
        """``rabbitmqctl cluster_status`` as JSON: `running_nodes`, `disk_nodes`, `partitions` and more."""
        found: dict[str, Any] = json.loads(self.ctl("cluster_status", "--formatter", "json"))
        return found

    def _tool(self, tool: str, *arguments: str) -> str:
        ran = subprocess.run(
            [SCRIPTS / tool, "--quiet", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_READY_SECONDS,
            check=False,
        )
        assert ran.returncode == 0, f"{tool} {arguments[0]}: {ran.stderr}{ran.stdout}"
        return ran.stdout


@dataclass
class RabbitCluster:
    """Brokers that know each other; made by `rabbitmq`, which also ends them."""

    nodes: dict[str, RabbitNode]

    def __getitem__(self, name: str) -> RabbitNode:
        return self.nodes[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The brokers' names, in order."""
        return tuple(self.nodes)

    @property
    def ports(self) -> tuple[int, ...]:
        """Where clients can come in."""
        return tuple(node.port for node in self.nodes.values())

    def start(self) -> None:
        """Start every broker at once, and wait until they are one cluster."""
        for node in self.nodes.values():
            node.start()
        for node in self.nodes.values():
            node.wait_up()
        self.wait_whole()

    def running(self) -> set[str]:
        """Who runs, in the eyes of the first broker that is alive."""
        alive = next(node for node in self.nodes.values() if node.is_alive)
        return set(alive.status()["running_nodes"])

    def wait_whole(self) -> None:
        """Wait until each broker runs in the eyes of the first."""
        wait_until(
            "the brokers are one cluster",
            lambda: self.running() == set(self.nodes),
            seconds=_READY_SECONDS,
        )

    def partitions(self) -> dict[str, Any]:
        """Whom each broker has seen parted; each is empty in good health."""
        return {node.name: node.status()["partitions"] for node in self.nodes.values()}

    def restart(self, name: str) -> None:
        """Start one that was killed, and wait until it runs among the others."""
        self.nodes[name].start()
        self.nodes[name].wait_up()
        self.wait_whole()


@contextlib.contextmanager
def rabbitmq(
    erlang: Erlang, *, cookie: str | None = None, partition_handling: str = "ignore", count: int = 3
) -> Iterator[RabbitCluster]:
    """*count* brokers `rabbit1@localhost` and so on, one cluster when this returns.

    *partition_handling* is RabbitMQ's own setting, by default its default.
    """
    shared = cookie or secrets.token_hex(20)
    names = [f"rabbit{number}@localhost" for number in range(1, count + 1)]
    peers = "\n".join(
        f"cluster_formation.classic_config.nodes.{number} = {name}"
        for number, name in enumerate(names, start=1)
    )
    cluster = RabbitCluster({name: RabbitNode(erlang, name) for name in names})
    for node in cluster.nodes.values():
        write_private(node.cookie_file, shared, mode=0o400)
        (node.directory / "rabbitmq.conf").write_text(
            _SETTINGS.format(port=node.port, partition_handling=partition_handling, peers=peers)
        )
    try:
        cluster.start()
        yield cluster
    finally:
        for node in cluster.nodes.values():
            node.kill()
