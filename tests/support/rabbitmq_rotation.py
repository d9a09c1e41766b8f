"""A RabbitMQ cluster whose cookie is rotated: real brokers, a real service, an agent beside each."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rotator.cli.demo.epmd import erlang
from tests.acceptance.conftest import vault_place
from tests.support.agent_process import AgentProcess
from tests.support.amqp import Traffic
from tests.support.rabbitmq import SCRIPTS, RabbitCluster, RabbitNode, rabbitmq
from tests.support.recipes import recipe
from tests.support.service import Service, wait_for

CLUSTER = "rabbits"
_SECONDS = 180.0

#: Run by the broker for a `rabbitmqctl` that stays connected until the file is there.
_UNTIL = (
    'W = fun F() -> case filelib:is_regular("{file}") of true -> done;'
    " false -> timer:sleep(50), F() end end, W()."
)

#: The agent is a hidden node, too.
_TOOLS = 'length([N || N <- nodes(hidden), lists:prefix("rabbitmqcli", atom_to_list(N))]).'


@dataclass
class RotatedRabbits:
    """Made by `rotated_rabbitmq`, which also ends it."""

    brokers: RabbitCluster
    service: Service
    agents: dict[str, AgentProcess]
    directory: Path

    @property
    def names(self) -> tuple[str, ...]:
        """The brokers' names, in order."""
        return self.brokers.names

    def start(self, kind: str) -> str:
        """Begin a rotation; its id."""
        body = {"kind": kind, "reason": "test", "force": kind == "emergency"}
        begun = self.service.command(f"clusters/{CLUSTER}/rotations", body)
        assert begun is not None
        return str(begun["id"])

    def phase(self, rotation: str) -> str:
        """Where it stands."""
        return str(self.service.rotation(CLUSTER, rotation)["phase"])

    def until(self, rotation: str, phase: str) -> None:
        """Until it is in this phase; fails with what blocks."""
        try:
            wait_for(phase, lambda: self.phase(rotation) == phase, seconds=_SECONDS)
        except AssertionError as error:
            state = self.service.get(f"clusters/{CLUSTER}")
            raise AssertionError(f"{error}: {state['rotation']}, {state.get('blockers')}") from None

    def rotate(self, kind: str = "manual") -> None:
        """A whole rotation."""
        self.until(self.start(kind), "completed")

    def cookies(self) -> set[str]:
        """What the brokers' cookie files hold; after a rotation, one."""
        return {node.cookie_file.read_text() for node in self.brokers.nodes.values()}

    def tools_work(self) -> None:
        """`rabbitmqctl` answers on each broker, and each says that all run and nobody is parted."""
        for node in self.brokers.nodes.values():
            status = node.status()
            assert set(status["running_nodes"]) == set(self.names)
            assert status["partitions"] == {}

    def pins(self, name: str, peers: tuple[str, ...]) -> tuple[str, ...]:
        """What this broker's VM uses for each of these peers, as `rabbitmqctl eval` says it."""
        answers = (
            self.brokers[name].ctl("eval", f"erlang:get_cookie('{peer}').") for peer in peers
        )
        return tuple(answer.strip().strip("'") for answer in answers)

    def kill_among_mixed_cookies(self, victim: str, *, behind: str, messages: Traffic) -> None:
        """A rotation stays halfway, since one agent is dead: *victim*, which adopted, is killed and comes back.

        Its own agent runs beside it all the while. It boots with what each pair uses, everybody runs and nobody is
        parted; then the rotation ends.
        """
        (third,) = set(self.names) - {victim, behind}
        (previous,) = self.cookies()
        self.agents[behind].kill()
        rotation = self.start("manual")
        adopted = (third, victim)
        wait_for("two have moved", lambda: self._have_moved(adopted, previous), seconds=_SECONDS)
        current = self.brokers[victim].cookie_file.read_text()
        messages.wait_confirmed(200)
        self.brokers[victim].kill()
        self.agents[victim].boot(seconds=120)
        self.brokers.restart(victim)
        assert self.pins(victim, (third, behind)) == (current, previous)
        assert f"-setcookie {behind} {previous}" in arguments(self.brokers[victim].pid)
        assert self.phase(rotation) not in {"retiring", "completed"}
        self.tools_work()
        self.agents[behind].start()
        self.until(rotation, "completed")
        assert self.cookies() == {current}
        for node in self.brokers.nodes.values():
            assert previous not in boot_file(node).read_text()

    def _have_moved(self, names: tuple[str, ...], previous: str) -> bool:
        """Whether these have adopted and moved the pairs among themselves, on disk too."""
        files = [(self.brokers[n].cookie_file, boot_file(self.brokers[n]), n) for n in names]
        return all(
            (current := cookie_file.read_text()) != previous
            and all(
                f"-setcookie {peer} {current}" in pins.read_text() for peer in names if peer != name
            )
            for cookie_file, pins, name in files
        )

    @contextmanager
    def tool_that_stays(self, name: str) -> Iterator[Tool]:
        """A `rabbitmqctl` that is connected to this broker when the block begins."""
        tool = Tool(self.brokers[name], self.directory / "may-end")
        try:
            tool.start()
            yield tool
        finally:
            tool.end()


class Tool:
    """A `rabbitmqctl eval` in the middle of its call."""

    def __init__(self, node: RabbitNode, until: Path) -> None:
        self._node, self._until = node, until
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until the broker has it as a link."""
        self._until.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [SCRIPTS / "rabbitmqctl", "--quiet", "eval", _UNTIL.format(file=self._until)],
            env=self._node.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # It waits as a process of the broker's: another rabbitmqctl counts the links of its kind.
        wait_for("the tool is connected", lambda: self._links() > 1, seconds=_SECONDS)

    def _links(self) -> int:
        return int(self._node.ctl("eval", _TOOLS))

    def answer(self) -> tuple[int, str]:
        """Let it end: its exit code, and what it has printed."""
        self._until.touch()
        assert self._process is not None
        printed, _ = self._process.communicate(timeout=_SECONDS)
        return self._process.returncode, printed.strip()

    def end(self) -> None:
        """End it whatever it does."""
        self._until.touch()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def rotated_rabbitmq(directory: Path, **policy: Any) -> Iterator[RotatedRabbits]:
    """Three brokers with a cookie of their own, imported, and an agent beside each.

    The recipe is put in place while they run, as whoever begins with this would do it. *policy* are
    further settings of the cluster.
    """
    place = vault_place(directory)
    with erlang(directory) as beam, rabbitmq(beam) as brokers:
        members = {"expect": list(brokers.names), "heartbeat": "1s", "node_ttl": "20s"}
        settings = {
            "grace_window": "0",
            "install_timeout": "5s",
            "emergency_cooldown": "0",
            "max_rotations_per_hour": 1000,
            "members": members,
            **policy,
        }
        service = Service(directory, place.settings, {CLUSTER: settings})
        service.start()
        agents = {name: _agent(service, node) for name, node in brokers.nodes.items()}
        made = RotatedRabbits(brokers, service, agents, directory)
        try:
            _import(made)
            for agent in agents.values():
                agent.start()
            wait_for("each agent is in step", lambda: _all_in_step(made), seconds=_SECONDS)
            for node in brokers.nodes.values():
                node.environment_file.write_text(_environment_file(node))
            yield made
        finally:
            for agent in agents.values():
                agent.stop()
            service.stop()


def boot_file(node: RabbitNode) -> Path:
    """Where its agent keeps the boot file."""
    return node.directory / "boot.env"


def _environment_file(node: RabbitNode) -> str:
    there = {"/var/lib/rotator-agent/boot.env": str(boot_file(node))}
    return recipe("rabbitmq/rabbitmq-env.conf", **there)


def _agent(service: Service, node: RabbitNode) -> AgentProcess:
    row = {
        "name": node.name,
        "cookie_file": node.cookie_file,
        "boot_file": boot_file(node),
        "boot_format": "rabbitmq",
        "epmd_port": node.erlang.epmd_port,
    }
    return AgentProcess(service, CLUSTER, node.directory / "agent", row)


def _import(made: RotatedRabbits) -> None:
    (cookie,) = made.cookies()
    body = {"cookie": cookie, "reason": "test"}
    made.service.command(f"clusters/{CLUSTER}/import", body, role="admin")
    made.service.until_stable(CLUSTER)


def _all_in_step(made: RotatedRabbits) -> bool:
    members = made.service.get(f"clusters/{CLUSTER}/nodes")["nodes"]
    return len(members) == len(made.names) and all(
        member["liveness"] == "live" and member["uses"] == 1 for member in members
    )


def arguments(pid: int) -> str:
    """The arguments of a process, as everybody sees them."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
