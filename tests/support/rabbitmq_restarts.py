"""RabbitMQ brokers restarted by the recipe's program; ssh and systemd are the test's own.

`restart-node` runs as it is in deploy/recipes. The `ssh` that it finds runs RabbitMQ's tools with the
environment of that broker, and hands `systemctl restart` to the test, whose children the brokers are.
"""

from __future__ import annotations

import os
import secrets
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.amqp import Traffic
from tests.support.orchestrator import OrchestratorProcess
from tests.support.rabbitmq import SCRIPTS
from tests.support.rabbitmq_rotation import CLUSTER, RotatedRabbits
from tests.support.recipes import RECIPES
from tests.support.service import wait_for

PROGRAM = RECIPES / "rabbitmq" / "restart-node"
#: For a restart: the broker's end, `agent boot`, its start, and whoever else has the machine.
LONG = 900.0

_SSH = """\
#!/bin/sh
[ "$1 $2" = "-o BatchMode=yes" ] || exit 255
[ "$3" = "root@${ROTATOR_NODE#*@}" ] || exit 255
shift 3
[ ! -e "$PLACE/over" ] || exit 255
echo "$ROTATOR_NODE $*" >> "$PLACE/did"
if [ "$1" = systemctl ]; then
  [ "$*" = "systemctl restart rabbitmq-server" ] || exit 1
  ask="$PLACE/asks/$ROTATOR_CLAIM"
  echo "$ROTATOR_NODE" > "$ask.new" && mv "$ask.new" "$ask"
  while [ -e "$ask" ] && [ ! -e "$PLACE/over" ]; do sleep 0.1; done
  [ ! -e "$PLACE/over" ]
  exit
fi
touch "$PLACE/tools/$$"  # and then this process becomes the tool
. "$PLACE/$ROTATOR_NODE.env"
tool=$1; shift
exec "$SCRIPTS/$tool" "$@"
"""


@dataclass
class Hosts:
    """Whoever runs the brokers; made by `hosts`, which also ends its orchestrators."""

    rabbits: RotatedRabbits
    messages: Traffic
    directory: Path
    restarted: list[str] = field(default_factory=list)  #: in order, each as often as it was
    orchestrators: list[OrchestratorProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("bin", "asks", "tools"):
            (self.directory / name).mkdir(parents=True)
        shim = self.directory / "bin" / "ssh"
        shim.write_text(_SSH)
        shim.chmod(0o755)
        for node in self.rabbits.brokers.nodes.values():
            rows = [f"export {k}={shlex.quote(v)}\n" for k, v in node.environment.items()]
            (self.directory / f"{node.name}.env").write_text("".join(rows))

    def orchestrator(self, *more: str) -> OrchestratorProcess:
        """`rotator orchestrate command` with the recipe's program, not started."""
        place = self.directory / f"orchestrator{len(self.orchestrators)}"
        words = ("command", *more, "--", str(PROGRAM))
        made = OrchestratorProcess(self.rabbits.service, CLUSTER, place, words)
        made.environment = {
            "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
            "PLACE": str(self.directory),
            "SCRIPTS": str(SCRIPTS),
        }
        self.orchestrators.append(made)
        return made

    def serve(self, until: Callable[[], bool]) -> None:
        """Restart brokers as they are asked to be, one after the other, until it is so."""

        def is_over() -> bool:
            if until():
                return True
            for ask in self.asks()[:1]:
                self.restart(ask.read_text().strip())
                ask.unlink()
            return False

        try:
            wait_for("every restart is done", is_over, seconds=LONG)
        except AssertionError as error:
            found = self.rabbits.service.get(f"clusters/{CLUSTER}/rollout")
            said = [one.output()[-2000:] for one in self.orchestrators]
            raise AssertionError(f"{error}: {found['waiting']}\n" + "\n".join(said)) from None

    def asks(self) -> list[Path]:
        """One for each `systemctl restart` that waits."""
        return sorted(one for one in (self.directory / "asks").iterdir() if not one.suffix)

    def restart(self, name: str) -> None:
        """`systemctl restart` by the recipe's unit; messages go on while it is down."""
        broker = self.rabbits.brokers[name]
        self.restarted.append(name)
        broker.stop()
        self.messages.wait_confirmed(100, seconds=LONG)
        self.start(name)

    def start(self, name: str) -> None:
        """`ExecStartPre`, then `ExecStart`, until clients can come in."""
        self.rabbits.agents[name].boot(seconds=300)
        self.rabbits.brokers[name].start()
        self.rabbits.brokers[name].wait_up()

    def did(self) -> list[tuple[str, str]]:
        """What was run on which broker's host, in order."""
        rows = (self.directory / "did").read_text().splitlines()
        return [(row.split()[0], row.split(maxsplit=1)[1]) for row in rows]

    def end(self) -> None:
        """No orchestrator, no program of its, no tool of that."""
        (self.directory / "over").touch()
        for orchestrator in self.orchestrators:
            orchestrator.kill()
        for tool in (self.directory / "tools").iterdir():
            with suppress(OSError):
                place = f"PLACE={self.directory}".encode()
                if place in Path(f"/proc/{tool.name}/environ").read_bytes().split(b"\0"):
                    os.kill(int(tool.name), signal.SIGKILL)


@contextmanager
def hosts(rabbits: RotatedRabbits, messages: Traffic) -> Iterator[Hosts]:
    """Hosts of these brokers, with nothing under way at the end."""
    made = Hosts(rabbits, messages, rabbits.directory / f"hosts-{secrets.token_hex(4)}")
    try:
        yield made
    finally:
        made.end()
