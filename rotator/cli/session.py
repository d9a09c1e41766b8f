"""What every command has in common: the options for output and connection, and how it ends.

The options stand before the command and after it; the nearer one wins. They are added here to
each command's signature, which is where typer looks.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, get_type_hints

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from rotator import errors
from rotator.cli import output
from rotator.cli.failure import ExitCode, Failure, Interrupted, Misuse
from rotator.cli.output import Format, Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from rotator.cli.client import Api
    from rotator.cli.connection import Connection

_PANEL: Final = "Connection and output"

OutputOption = Annotated[
    Format | None,
    typer.Option("--output", "-o", help="Format of standard output.", rich_help_panel=_PANEL),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--addr",
        metavar="URL",
        help="The service [ROTATOR_ADDR; http://127.0.0.1:8400].",
        rich_help_panel=_PANEL,
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="File that holds the API token [ROTATOR_TOKEN_FILE, or ROTATOR_TOKEN itself].",
        rich_help_panel=_PANEL,
    ),
]
CacertOption = Annotated[
    Path | None,
    typer.Option(
        "--cacert",
        metavar="FILE",
        help="Certificates to trust, PEM [ROTATOR_CACERT].",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Globals:
    """The options that all commands have; None where not given."""

    output: OutputOption = None
    addr: AddressOption = None
    token_file: TokenFileOption = None
    cacert: CacertOption = None

    def over(self, outer: Globals) -> Globals:
        """These, and the outer ones where these are not given."""
        names = [one.name for one in fields(self)]
        return Globals(**{n: getattr(self, n) or getattr(outer, n) for n in names})


class Session:
    """One run of one command."""

    def __init__(self, options: Globals) -> None:
        self._options = options
        self._api: Api | None = None
        self.out = Output(options.output or Format.TABLE)

    @property
    def api(self) -> Api:
        """The service; connected to when first asked."""
        if self._api is None:
            # Both are slow to load, and `rotator version` needs neither.
            from rotator.cli.client import Api  # noqa: PLC0415

            self._api = Api(self.connection())
        return self._api

    def connection(self) -> Connection:
        """Where the service is and who asks, as files and environment say now; `Misuse`."""
        from rotator.cli.connection import resolve  # noqa: PLC0415 - as above

        options = self._options
        return resolve(address=options.addr, token_file=options.token_file, cacert=options.cacert)

    def close(self) -> None:
        """Let go of the connection."""
        if self._api is not None:
            self._api.close()

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something dangerous; without a terminal the flag must say it."""
        if yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise Misuse(
                f"nothing was done: this needs a yes, and there is no terminal to ask on ({question})",
                hint="add --yes if that is meant",
            )
        print(f"{output.clean(question)} Go on? [y/N] ", end="", file=sys.stderr, flush=True)
        try:
            answer = sys.stdin.readline()
        except KeyboardInterrupt:
            raise Interrupted("nothing was done") from None
        if answer.strip().lower() not in {"y", "yes"}:
            raise Failure("nothing was done")


class PlainCommand(TyperCommand):
    """A command whose help shows no types of Python's."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer keeps its type to itself
        """As typer has them, quieter."""
        return _without_types(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """The same for a command that has commands."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer keeps its type to itself
        """As typer has them, quieter."""
        return _without_types(super().get_params(ctx))


def _without_types(params: list[Any]) -> list[Any]:
    """The names of arguments say what is wanted, and a flag is one."""
    for one in params:
        if isinstance(one, TyperArgument) or getattr(one, "is_flag", False):
            one.display_type = lambda _ctx: ""
    return params


def command(
    app: typer.Typer,
    name: str,
    *examples: str,
    panel: str | None = None,
    takes_anything: bool = False,
) -> Callable[[Callable[..., ExitCode | None]], Callable[..., ExitCode | None]]:
    """Make a function that takes a `Session` first a command of *app*.

    With *takes_anything* the function has a second parameter, `extra`: whether there were
    arguments too many.
    """

    def register(body: Callable[..., ExitCode | None]) -> Callable[..., ExitCode | None]:
        summary = inspect.getdoc(body) or ""
        shown = "\n\n".join(f"`{example}`" for example in examples)
        app.command(
            name,
            cls=PlainCommand,
            help=f"{summary}\n\n**Examples**\n\n{shown}" if examples else summary,
            rich_help_panel=panel,
            # Else an argument too many would be repeated on the terminal.
            context_settings={"allow_extra_args": True} if takes_anything else None,
        )(_with_session(body))
        return body

    return register


def _with_session(body: Callable[..., ExitCode | None]) -> Callable[..., None]:
    every = list(inspect.signature(body).parameters.values())[1:]
    own = [one for one in every if one.name != "extra"]
    hints = get_type_hints(body, include_extras=True)
    common = get_type_hints(Globals, include_extras=True)

    @functools.wraps(body)
    def run(ctx: typer.Context, **values: Any) -> None:  # noqa: ANN401 - as typer parsed them
        given = Globals(**{name: values.pop(name) for name in common})
        outer = ctx.find_root().obj
        if len(own) < len(every):
            values["extra"] = bool(ctx.args)
        session = Session(given.over(outer if isinstance(outer, Globals) else Globals()))
        _end(_guarded(functools.partial(body, session, **values), session))

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("ctx", keyword, annotation=typer.Context)]
    parameters += [p.replace(kind=keyword, annotation=hints[p.name]) for p in own]
    parameters += [
        inspect.Parameter(name, keyword, default=None, annotation=hint)
        for name, hint in common.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _guarded(body: Callable[[], ExitCode | None], session: Session) -> ExitCode:
    """Run it; whatever goes wrong becomes a sentence and an exit code."""
    try:
        return body() or ExitCode.OK
    except Failure as failure:
        output.report(failure)
        return failure.code
    except errors.RotatorError as error:
        output.report(Failure(str(error)))
        return _code_of(error)
    except KeyboardInterrupt:
        output.report(Interrupted("what was asked for may have been carried out"))
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read has gone; a second attempt at exit would only complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:  # noqa: BLE001 - the outermost place there is
        output.report_bug(error)
        return ExitCode.FAILED
    finally:
        session.close()


def _code_of(error: errors.RotatorError) -> ExitCode:
    """Of commands that run on the server itself."""
    match error:
        case errors.InputError():
            return ExitCode.USAGE
        case errors.NotFound():
            return ExitCode.NOT_FOUND
        case errors.NotAllowed() | errors.NotAuthenticated():
            return ExitCode.NOT_ALLOWED
        case errors.Conflict() | errors.AnotherProcess():
            return ExitCode.CONFLICT
        case _:
            return ExitCode.FAILED


def _end(code: ExitCode) -> NoReturn:
    raise typer.Exit(int(code))
