"""Arguments and options that several commands share, each described once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from rotator.cli import durations
from rotator.cli.failure import Misuse

if TYPE_CHECKING:
    from datetime import timedelta

SEE: Final = "See"
ROTATE: Final = "Rotate"
INTERVENE: Final = "Intervene"
NODES: Final = "Nodes"
TOKENS: Final = "Tokens"
SERVER: Final = "Server"
PANELS: Final = (SEE, ROTATE, INTERVENE, NODES, TOKENS, SERVER)

ClusterArgument = Annotated[str, typer.Argument(metavar="CLUSTER", help="A cluster's name.")]
NodeArgument = Annotated[
    str, typer.Argument(metavar="NODE", help="A node's name, such as rabbit@a.")
]
RotationOption = Annotated[
    str | None,
    typer.Option("--rotation", metavar="ID", help="This rotation, not the one under way."),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it stands in the facts.")
]
NeededReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it stands in the facts. Required.")
]
#: Of an emergency, which can be tried without one.
EmergencyReasonOption = Annotated[
    str,
    typer.Option(
        "--reason", metavar="TEXT", help="Why; it stands in the facts. Required, but to try it."
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Do it in spite of what speaks against.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
WaitOption = Annotated[
    bool, typer.Option("--wait", "-w", help="Show each phase as it happens, until the end.")
]
TimeoutOption = Annotated[
    str | None,
    typer.Option(
        "--timeout", metavar="TIME", help="Wait no longer than this, such as 90s, 10m or 2h."
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would happen; write nothing.")
]


def required_reason(reason: str) -> str:
    """The reason, where there must be one; raises `Misuse`."""
    if not reason.strip():
        raise Misuse(
            "this needs a reason, for those who read the facts later", hint='add --reason "…"'
        )
    return reason


def timeout_of(timeout: str | None, *, wait: bool) -> timedelta | None:
    """How long to wait at most; None: as long as it takes."""
    if timeout is None:
        return None
    if not wait:
        raise Misuse("--timeout goes with --wait")
    return durations.parse(timeout)
