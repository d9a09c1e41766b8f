"""`rotator agent`: run, boot, status, leave, check."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import signal
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from rotator import failpoints
from rotator.agent import boot, locks, runner, status
from rotator.agent import settings as configuration
from rotator.agent.loop import NodeAgent
from rotator.agent.orders import orders_of
from rotator.agent.server import Server
from rotator.errors import AgentFileError, BootRefused, ConfigurationError, RotatorError
from rotator.protocol.address import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rotator.agent.settings import AgentSettings, NodeSettings

log = logging.getLogger("rotator.agent")

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
TIMED_OUT: Final = 6
DEGRADED: Final = 7
_CONFIG: Final = "/etc/rotator/agent.yaml"
_ONCE_LOOKS: Final = 40
_EXAMPLES: Final = """\
commands:
  run        stay beside the nodes (default)
  boot       write the cookie files of one node, once it may start; then end
  status     what the running agent sees of its nodes
  leave      a node goes for good: nobody waits for it any more. Then stop the node and its agent;
             when one of them is started again, the node is a member again

examples:
  rotator agent --config agent.yaml            run beside the nodes named there
  rotator agent --once                         bring them on once, and tell
  rotator agent boot rabbit@a                  before the node starts (ExecStartPre)
  rotator agent status                         what the running agent sees
  rotator agent leave rabbit@a                 the node goes for good

exit codes: 0 ok · 1 failed · 2 usage · 6 may not boot yet · 7 degraded
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="rotator agent",
        description="Changes the cookie of running BEAM nodes, and proves it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = os.environ.get("ROTATOR_AGENT_CONFIG", _CONFIG)
    made.add_argument("--config", type=Path, default=Path(default), help=f"default: {default}")
    made.add_argument("--once", action="store_true", help="bring the nodes on once, tell, and end")
    made.add_argument("--verbose", action="store_true", help="log each step")
    made.add_argument(
        "command", nargs="?", default="run", choices=["run", "boot", "status", "leave"],
        help="see below",
    )  # fmt: skip
    made.add_argument("node", nargs="?", help="one of the nodes in the file; all by default")
    made.add_argument(
        "--timeout", type=float, default=300.0, help="boot: seconds to wait for `join` (300)"
    )
    made.add_argument("--yes", action="store_true", help="leave: taken, and not needed")
    made.add_argument(
        "-o", "--output", choices=["table", "json"], default="table", help="of status"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit code."""
    given = parser().parse_intermixed_args(arguments)  # options may stand before or after the node
    logging.basicConfig(
        level=logging.DEBUG if given.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    os.umask(0o077)
    _dump_no_core()
    try:
        settings = configuration.load(given.config)
        _refuse_failpoints(settings)
        chosen = _chosen(settings, given.node, command=given.command)
        if given.command == "status":
            return _status_to_whoever_reads(settings, given.output)
        if given.command == "boot":
            return asyncio.run(_boot(settings, chosen[0], patience=given.timeout))
        _prepare(settings)
        if given.command == "leave":
            return asyncio.run(_leave(settings, chosen))
        with _alone(settings, chosen):
            return asyncio.run((_once if given.once else _run)(settings, chosen))
    except ConfigurationError as error:
        return _failed(error, USAGE)
    except BootRefused as error:
        return _failed(error, TIMED_OUT)
    except RotatorError as error:
        return _failed(error, FAILED)


def _dump_no_core() -> None:
    """It would hold cookies."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def _refuse_failpoints(settings: AgentSettings) -> None:
    if failpoints.is_armed() and not is_loopback(urlsplit(settings.service).hostname or ""):
        raise ConfigurationError(
            f"{failpoints.VARIABLE} is set, and service is not on loopback; unset it"
        )


def _failed(error: RotatorError, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


def _chosen(settings: AgentSettings, name: str | None, *, command: str) -> tuple[NodeSettings, ...]:
    chosen = tuple(node for node in settings.nodes if name in {None, node.name})
    if not chosen:
        names = ", ".join(node.name for node in settings.nodes)
        raise ConfigurationError(f"there is no node of that name in the file; there are {names}")
    if command == "boot" and len(chosen) > 1:
        # To boot is to say that the VM is not up: of the others that would be a lie.
        raise ConfigurationError("boot: name the node that is about to start")
    return chosen


def _server(settings: AgentSettings) -> Server:
    return Server(
        url=settings.service,
        cluster=settings.cluster,
        token_file=settings.token_file,
        ca_cert=settings.ca_cert,
    )


def _agent(settings: AgentSettings, node: NodeSettings) -> NodeAgent:
    return NodeAgent(node, state_dir=settings.state_dir, token_file=settings.token_file)


def _prepare(settings: AgentSettings) -> None:
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AgentFileError(f"{settings.state_dir}: {error.strerror}") from None


@contextmanager
def _alone(settings: AgentSettings, nodes: Sequence[NodeSettings]) -> Iterator[None]:
    """One agent a node: two would undo each other's work."""
    with ExitStack() as held:
        for node in nodes:
            lock = settings.state_dir / f"{node.name}.lock"
            held.enter_context(locks.hold(lock, what=f"an agent for {node.name}"))
        yield


async def _boot(settings: AgentSettings, node: NodeSettings, *, patience: float) -> int:
    log.info("%s: %s", node.name, await boot.prepare(node, _server(settings), patience=patience))
    return OK


async def _leave(settings: AgentSettings, nodes: Sequence[NodeSettings]) -> int:
    server = _server(settings)
    for node in nodes:
        await server.leave(node.name, "told to leave")
        log.info("%s: left", node.name)
    return OK


async def _once(settings: AgentSettings, nodes: Sequence[NodeSettings]) -> int:
    server, code = _server(settings), OK
    for node in nodes:
        agent = _agent(settings, node)
        try:
            desired = await server.desired(node.name)
            if desired is not None:
                agent.obey(orders_of(desired, node.name))
            outcome = await agent.look()
            for _ in range(_ONCE_LOOKS):
                is_down = outcome.report is not None and outcome.report.read_from == "none"
                if outcome.is_settled or is_down:
                    break
                if outcome.is_held_back and outcome.report is not None:
                    await server.attest(node.name, outcome.report)
                    agent.told(outcome.report)
                await asyncio.sleep(min(outcome.next_look, 1.0))
                outcome = await agent.look()
            if outcome.report is not None:
                await server.attest(node.name, outcome.report)
            for line in outcome.trouble:
                log.warning("%s: %s", node.name, line)
            code = code if outcome.is_settled else DEGRADED
        finally:
            await agent.close()
    return code


async def _run(settings: AgentSettings, nodes: Sequence[NodeSettings]) -> int:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = _server(settings)
    agents = [_agent(settings, node) for node in nodes]
    tasks = [asyncio.create_task(_forever(agent, server, settings)) for agent in agents]
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for agent in agents:
        if settings.leave_on_stop:
            await runner.leave(agent, server)
        await agent.close()
        status.write_stopped(status.path_of(settings.state_dir, agent.name))
        log.info("%s: the agent stopped", agent.name)
    return OK


async def _forever(agent: NodeAgent, server: Server, settings: AgentSettings) -> None:
    """A defect in the agent ends a look, never the agent: the node beside it needs it."""
    while True:
        try:
            await runner.Runner(agent, server, state_dir=settings.state_dir).run()
        except Exception as error:  # noqa: BLE001 - the outermost place there is
            runner.defect(agent.name, error)
            await asyncio.sleep(1)


def _status_to_whoever_reads(settings: AgentSettings, output: str) -> int:
    try:
        code = _status(settings, output)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has gone; a second attempt at exit would only complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _status(settings: AgentSettings, output: str) -> int:
    rows = status.read(settings)
    if output == "json":
        print(json.dumps({"nodes": rows}, indent=2))
    else:
        for row in rows:
            _print(row)
    return OK if all(row["state"] == "in step" and not row["trouble"] for row in rows) else DEGRADED


def _print(row: dict[str, object]) -> None:
    age = row["seen_seconds_ago"]
    seen = "" if age is None else f" (seen {age} s ago)"
    print(f"{row['node']}: {row['state']}{seen}")
    for label in ("generation", "uses", "pins", "links", "foreign_links", "refuses"):
        value = row.get(label)
        if value not in (None, [], {}):
            shown = ", ".join(map(str, value)) if isinstance(value, list | dict) else value
            print(f"  {label.replace('_', ' '):<14} {shown}")
    trouble = row["trouble"]
    for line in trouble if isinstance(trouble, list) else []:
        print(f"  ! {line}")
