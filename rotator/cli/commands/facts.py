"""History: rotations and facts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rotator.cli import listings, output, tables
from rotator.cli.arguments import SEE, ClusterArgument
from rotator.cli.commands.server import ConfigOption, needs_server_extra
from rotator.cli.failure import ExitCode
from rotator.cli.session import PlainGroup, Session, command
from rotator.cli.tables import Table
from rotator.protocol import v1

if TYPE_CHECKING:
    from rotator.cli.tables import View
    from rotator.verification import Outcome


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


def facts_verify(
    session: Session,
    config: ConfigOption,
    *,
    state_store_only: Annotated[
        bool,
        typer.Option(
            "--state-store-only", help="Without the heads that are in the secrets manager."
        ),
    ] = False,
) -> ExitCode:
    """Follow each chain of facts from its first one, and say where it breaks first.

    On the server, with its settings; it changes nothing, and works while the service runs. Each
    chain must have the head that the secrets manager knows, so that a tail which was cut off is
    found. Ends with 7 if a chain is broken, with 1 if a document could not be read.
    """
    with needs_server_extra():
        from rotator.cli.commands import local  # noqa: PLC0415 - server parts

        found = local.verify_facts(config, is_anchored=not state_store_only)
    document = as_document(found)
    session.out.show(document, _followed(document["chains"]))
    output.warn(
        f"{cluster}: its document could not be read, so a cut tail is not found ({why})"
        for cluster, why in found.unanchored.items()
    )
    if not found.is_whole:
        return ExitCode.DEGRADED
    return ExitCode.FAILED if found.unanchored else ExitCode.OK


def as_document(found: Outcome) -> dict[str, Any]:
    """For programs."""
    chains = [{**asdict(one), "is_whole": one.is_whole} for one in found.chains]
    return {"is_whole": found.is_whole, "chains": chains, "unanchored": found.unanchored}


def _followed(chains: list[dict[str, Any]]) -> View:
    rows = [
        (
            one["cluster"] or "(service)",
            str(one["facts"]),
            (one["head"] or "-")[:16],
            "-" if one["anchor"] is None else str(one["anchor"]),
            "verifies" if one["is_whole"] else f"broken at {one['broken_at']}: {one['why']}",
        )
        for one in chains
    ]
    return [Table(("chain", "facts", "head", "anchored at", "is"), rows)]


class ListsByDefault(PlainGroup):
    """What follows `facts` is for `list`, unless it is the name of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own
        """As click, with the name put in."""
        is_named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if is_named else ["list", *args])


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    command(
        app,
        "rotations",
        "rotator rotations orders",
        "rotator rotations orders ID -o json",
        panel=SEE,
    )(rotations)
    group = typer.Typer(
        name="facts",
        help="The audit log: `rotator facts [CLUSTER]` lists it, as `rotator facts list` does.",
        cls=ListsByDefault,
    )
    command(
        group,
        "list",
        "rotator facts orders --limit 20",
        "rotator facts list --after 0 -o json",
    )(facts)
    command(
        group,
        "verify",
        "rotator facts verify --config rotator.yaml",
        "rotator facts verify --config rotator.yaml -o json | jq '.chains[] | {cluster, head}'",
    )(facts_verify)
    app.add_typer(group, name="facts", rich_help_panel=SEE)
