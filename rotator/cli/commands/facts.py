"""History: rotations and facts."""

from __future__ import annotations

from typing import Annotated

import typer

from rotator.cli import listings, tables
from rotator.cli.arguments import SEE, ClusterArgument
from rotator.cli.failure import ExitCode
from rotator.cli.session import Session, command
from rotator.protocol import v1


def rotations(
    session: Session,
    *,
    cluster: ClusterArgument,
    rotation: Annotated[
        str | None, typer.Argument(metavar="ID", help="One rotation, with its course.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="At most so many.")] = 20,
    before: Annotated[
        str | None, typer.Option("--before", metavar="ID", help="Those older than this one.")
    ] = None,
) -> ExitCode:
    """The rotations of a cluster, newest first; or one of them with its course."""
    if rotation is None:
        place = ("clusters", cluster, "rotations")
        every = session.api.get(v1.Rotations, *place, limit=limit, before=before)
        session.out.show(every.document, tables.rotations(every.value, session.api.now))
        return ExitCode.OK
    from rotator.cli import progress  # noqa: PLC0415 - only this command needs it

    one = session.api.get(v1.Rotation, "clusters", cluster, "rotations", rotation)
    course = [f"  {progress.line(moment)}" for moment in progress.course(one.value)]
    session.out.show(one.document, [*tables.rotation(one.value, session.api.now), *course])
    return ExitCode.OK


def facts(
    session: Session,
    *,
    cluster: Annotated[
        str | None, typer.Argument(metavar="CLUSTER", help="Of one cluster; else all.")
    ] = None,
    after: Annotated[
        int | None,
        typer.Option(
            "--after", metavar="N", min=0, help="Those after this position, oldest first."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 50,
) -> ExitCode:
    """The audit log: who did what, when and why. Without --after the newest ones.

    The table has the newest last; -o json is as the service answers, newest first.
    """
    newest = "true" if after is None else None
    found = session.api.get(
        v1.Facts, "facts", cluster=cluster, after=after, limit=limit, newest_first=newest
    )
    session.out.show(found.document, listings.facts(found.value, is_newest=after is None))
    return ExitCode.OK


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    command(
        app,
        "rotations",
        "rotator rotations orders",
        "rotator rotations orders ID -o json",
        panel=SEE,
    )(rotations)
    command(
        app,
        "facts",
        "rotator facts orders --limit 20",
        "rotator facts --after 0 -o json",
        panel=SEE,
    )(facts)
