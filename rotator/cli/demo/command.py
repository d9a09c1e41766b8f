"""``rotator demo``: two rotations of a running cluster on real parts, and the proof.

Everything is started here on loopback with a directory of its own, and is stopped and removed at
the end: a real OpenBao (or an emulator of AWS, or the local store), the service, three BEAM nodes that call each other
all the time, an agent beside each, and an intruder before the emergency.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rotator.cli.demo import flags, handshakes
from rotator.cli.demo.agents import agents
from rotator.cli.demo.api import open_api
from rotator.cli.demo.aws import open_emulator
from rotator.cli.demo.epmd import erlang, need_erlang
from rotator.cli.demo.interrupts import orderly
from rotator.cli.demo.intruder import intruder
from rotator.cli.demo.mesh import mesh
from rotator.cli.demo.openbao import open_vault
from rotator.cli.demo.processes import begun, wait_until
from rotator.cli.demo.rotations import Stage, rotate
from rotator.cli.demo.service import CLUSTER, serving
from rotator.cli.demo.stored import Stored
from rotator.cli.demo.telling import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rotator.beam.node import Address
    from rotator.cli.demo.api import Api
    from rotator.cli.demo.aws import Emulator
    from rotator.cli.demo.epmd import Erlang
    from rotator.cli.demo.intruder import Intruder, Intrusion
    from rotator.cli.demo.mesh import Mesh
    from rotator.cli.demo.openbao import Vault

_NAMES: Final = tuple(f"n{number}@127.0.0.1" for number in (1, 2, 3))  #: as `mesh` names them
_GOES_ON_SECONDS: Final = 3.0  #: for which the intruder is watched after the emergency


def demonstrate(store: str) -> dict[str, Any]:
    """Run the demonstration on ``vault`` (a real OpenBao), ``aws`` (an emulator) or ``local``.

    Gives the report.

    Raises `DemoFailed`, and `KeyboardInterrupt` when told to end; either way all is cleaned up.
    """
    with orderly(), ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="rotator-demo-", ignore_cleanup_errors=True)
        directory = Path(stack.enter_context(temporary))
        need_erlang()
        entering = stack.enter_context(begun(_service(_below(directory, "service"), store)))
        beam = stack.enter_context(erlang(_below(directory, "beam")))
        nodes = stack.enter_context(mesh(beam, len(_NAMES)))
        nodes.call()
        say(f"{len(_NAMES)} nodes are running, and call each other")
        stage = stack.enter_context(_stage(beam, nodes, entering()))
        where = handshakes.addresses(_NAMES, epmd_port=beam.epmd_port)
        return {"store": store, "nodes": len(_NAMES)} | _run(stage, beam, where)


def _below(directory: Path, name: str) -> Path:
    made = directory / name
    made.mkdir(mode=0o700)
    return made


@dataclass(frozen=True, slots=True)
class _Service:
    address: str
    api: Api
    stored: Stored


@contextmanager
def _service(directory: Path, store: str) -> Iterator[_Service]:
    """The secrets manager and the service, ready for requests."""
    with ExitStack() as stack:
        keeper = stack.enter_context(_keeper(directory, store))
        service = stack.enter_context(serving(directory, keeper, members=_NAMES))
        api = stack.enter_context(open_api(service))
        say("the service is running")
        yield _Service(service.address, api, Stored(api, keeper, directory, _NAMES[0]))


@contextmanager
def _keeper(directory: Path, store: str) -> Iterator[Vault | Emulator | None]:
    """The secrets manager, if it is a program of its own."""
    if store == "vault":
        with open_vault(directory) as vault:
            say("OpenBao is running")
            yield vault
    elif store == "aws":
        with open_emulator(directory) as emulator:
            say("moto is running: an emulator of AWS Secrets Manager, not AWS, and without IAM")
            yield emulator
    else:
        say("the local store is in use")
        yield None


@contextmanager
def _stage(beam: Erlang, nodes: Mesh, service: _Service) -> Iterator[Stage]:
    """The nodes' own cookie is version 1, and an agent beside each node has attested."""
    api, first = service.api, nodes[_NAMES[0]]
    cookie = first.cookie_file.read_text(encoding="utf-8")
    api.call("admin", "POST", f"clusters/{CLUSTER}/import", cookie=cookie, reason="demonstration")
    tokens = {node: api.make_token("node", node=node.name) for node in nodes.nodes.values()}
    api.tokens["node"] = tokens[first]
    with agents(beam, tokens, address=service.address) as beside:
        stage = Stage(api=api, mesh=nodes, agents=beside, stored=service.stored)
        wait_until("every agent has attested", lambda: _is_in_step(stage))
        stage.stored.by_node()
        say(f"{len(beside)} agents are running; the nodes' own cookie is version 1")
        yield stage


def _is_in_step(stage: Stage) -> bool:
    stage.check()
    if stage.api.of_cluster()["state"] != "stable":
        return False
    members = stage.api.of_cluster("/nodes")["nodes"]
    return [m["uses"] for m in members if m["liveness"] == "live"] == [1] * len(_NAMES)


def _run(stage: Stage, beam: Erlang, where: list[Address]) -> dict[str, Any]:
    """Rotate by hand and in an emergency, and look what is left."""
    links_before = stage.mesh.links()
    manual = rotate(stage, "manual")
    refused, accepted = _try_cookies(stage, where)
    known = stage.stored.seen[manual["to_version"]]
    with intruder(beam, stage.mesh.names, cookie=known) as him:
        say("\nan intruder knows the cookie: linked to every node, and he comes back when cut off")
        before = him.intrusion().links
        emergency = rotate(stage, "emergency", intruder=him)
        pursuit = flags.Pursuit(
            members=frozenset(stage.mesh.names),
            before=before,
            after=_go_on(stage, him),
            new=flags.sha256(stage.stored.seen[emergency["to_version"]]),
        )
        more_refused, more_accepted = _try_cookies(stage, where)
    calls = stage.mesh.calls()
    say(f"\n{calls:,} calls between nodes were made meanwhile")
    shown = ("kind", "phase", "from_version", "to_version", "seconds")
    return {
        "rotations": [{name: one[name] for name in shown} for one in (manual, emergency)],
        "links_before": links_before,
        "links_lost": stage.mesh.lost(),
        "calls_failed": stage.mesh.failed(),
        "previous_readable_during_grace": manual["in_grace"],
        "previous_readable_after": manual["after"],
        "revoked_readable_after": emergency["after"],
        "still_stored": stage.stored.is_former_stored(),
        "retired_cookie_refused": flags.all_refused(refused + more_refused),
        "current_cookie_accepted": flags.all_accepted(accepted + more_accepted),
        "intruder_evicted": flags.is_evicted(pursuit),
    }


def _try_cookies(stage: Stage, where: list[Address]) -> tuple[list[bool | None], list[bool | None]]:
    """What every node says to every former cookie, and to the current one."""
    stage.check()
    seen = stage.stored.seen
    former = handshakes.accepted(where, stage.stored.former.values())
    return former, handshakes.accepted(where, [seen[max(seen)]])


def _go_on(stage: Stage, him: Intruder) -> tuple[Intrusion, ...]:
    """Look at the intruder for a while, in which he tries to get into every node."""
    began, looks = time.monotonic(), [him.intrusion()]

    def is_over() -> bool:
        stage.check()
        looks.append(him.intrusion())
        is_late = time.monotonic() - began >= _GOES_ON_SECONDS
        return is_late and flags.has_tried(looks[0], looks[-1], stage.mesh.names)

    wait_until("the intruder tries to get into every node again", is_over)
    return tuple(looks)
