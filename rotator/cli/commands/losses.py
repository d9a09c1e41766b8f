"""When a store is lost: rebuild the state store, or the secrets manager; keep what that needs."""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rotator.cli import output
from rotator.cli.arguments import SERVER, DryRunOption, YesOption
from rotator.cli.commands.server import ConfigOption, needs_server_extra
from rotator.cli.failure import ExitCode, Misuse
from rotator.cli.session import Session, command
from rotator.cli.tables import Table, maybe

if TYPE_CHECKING:
    from rotator.cli.tables import View
    from rotator.domain.master import MasterSecret

ClustersArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CLUSTER]…", help="These clusters; without: every declared one."),
]

_MAX_PHRASE = 4096
_PAUSES = (
    "whether a schedule was paused is in no document: where one was, pause it again"
    " (rotator pause CLUSTER)"
)


def recover(
    session: Session,
    config: ConfigOption,
    clusters: ClustersArgument = None,
    *,
    dry_run: DryRunOption = False,
    keep_tokens: Annotated[
        bool,
        typer.Option("--keep-tokens", help="You know that no token was revoked since the copy."),
    ] = False,
    yes: YesOption = False,
) -> ExitCode:
    """Rebuild a lost or old state store from the documents in the secrets manager.

    Stop the service first. Only clusters whose state is lost, or older than their document, are
    touched. Tokens of an old copy are revoked, those of a lost one are gone: make new ones. So
    is the pause of a schedule.
    Repeat it if it was interrupted.
    """
    with needs_server_extra():
        from rotator.cli.commands import rebuilding  # noqa: PLC0415 - server parts

        wanted = clusters or []
        if not dry_run and not yes:
            planned = rebuilding.recover(config, wanted, is_dry=True, keeps_tokens=keep_tokens)
            output.say(*_said(planned.clusters))
            session.confirm("The state store is rebuilt as above.", yes=yes)
        done = rebuilding.recover(config, wanted, is_dry=dry_run, keeps_tokens=keep_tokens)
    rows = [asdict(one) for one in done.clusters]
    document = {"clusters": rows, "revoked_tokens": done.revoked_tokens, "dry_run": dry_run}
    view = _recovered_view(rows)
    if any(row["need"] in {"rebuild", "stamp"} for row in rows):
        view += _next_steps(done.revoked_tokens, dry_run=dry_run, keeps_tokens=keep_tokens)
    session.out.show(document, view)
    is_refused = any(row["need"] == "refused" for row in rows)
    return ExitCode.CONFLICT if is_refused else ExitCode.OK


def _said(found: tuple[Any, ...]) -> list[str]:
    return [f"{one.cluster}: {one.need}: {one.why}" for one in found]


def _recovered_view(rows: list[dict[str, Any]]) -> View:
    if not rows:
        return ["no cluster is declared"]
    cells = [
        (
            row["cluster"],
            row["need"],
            maybe(row["phase"]),
            maybe(row["next_version"]),
            maybe(row["generation"]),
            row["why"],
        )
        for row in rows
    ]
    columns = ("cluster", "needs", "goes on in", "next version", "generation", "because")
    return [Table(columns, cells)]


def _next_steps(revoked: int, *, dry_run: bool, keeps_tokens: bool) -> list[str]:
    if dry_run:
        return [f"nothing was written; {revoked} tokens would be revoked", _PAUSES]
    tokens = f"{revoked} tokens were revoked"
    if not keeps_tokens:
        tokens += "; tokens are issued anew: rotator token create --local …"
    return [
        tokens,
        _PAUSES,
        "then make a new recovery file, as yours may lack an epoch: rotator master export …",
        "then start the service; what it waits for: rotator status",
    ]


def rederive(
    session: Session,
    config: ConfigOption,
    clusters: ClustersArgument = None,
    *,
    from_file: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A recovery file of `master export`."),
    ] = None,
    dry_run: DryRunOption = False,
) -> ExitCode:
    """Rebuild what a lost or old secrets manager lacks: documents, and with a file also masters.

    Stop the service first. Each cookie is derived again and compared with the fingerprint on
    record; only what is missing is written. The file's passphrase is read from standard input.
    """
    with needs_server_extra():
        from rotator.cli.commands import rebuilding  # noqa: PLC0415 - server parts

        phrase = None if from_file is None else _passphrase(is_new=False)
        done = rebuilding.rederive(
            config, clusters or [], file=from_file, phrase=phrase, is_dry=dry_run
        )
    rows = [asdict(one) for one in done]
    view: View = ["nothing is on record that could be rebuilt"]
    if rows:
        view = [
            Table(
                ("what", "is", "because"), [(r["what"], r["came"], r["why"] or "-") for r in rows]
            )
        ]
    session.out.show({"outcomes": rows, "dry_run": dry_run}, view)
    return ExitCode.CONFLICT if any(row["came"] == "refused" for row in rows) else ExitCode.OK


def master_export(
    session: Session,
    config: ConfigOption,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="A file that is not there yet.")],
) -> ExitCode:
    """Write a recovery file: everything a lost secrets manager is rebuilt from, under a passphrase.

    The passphrase, of at least 16 characters, is read from standard input. Keep it apart from the
    file, and export again after every new epoch, emergency or import.
    """
    with needs_server_extra():
        from rotator.cli.commands import rebuilding  # noqa: PLC0415 - server parts

        done = rebuilding.export(config, to, _passphrase(is_new=True))
    output.say("keep the file and its passphrase apart, and neither in the secrets manager")
    session.out.show(
        {"file": str(to), "epochs": list(done.epochs), "clusters": list(done.clusters)},
        [f"{to}: {len(done.epochs)} epochs and {len(done.clusters)} clusters"],
    )
    return ExitCode.OK


def _passphrase(*, is_new: bool) -> MasterSecret:
    from rotator.adapters.secret_stores.recovery_file import passphrase  # noqa: PLC0415 - server

    if not sys.stdin.isatty():
        raw = sys.stdin.buffer.read(_MAX_PHRASE + 1)
        if not raw:
            raise Misuse("standard input holds no passphrase", hint="… < passphrase.txt")
        if len(raw) > _MAX_PHRASE:
            raise Misuse(f"a passphrase has at most {_MAX_PHRASE} bytes")
        return passphrase(raw.decode("utf-8", "surrogateescape"))
    typed = getpass.getpass("Passphrase (not shown): ")
    if is_new and getpass.getpass("Once more: ") != typed:
        raise Misuse("the two are not the same; nothing was written")
    return passphrase(typed)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    command(
        app,
        "recover",
        "rotator recover --config rotator.yaml --dry-run",
        "rotator recover orders --config rotator.yaml",
        panel=SERVER,
    )(recover)
    command(
        app,
        "rederive",
        "rotator rederive --config rotator.yaml --dry-run",
        "rotator rederive --config rotator.yaml --from cookies.recovery < passphrase.txt",
        panel=SERVER,
    )(rederive)
