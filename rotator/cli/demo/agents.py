"""An agent beside each node: its settings, its process, its log."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from rotator.cli.demo.nodes import write_private
from rotator.cli.demo.processes import DemoFailed, end_of, running
from rotator.cli.demo.service import CLUSTER

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rotator.cli.demo.epmd import Erlang
    from rotator.cli.demo.nodes import BeamNode


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent that was started."""

    node: str
    log: Path
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raise `DemoFailed` when it has ended."""
        if (code := self.process.poll()) is not None:
            raise DemoFailed(f"the agent of {self.node} has ended ({code})")


def _write_settings(node: BeamNode, *, erlang: Erlang, address: str, token: str) -> Path:
    """agent.yaml and the node's token in the node's own directory, for their owner alone."""
    token_file = node.directory / "node.token"
    write_private(token_file, token)
    settings = {
        "service": address,
        "cluster": CLUSTER,
        "token_file": str(token_file),
        "state_dir": str(node.directory / "agent"),
        "nodes": [
            {
                "name": node.name,
                "cookie_file": str(node.cookie_file),
                "boot_file": str(node.boot_file),
                "epmd_port": erlang.epmd_port,
            }
        ],
    }
    path = node.directory / "agent.yaml"
    write_private(path, yaml.safe_dump(settings, sort_keys=False))
    return path


@contextmanager
def agents(
    erlang: Erlang, nodes: Mapping[BeamNode, str], *, address: str
) -> Iterator[tuple[Agent, ...]]:
    """One agent for each of *nodes*, given with its token; *address* is the service's.

    They are children, and are stopped at the end. A `DemoFailed` gets the ends of their logs.
    """
    made: list[Agent] = []
    with ExitStack() as stack:
        for node, token in nodes.items():
            path = _write_settings(node, erlang=erlang, address=address, token=token)
            log = node.directory / "agent.log"
            command = [sys.executable, "-m", "rotator", "agent", "--config", str(path)]
            made.append(Agent(node.name, log, stack.enter_context(running(command, log))))
        try:
            yield tuple(made)
        except DemoFailed as failed:
            logs = (f"the agent of {one.node} said at last:\n{end_of(one.log)}" for one in made)
            raise DemoFailed("\n".join((str(failed), *logs))) from None
