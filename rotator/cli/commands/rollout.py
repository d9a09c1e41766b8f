"""``rotator rollout``: what restarts next, what is under way, and what waits for what."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rotator.cli import rollouts
from rotator.cli.arguments import SEE, ClusterArgument
from rotator.cli.failure import ExitCode
from rotator.cli.session import Session, command
from rotator.protocol import v1

if TYPE_CHECKING:
    from rotator.cli.client import Answer


def rollout(
    session: Session,
    *,
    cluster: ClusterArgument,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Go on showing each change, until nothing is left to restart."
        ),
    ] = False,
) -> ExitCode:
    """Which nodes restart next, which are under way, and which wait for what.

    Ends with 7 if a restart has failed, or a node has not come back.
    """
    if not watch:
        found = _look(session, cluster)
        session.out.show(found.document, rollouts.rollout(found.value))
    else:
        found = _watch(session, cluster)
    return ExitCode.DEGRADED if rollouts.is_stopped(found.value) else ExitCode.OK


def _look(session: Session, cluster: str) -> Answer[v1.Rollout]:
    return session.api.get(v1.Rollout, "clusters", cluster, "rollout")


def _watch(session: Session, cluster: str) -> Answer[v1.Rollout]:
    from rotator.cli import watch  # noqa: PLC0415 - brings the client with it
    from rotator.orchestrators.loop import is_over  # noqa: PLC0415 - and this the event loop

    seen: list[Answer[v1.Rollout]] = []

    def look() -> tuple[bool, object]:
        found = _look(session, cluster)
        if not seen or seen[-1].value.revision != found.value.revision:
            if session.out.is_table:
                session.out.lay_out([*([""] if seen else []), *rollouts.rollout(found.value)])
                sys.stdout.flush()
            else:
                session.out.show_change(found.document)
        seen[:] = [found]
        return is_over(found.value), found.value.revision

    goes_on = f"the rollout of {cluster} goes on without us"
    watch.until(look, timeout=None, what="", hint="", goes_on=goes_on)
    return seen[0]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    command(
        app,
        "rollout",
        "rotator rollout orders",
        "rotator rollout orders --watch",
        "rotator rollout orders -o json",
        panel=SEE,
    )(rollout)
