"""Programs that restart nodes by claims, beside the cluster or in it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rotator.cli import durations
from rotator.cli.arguments import SERVER, ClusterArgument
from rotator.cli.failure import ExitCode, Failure
from rotator.cli.session import PlainGroup, Session, command

if TYPE_CHECKING:
    from rotator.cli.connection import Connection
    from rotator.kubernetes import Place
    from rotator.orchestrators.restarter import Restarter

log = logging.getLogger(__name__)

_MOUNTED_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

HolderOption = Annotated[
    str,
    typer.Option("--holder", metavar="NAME", help="Who holds the claims, for people [this host]."),
]
OnceOption = Annotated[
    bool, typer.Option("--once", help="End as soon as nothing is left to restart.")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Log each request.")]


def kubernetes(
    session: Session,
    *,
    cluster: ClusterArgument,
    node_name: Annotated[
        str,
        typer.Option(
            "--node-name",
            metavar="PATTERN",
            help="How a node's name is made of its pod's, such as rabbit@{pod}.rabbit-nodes.",
        ),
    ],
    selector: Annotated[
        str,
        typer.Option(
            "--selector",
            metavar="LABELS",
            help="Labels that the pods have; no other pod is ever evicted.",
        ),
    ],
    namespace: Annotated[
        str,
        typer.Option("--namespace", metavar="NAME", help="Of the pods [that of this pod]."),
    ] = "",
    settle: Annotated[
        str,
        typer.Option(
            "--settle", metavar="TIME", help="How long a pod that has just started is left alone."
        ),
    ] = "30s",
    kube_api: Annotated[
        str | None,
        typer.Option(
            "--kube-api",
            metavar="URL",
            help="The Kubernetes API, such as that of `kubectl proxy` [that of this pod].",
        ),
    ] = None,
    kube_token_file: Annotated[
        Path | None,
        typer.Option("--kube-token-file", metavar="FILE", help="Its token, with --kube-api."),
    ] = None,
    kube_cacert: Annotated[
        Path | None,
        typer.Option("--kube-cacert", metavar="FILE", help="What it is trusted by, PEM."),
    ] = None,
    holder: HolderOption = "",
    once: OnceOption = False,
    verbose: VerboseOption = False,
) -> ExitCode:
    """Restart the nodes of a cluster by evicting their pods, one for each claim.

    PodDisruptionBudgets hold, and no template is touched. Any number of copies may run. It needs, in
    that namespace, `get` on pods and `create` on pods/eviction.
    """
    from rotator.kubernetes import KubernetesApi  # noqa: PLC0415 - slow to load
    from rotator.orchestrators.kubernetes import KubernetesRestarter  # noqa: PLC0415
    from rotator.orchestrators.pods import NodeNames, labels  # noqa: PLC0415

    place = _place(kube_api, kube_token_file, kube_cacert)
    names, wanted = NodeNames(node_name), labels(selector)
    where, rest = namespace or _own_namespace(), durations.parse(settle)

    async def run() -> None:
        api = KubernetesApi(place)
        try:
            restarter = KubernetesRestarter(
                api, namespace=where, names=names, labels=wanted, settle=rest
            )
            await _run(session, cluster, restarter, holder=holder, once=once)
        finally:
            await api.close()

    _log(verbose=verbose)
    asyncio.run(run())
    return ExitCode.OK


def by_command(
    session: Session,
    *,
    cluster: ClusterArgument,
    program: Annotated[
        list[str], typer.Argument(metavar="-- PROGRAM...", help="What restarts one node.")
    ],
    timeout: Annotated[
        str,
        typer.Option("--timeout", metavar="TIME", help="How long the program may take."),
    ] = "5m",
    holder: HolderOption = "",
    once: OnceOption = False,
    verbose: VerboseOption = False,
) -> ExitCode:
    """Restart the nodes of a cluster by a program of yours, once for each claim.

    It finds ROTATOR_CLUSTER, ROTATOR_NODE, ROTATOR_CLAIM, ROTATOR_VERSION, ROTATOR_ROTATION and
    ROTATOR_STEP (restart, or of stop_the_world stop and then start) in its environment, and no
    secret. Exit code 0: it is done. 75: not now, ask again. Any other, or no end in time: failed.
    """
    from rotator.orchestrators.command import CommandRestarter  # noqa: PLC0415 - slow to load

    restarter = CommandRestarter(
        program, cluster=cluster, timeout=durations.parse(timeout), environment=os.environ
    )
    _log(verbose=verbose)
    asyncio.run(_run(session, cluster, restarter, holder=holder, once=once))
    return ExitCode.OK


async def _run(
    session: Session, cluster: str, restarter: Restarter, *, holder: str, once: bool
) -> None:
    from rotator.cli.client import require_token  # noqa: PLC0415 - slow to load
    from rotator.orchestrators.loop import Orchestrator  # noqa: PLC0415
    from rotator.orchestrators.service import RolloutService  # noqa: PLC0415

    connection = session.connection()
    require_token(connection)
    service = RolloutService(
        address=connection.address,
        cluster=cluster,
        token=lambda: _token(session, connection),
        ca_cert=connection.cacert,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(service.close)
        orchestrator = Orchestrator(
            service=service, restarter=restarter, holder=holder or socket.gethostname()
        )
        running = asyncio.ensure_future(orchestrator.run(once=once))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _end, running, number)
        with suppress(asyncio.CancelledError):
            await running


def _end(running: asyncio.Future[None], number: signal.Signals) -> None:
    log.info("%s: no further claim; a restart that has begun is finished", number.name)
    running.cancel()


def _token(session: Session, before: Connection) -> str:
    """Read anew, as the kubelet and others replace it; the one of before while it cannot be read."""
    try:
        return session.connection().token
    except Failure:
        return before.token


def _place(address: str | None, token_file: Path | None, cacert: Path | None) -> Place:
    from rotator.kubernetes import Place, in_cluster  # noqa: PLC0415 - slow to load

    if address is None:
        return in_cluster(os.environ)
    return Place(address=address.rstrip("/"), token_file=token_file, ca_cert=cacert)


def _own_namespace() -> str:
    try:
        return _MOUNTED_NAMESPACE.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        raise Failure(
            "this is no pod, so its namespace is not known",
            code=ExitCode.USAGE,
            hint="add --namespace",
        ) from None


def _log(*, verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("httpx").setLevel(logging.INFO if verbose else logging.WARNING)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    group = typer.Typer(
        name="orchestrate",
        help="Restart nodes that take a new cookie only when they start, as the service lets.",
        no_args_is_help=True,
        cls=PlainGroup,
    )
    command(
        group,
        "kubernetes",
        "rotator orchestrate kubernetes orders --node-name 'rabbit@{pod}.rabbit-nodes'"
        " --selector app=rabbitmq",
        "rotator orchestrate kubernetes orders --node-name 'app@{pod}.app' --selector app=shop"
        " --namespace shop --kube-api http://127.0.0.1:8001 --once",
    )(kubernetes)
    command(
        group,
        "command",
        "rotator orchestrate command orders -- /usr/local/bin/restart-node",
        "rotator orchestrate command orders --once --timeout 10m -- ansible-playbook restart.yml",
    )(by_command)
    app.add_typer(group, name="orchestrate", rich_help_panel=SERVER)
