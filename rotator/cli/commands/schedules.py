"""Pause and resume what begins by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotator.cli import output, tables
from rotator.cli.arguments import INTERVENE, ClusterArgument, ReasonOption
from rotator.cli.failure import ExitCode
from rotator.cli.session import Session, command
from rotator.protocol import v1

if TYPE_CHECKING:
    import typer


def pause(session: Session, *, cluster: ClusterArgument, reason: ReasonOption = "") -> ExitCode:
    """Begin no rotation by the schedule until it is resumed; one that is under way goes on."""
    _order(session, cluster, "pause", reason=reason)
    return ExitCode.OK


def resume(session: Session, *, cluster: ClusterArgument, reason: ReasonOption = "") -> ExitCode:
    """Let the schedule go on with its next time; what went by while it was paused is not made up."""
    before = session.api.get(v1.Cluster, "clusters", cluster).value.schedule
    paused_at = before.paused_at if before else None
    after = _order(session, cluster, "resume", reason=reason)
    passed = after.last_passed_over if after else None
    if paused_at and passed and passed.why == "paused" and passed.at > paused_at:
        missed = f"the rotation of {tables.when(passed.slot)} was passed over"
        output.warn([f"{missed}; `rotator rotate {cluster}` makes up for it now"])
    return ExitCode.OK


def _order(session: Session, cluster: str, verb: str, *, reason: str) -> v1.Schedule | None:
    asked = v1.Reason(reason=reason)
    answer = session.api.post(v1.Cluster, "clusters", cluster, verb, body=asked)
    session.out.show(answer.document, tables.cluster(answer.value, session.api.now))
    return answer.value.schedule


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    command(app, "pause", 'rotator pause orders --reason "end of year"', panel=INTERVENE)(pause)
    command(app, "resume", "rotator resume orders", panel=INTERVENE)(resume)
