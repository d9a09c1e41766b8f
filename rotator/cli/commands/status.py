"""``rotator status``: what is, what blocks, and since when."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rotator.cli import output, tables
from rotator.cli.arguments import SEE
from rotator.cli.failure import ExitCode
from rotator.cli.session import Session, command
from rotator.protocol import v1

if TYPE_CHECKING:
    from collections.abc import Callable

    from rotator.cli.tables import View


def status(
    session: Session,
    *,
    cluster: Annotated[
        str | None, typer.Argument(metavar="CLUSTER", help="One cluster; else all.")
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Go on showing it: one cluster until its rotation has ended, all until Ctrl-C.",
        ),
    ] = False,
) -> ExitCode:
    """Clusters with their versions, the rotation under way, and what blocks since when.

    Ends with 7 if something blocks (other than the clock) or a cluster is frozen.
    """
    if watch and cluster is not None and session.out.is_table:
        return _watch_one(session, cluster)
    if watch:
        return _watch(session, cluster)
    return _show(session, cluster)


def _show(session: Session, cluster: str | None) -> ExitCode:
    found, document, view = _look(session, cluster)
    session.out.show(document, view)
    return ExitCode.DEGRADED if any(map(tables.is_degraded, found)) else ExitCode.OK


def _look(session: Session, cluster: str | None) -> tuple[list[v1.Cluster], Any, View]:
    api = session.api
    if cluster is None:
        every = api.get(v1.Clusters, "clusters")
        return every.value.clusters, every.document, tables.clusters(every.value, api.now)
    one = api.get(v1.Cluster, "clusters", cluster)
    shown = _with_holder(session, one.value) if session.out.is_table else one.value
    return [one.value], one.document, tables.cluster(shown, api.now)


def _with_holder(session: Session, found: v1.Cluster) -> v1.Cluster:
    """Who holds a rotation, and why, is in its facts."""
    if found.rotation is None or not found.rotation.held:
        return found
    place = ("clusters", found.name, "rotations", found.rotation.id)
    return replace(found, rotation=session.api.get(v1.Rotation, *place).value)


def _watch_one(session: Session, cluster: str) -> ExitCode:
    from rotator.cli import watch  # noqa: PLC0415 - brings the client with it

    def look() -> tuple[bool, object]:
        under_way = session.api.get(v1.Cluster, "clusters", cluster).value.rotation
        rotations.extend([under_way.id] if under_way else [])
        return bool(rotations), None

    rotations: list[str] = []
    is_over, _ = look()
    if not is_over:
        output.say(f"no rotation of {cluster} is under way; waiting for one (Ctrl-C ends)")
        _until_ctrl_c(look)
    watch.tell_end(watch.follow(session.api, cluster, rotations[0]).value)
    return _show(session, cluster)


def _until_ctrl_c(look: Callable[[], tuple[bool, object]]) -> None:
    from rotator.cli import watch  # noqa: PLC0415 - brings the client with it

    goes_on = "the service goes on without us"
    watch.until(look, timeout=None, what="", hint="", goes_on=goes_on)


def _watch(session: Session, cluster: str | None) -> ExitCode:
    if session.out.is_table and sys.stdout.isatty() and sys.stderr.isatty():
        _watch_live(session)
    else:
        _watch_lines(session, cluster)
    return ExitCode.OK


def _watch_live(session: Session) -> None:
    from rotator.cli import watch  # noqa: PLC0415 - brings the client with it

    with watch.live_view() as draw:

        def look() -> tuple[bool, object]:
            found, _, view = _look(session, None)
            draw(view)
            return False, found

        _until_ctrl_c(look)


def _watch_lines(session: Session, cluster: str | None) -> None:
    known: dict[str, str] = {}
    documents: list[Any] = []

    def look() -> tuple[bool, object]:
        found, document, _ = _look(session, cluster)
        if session.out.is_table:
            for one in found:
                line = _line(one)
                if known.get(one.name) != line:
                    known[one.name] = line
                    session.out.lay_out([line])
                    sys.stdout.flush()
        elif documents != [document]:
            documents[:] = [document]
            session.out.show_change(document)
        return False, found

    _until_ctrl_c(look)


def _line(found: v1.Cluster) -> str:
    parts = [found.name, found.state]
    if found.current is not None:
        parts.append(f"version {found.current}")
    if found.rotation is not None:
        parts.append(tables.words(found.rotation.phase))
    if found.blockers:
        parts.append(f"waits for {', '.join(map(tables.blocker, found.blockers))}")
    return "  ".join(parts)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    command(
        app,
        "status",
        "rotator status",
        "rotator status orders --watch",
        "rotator status orders -o json",
        panel=SEE,
    )(status)
