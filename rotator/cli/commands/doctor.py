"""`rotator doctor`: look at everything that the service depends on, and change nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from rotator.cli import output
from rotator.cli.arguments import SERVER
from rotator.cli.commands.server import ConfigOption, needs_server_extra
from rotator.cli.failure import ExitCode
from rotator.cli.session import Session, command
from rotator.cli.tables import Table, View

if TYPE_CHECKING:
    import typer

    from rotator.services.doctor.runner import Checked, Report

_EXAMPLES: Final = (
    "rotator doctor --config /etc/rotator/rotator.yaml",
    "sudo -u rotator rotator doctor --config /etc/rotator/rotator.yaml   # as the service's user",
    "rotator doctor --config rotator.yaml -o json | jq -r '.findings[] | .code'",
)


def doctor(session: Session, config: ConfigOption) -> ExitCode:
    """Look at settings, files, state store, secrets manager, masters, tokens and clusters.

    Run it on the server, as the user of the service: what that user may not read is a finding.
    It changes nothing, and works while the service runs as well as when it does not.
    Ends with 7 if there is an error or a warning; notes alone end with 0.
    """
    with needs_server_extra():
        from rotator.cli.commands import local  # noqa: PLC0415 - server parts

        report = local.diagnose(config, on_progress=_told)
    session.out.show(as_document(report), as_view(report))
    return ExitCode.DEGRADED if report.is_degraded else ExitCode.OK


def _told(checked: Checked) -> None:
    """Progress, for who sits before it."""
    if sys.stderr.isatty():
        output.say(f"{checked.name}: {checked.outcome}")


def as_document(report: Report) -> dict[str, Any]:
    """For programs."""
    return {
        "degraded": report.is_degraded,
        "findings": [
            {
                "severity": str(one.meaning.severity),
                "code": one.code,
                "subject": one.subject,
                "detail": one.detail,
                "means": one.meaning.means,
                "do": one.meaning.remedy,
            }
            for one in report.findings
        ],
        "checks": [{"name": one.name, "outcome": str(one.outcome)} for one in report.checks],
    }


def as_view(report: Report) -> View:
    """For people: what was found, then what each code means and what to do."""
    made = len(report.checks)
    if not report.findings:
        return [f"nothing found in {made} checks"]
    rows = [
        (str(one.meaning.severity), one.code, one.subject, one.detail) for one in report.findings
    ]
    meanings = {one.code: one.meaning for one in report.findings}
    said = [f"{code}: {one.means}. Do: {one.remedy}." for code, one in meanings.items()]
    left = [one.name for one in report.checks if one.outcome in {"failed", "skipped"}]
    not_made = [f"not looked at: {', '.join(left)}"] if left else []
    return [Table(("severity", "code", "subject", "detail"), rows), "", *said, *not_made]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    command(app, "doctor", *_EXAMPLES, panel=SERVER)(doctor)
