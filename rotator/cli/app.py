"""The program: its commands, and the options that all of them have."""

from __future__ import annotations

import importlib
import sys
from enum import StrEnum
from typing import Final

import typer

import rotator
from rotator.cli import output
from rotator.cli.arguments import PANELS, SEE
from rotator.cli.failure import ExitCode
from rotator.cli.session import (
    AddressOption,
    CacertOption,
    Globals,
    OutputOption,
    PlainGroup,
    Session,
    TokenFileOption,
    command,
)

_NAME = "rotator"
_HELP = """\
Rotates the cookies of Erlang clusters: by schedule, by hand, and at once when one has leaked.

Beside the nodes runs `rotator agent`, which has a help of its own.

Exit codes: 0 ok · 1 failed · 2 usage · 3 not found · 4 not allowed · 5 conflict · \
6 timed out waiting · 7 degraded
"""


#: The modules of commands, and the commands of each.
_MODULES: Final = {
    "status": ("status",),
    "facts": ("rotations", "facts"),
    "rotate": ("rotate", "emergency"),
    "lifecycle": (
        "init", "import", "abort", "rollback", "hold", "release", "extend-grace", "end-grace",
    ),
    "schedules": ("pause", "resume"),
    "nodes": ("nodes", "excuse", "leave", "remove", "readmit"),
    "tokens": ("token",),
    "server": ("serve", "demo", "master"),
    "losses": ("recover", "rederive"),
    "doctor": ("doctor",),
    "orchestrate": ("orchestrate",),
    "rollout": ("rollout",),
    "": ("version", "completion"),
}  # fmt: skip


class InPanels(PlainGroup):
    """Lists its commands in the order of the panels."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Names, by panel and then as they were added."""

        def place(name: str) -> int:
            panel = getattr(self.commands[name], "rich_help_panel", None)
            return PANELS.index(panel) if panel in PANELS else len(PANELS)

        return sorted(super().list_commands(ctx), key=place)


class Shell(StrEnum):
    """Shells that completion is made for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def root(
    ctx: typer.Context,
    output: OutputOption = None,
    addr: AddressOption = None,
    token_file: TokenFileOption = None,
    cacert: CacertOption = None,
) -> None:
    """Keep the options for the command; without a command, help."""
    ctx.obj = Globals(output=output, addr=addr, token_file=token_file, cacert=cacert)
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def version(session: Session) -> ExitCode:
    """The version of this program."""
    session.out.show({"version": rotator.__version__}, [rotator.__version__])
    return ExitCode.OK


def completion(session: Session, shell: Shell) -> ExitCode:  # noqa: ARG001 - as all commands
    """Print a completion script for your shell."""
    from typer.completion import (  # type: ignore[attr-defined]  # noqa: PLC0415 - only here
        get_completion_script,
    )

    made = get_completion_script(
        prog_name=_NAME, complete_var="_ROTATOR_COMPLETE", shell=shell.value
    )
    print(made)
    return ExitCode.OK


def _needed(word: str) -> list[str]:
    """The modules to load: that of one command, or all where another help or an error is due."""
    own = [module for module, names in _MODULES.items() if word in names]
    return [module for module in own or _MODULES if module]


def build(word: str = "") -> typer.Typer:
    """The program; where *word* is a command, with the commands of its module alone.

    To load and describe all of them takes longer than to carry out most.
    """
    app = typer.Typer(
        name=_NAME,
        cls=InPanels,
        help=_HELP,
        rich_markup_mode="markdown",
        invoke_without_command=True,
        add_completion=True,
        # Tracebacks of typer's own would show local variables.
        pretty_exceptions_enable=False,
    )
    app.callback()(root)
    for module in _needed(word):
        importlib.import_module(f"rotator.cli.commands.{module}").register(app)
    command(app, "version", "rotator version", panel=SEE)(version)
    example = "rotator completion bash > ~/.local/share/bash-completion/completions/rotator"
    command(app, "completion", example, panel=SEE)(completion)
    return app


def run() -> None:
    """Run the program with the arguments of the process; never returns normally."""
    try:
        build(sys.argv[1] if len(sys.argv) > 1 else "")(prog_name=_NAME)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the outermost place there is
        output.report_bug(error)
        sys.exit(ExitCode.FAILED)
