"""What runs on the server itself, or needs its parts; they are loaded only when asked for."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rotator.cli import output
from rotator.cli.arguments import SERVER, YesOption
from rotator.cli.failure import ExitCode, Failure, Interrupted
from rotator.cli.session import PlainGroup, Session, command

if TYPE_CHECKING:
    from collections.abc import Iterator

ConfigOption = Annotated[Path, typer.Option("--config", metavar="FILE", help="rotator.yaml.")]
NameArgument = Annotated[str, typer.Argument(metavar="MASTER", help="A master's name.")]


class Store(StrEnum):
    """What the demonstration keeps its cookies in."""

    VAULT = "vault"
    AWS = "aws"
    LOCAL = "local"


class Database(StrEnum):
    """What the demonstration keeps its state in."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


@contextmanager
def needs_server_extra() -> Iterator[None]:
    """The base installation does not bring the server's parts: say what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rotator"):
            raise
        raise Failure(
            "the server's parts are not installed here",
            hint="pip install 'erlang-cookie-rotator[server]'",
        ) from None


def serve(session: Session, config: ConfigOption) -> ExitCode:  # noqa: ARG001 - as all commands
    """Run the service until it is told to end."""
    from rotator.cli.commands import local  # noqa: PLC0415 - server parts

    with needs_server_extra():
        local.serve(config)
    return ExitCode.OK


def migrate(session: Session, config: ConfigOption) -> ExitCode:
    """Bring the database to this program's schema; harmless to repeat, or to run twice at once."""
    from rotator.cli.commands import local  # noqa: PLC0415 - server parts

    with needs_server_extra():
        local.migrate(config)
    session.out.show({"migrated": True}, ["the database is at this program's schema"])
    return ExitCode.OK


def demo(
    session: Session,
    store: Annotated[
        Store,
        typer.Option("--store", help="A real OpenBao, an emulator of AWS, or the local store."),
    ] = Store.VAULT,
    database: Annotated[
        Database, typer.Option("--database", help="A file, or a real PostgreSQL.")
    ] = Database.SQLITE,
) -> ExitCode:
    """Start three nodes and all else, rotate by hand and in an emergency, show the proof, clean up."""
    with needs_server_extra():
        from rotator.cli.demo import flags, telling  # noqa: PLC0415 - server parts
        from rotator.cli.demo.command import demonstrate  # noqa: PLC0415 - server parts
        from rotator.cli.demo.processes import DemoFailed  # noqa: PLC0415 - server parts

        try:
            report = demonstrate(store.value, database=database.value)
        except DemoFailed as error:
            raise Failure(str(error)) from None
        except KeyboardInterrupt:
            raise Interrupted("everything is stopped and removed") from None
    session.out.show(report, list(telling.as_text(report).splitlines()))
    return ExitCode.OK if flags.is_good(report) else ExitCode.FAILED


def master_import(
    session: Session, config: ConfigOption, name: NameArgument = "default"
) -> ExitCode:
    """Open the next epoch of a master with a secret of your own, read from standard input."""
    return _renew(session, config, name, is_imported=True)


def master_rotate(
    session: Session, config: ConfigOption, name: NameArgument = "default", yes: YesOption = False
) -> ExitCode:
    """Open the next epoch of a master with a random secret; later versions come from it."""
    session.confirm(f"Later versions come from a new epoch of master {name}.", yes=yes)
    return _renew(session, config, name, is_imported=False)


def _renew(session: Session, config: Path, name: str, *, is_imported: bool) -> ExitCode:
    from rotator.cli.commands import local  # noqa: PLC0415 - server parts

    with needs_server_extra():
        epoch = local.renew_master(config, name, is_imported=is_imported)
    output.say(f"master {name} has a new epoch; versions made from now on come from it")
    session.out.show({"master": name, "epoch": epoch}, [f"epoch {epoch} of master {name} is open"])
    return ExitCode.OK


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    command(app, "serve", "rotator serve --config rotator.yaml", panel=SERVER)(serve)
    command(app, "migrate", "rotator migrate --config rotator.yaml", panel=SERVER)(migrate)
    command(app, "demo", "rotator demo", "rotator demo --store local -o json", panel=SERVER)(demo)
    group = typer.Typer(
        name="master",
        help="The master secrets that cookies come from.",
        no_args_is_help=True,
        cls=PlainGroup,
    )
    command(group, "import", "rotator master import default --config rotator.yaml < master.hex")(
        master_import
    )
    command(group, "rotate", "rotator master rotate default --config rotator.yaml")(master_rotate)
    from rotator.cli.commands.losses import master_export  # noqa: PLC0415 - it needs this module

    command(
        group,
        "export",
        "rotator master export --to cookies.recovery --config rotator.yaml < passphrase.txt",
    )(master_export)
    app.add_typer(group, name="master", rich_help_panel=SERVER)
