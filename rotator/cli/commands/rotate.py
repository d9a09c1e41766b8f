"""``rotator rotate`` and ``rotator emergency``: replace cookies."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from rotator.cli import listings, output, tables
from rotator.cli.arguments import (
    ROTATE,
    ClusterArgument,
    DryRunOption,
    EmergencyReasonOption,
    ForceOption,
    ReasonOption,
    TimeoutOption,
    WaitOption,
    YesOption,
    required_reason,
    timeout_of,
)
from rotator.cli.failure import ExitCode, Misuse
from rotator.cli.session import Session, command
from rotator.protocol import v1

if TYPE_CHECKING:
    from rotator.cli.client import Answer


def rotate(
    session: Session,
    *,
    cluster: ClusterArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> ExitCode:
    """Replace a cluster's cookie, step by step, with previous and current both at hand.

    With --wait it ends with 0 if the rotation is completed, with 1 if it ended otherwise, and
    with 6 after --timeout; the rotation goes on then.
    """
    limit = timeout_of(timeout, wait=wait)
    asked = v1.StartRotation(kind="manual", reason=reason, dry_run=dry_run)
    if dry_run:
        return show_plans(session, [_plan(session, cluster, asked)])
    begun = session.api.post(v1.Rotation, "clusters", cluster, "rotations", body=asked)
    output.warn(begun.value.warnings)
    return conclude(session, begun, wait=wait, limit=limit)


def conclude(
    session: Session,
    begun: Answer[v1.Rotation],
    *,
    wait: bool,
    limit: timedelta | None,
    wanted: str = "completed",
) -> ExitCode:
    """Show the rotation as it is now, or follow it to its end."""
    code, answer = ExitCode.OK, begun
    if wait:
        from rotator.cli import watch  # noqa: PLC0415 - brings the client with it

        rotation = begun.value
        answer = watch.follow(session.api, rotation.cluster, rotation.id, timeout=limit)
        code = watch.outcome(answer.value, wanted=wanted)
        if session.out.is_table:
            watch.tell_who_may_have_read(answer.value)
        else:
            watch.tell_end(answer.value)
    session.out.show(answer.document, tables.rotation(answer.value, session.api.now))
    return code


def _plan(session: Session, cluster: str, asked: v1.StartRotation) -> Answer[v1.Plan]:
    return session.api.post(v1.Plan, "clusters", cluster, "rotations", body=asked)


def show_plans(session: Session, plans: list[Answer[v1.Plan]]) -> ExitCode:
    """What would happen; a conflict if one of them would be refused."""
    for one in plans:
        output.warn(one.value.warnings)
    documents = [one.document for one in plans]
    view = [part for one in plans for part in tables.plan(one.value)]
    session.out.show(documents[0] if len(documents) == 1 else documents, view)
    return ExitCode.CONFLICT if any(one.value.conflict for one in plans) else ExitCode.OK


def emergency(
    session: Session,
    *,
    clusters: Annotated[
        list[str] | None, typer.Argument(metavar="CLUSTER", help="Whose cookie has leaked.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All clusters in the token's scope.")
    ] = False,
    reason: EmergencyReasonOption = "",
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="NODE", help="Revoke this node's tokens first."),
    ] = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
) -> ExitCode:
    """Replace leaked cookies at once, from a new master secret; nothing old stays readable.

    Every version that was ever readable is revoked: there is no grace window and no way back.
    """
    names = list(dict.fromkeys(clusters or []))
    if bool(names) == every:
        raise Misuse("name the clusters, or give --all")
    limit = timeout_of(timeout, wait=wait)
    excluded = exclude or []
    asked = v1.StartRotation(
        kind="emergency", reason=reason, dry_run=dry_run, exclude=excluded, force=force
    )
    if dry_run:
        scope = names or _scope(session)
        return show_plans(session, [_plan(session, name, asked) for name in scope])
    required_reason(reason)
    whom = "all clusters in scope" if every else ", ".join(names)
    question = f"An emergency rotation of {whom} revokes every present cookie, with no way back."
    session.confirm(question, yes=yes)
    if len(names) == 1:
        begun = session.api.post(v1.Rotation, "clusters", names[0], "rotations", body=asked)
        output.warn(begun.value.warnings)
        return conclude(session, begun, wait=wait, limit=limit)
    many = v1.Emergency(clusters=names or ["*"], reason=reason, exclude=excluded, force=force)
    report = session.api.post(v1.EmergencyReport, "emergency", body=many)
    output.warn(report.value.warnings)
    return _conclude_many(session, report, wait=wait, limit=limit)


def _scope(session: Session) -> list[str]:
    return [one.name for one in session.api.get(v1.Clusters, "clusters").value.clusters]


def _conclude_many(
    session: Session, report: Answer[v1.EmergencyReport], *, wait: bool, limit: timedelta | None
) -> ExitCode:
    codes = [ExitCode.FAILED if row.error else ExitCode.OK for row in report.value.clusters]
    if wait:
        codes += _follow_all(session, report.value, limit)
        report = session.api.get(v1.EmergencyReport, "emergencies", report.value.id)
    session.out.show(report.document, listings.emergency(report.value))
    return max(codes, default=ExitCode.OK)


def _follow_all(
    session: Session, report: v1.EmergencyReport, limit: timedelta | None
) -> list[ExitCode]:
    """They run side by side; the course of each comes from its facts, so one after another will do."""
    from rotator.cli import watch  # noqa: PLC0415 - brings the client with it

    begun, codes = time.monotonic(), []
    for row in report.clusters:
        if row.rotation is not None:
            spent = timedelta(seconds=time.monotonic() - begun)
            left = None if limit is None else max(timedelta(), limit - spent)
            found = watch.follow(session.api, row.cluster, row.rotation, timeout=left)
            watch.tell_end(found.value)
            codes.append(watch.outcome(found.value))
    return codes


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    command(
        app,
        "rotate",
        "rotator rotate orders --wait --timeout 30m",
        'rotator rotate orders --reason "quarterly" --dry-run',
        panel=ROTATE,
    )(rotate)
    command(
        app,
        "emergency",
        'rotator emergency orders --reason "cookie found in a log" --wait',
        'rotator emergency orders billing --reason "stolen laptop" --exclude rabbit@laptop',
        'rotator emergency --all --reason "backup leaked" --yes -o json',
        "rotator emergency orders --dry-run",
        panel=ROTATE,
    )(emergency)
