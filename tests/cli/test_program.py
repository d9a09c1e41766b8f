"""The program itself: help, completion, and what it loads."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer

from rotator.cli.app import _MODULES, build
from tests.cli.conftest import CHECKOUT, Program
from tests.cli.stub import Stub

GROUPS = {
    "token": ("create", "list", "revoke"),
    "master": ("import", "rotate"),
    "facts": ("list", "verify"),
    "orchestrate": ("kubernetes", "command"),
}
COMMANDS = [name for names in _MODULES.values() for name in names if name not in GROUPS]
EVERY = [[name] for name in COMMANDS] + [[g, n] for g, names in GROUPS.items() for n in names]


def test_alone_it_shows_help_in_panels(rotator: Program) -> None:
    """Without a command every command is listed, grouped by what one wants to do."""
    ran = rotator()
    assert ran.code == 0
    panels = ["See", "Rotate", "Intervene", "Nodes", "Tokens", "Server"]
    places = [ran.out.index(f" {panel} ─") for panel in panels]
    assert places == sorted(places)
    assert all(f" {name} " in ran.out for name in [*COMMANDS, *GROUPS])


def test_each_command_has_examples() -> None:
    """The help of each command shows how it is used."""
    program: Any = typer.main.get_command(build())
    for group, *names in EVERY:
        found = program.commands[group]
        for name in names:
            found = found.commands[name]
        examples = found.help.partition("**Examples**")[2]
        assert f"rotator {' '.join([group, *names])}" in examples


def test_the_help_of_a_command_shows_its_examples(rotator: Program) -> None:
    """The examples and the options of connection and output are in what is printed."""
    ran = rotator("rotate", "--help")
    assert "rotator rotate orders --wait" in ran.out
    assert "--token-file" in ran.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_made_for_each_shell(rotator: Program, shell: str) -> None:
    """The script asks the program, under the name it has."""
    ran = rotator("completion", shell)
    assert ran.code == 0
    assert "_ROTATOR_COMPLETE" in ran.out


def test_completion_knows_the_commands(rotator: Program) -> None:
    """What the script asks for is answered with the commands that fit."""
    env = {
        "_ROTATOR_COMPLETE": "complete_bash",
        "COMP_WORDS": "rotator rot",
        "COMP_CWORD": "1",
    }
    assert set(rotator(env=env).out.split()) == {"rotate", "rotations"}


def test_version_needs_neither_service_nor_token(rotator: Program, stub: Stub) -> None:
    """The version is printed without asking anybody."""
    ran = rotator("version", env={"ROTATOR_TOKEN_FILE": None})
    assert (ran.code, ran.err) == (0, "")
    assert stub.asked == []


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["serve", "--help"]], ids=" ".join)
def test_nothing_of_the_server_is_loaded(arguments: list[str]) -> None:
    """Help and version load none of the server's parts."""
    source = (
        "import sys\n"
        "from rotator.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", source, *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(ran.stderr.split())
    assert not loaded & {"fastapi", "sqlalchemy", "uvicorn", "hvac", "argon2", "rotator.bootstrap"}


def test_a_server_command_without_its_parts_says_what_to_install(rotator: Program) -> None:
    """`serve` on a base installation names the extra."""
    source = "import sys\nsys.modules['uvicorn'] = None\nfrom rotator.__main__ import main\nmain()"
    ran = subprocess.run(
        [sys.executable, "-c", source, "serve", "--config", "rotator.yaml"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "[server]" in ran.stderr


@pytest.mark.parametrize("command", ["excuse", "remove", "rollback", "emergency"])
def test_help_says_where_a_reason_is_needed_and_speaks_no_python(
    rotator: Program, command: str
) -> None:
    """Whoever reads the help learns that `--reason` is required, and sees no types."""
    ran = rotator(command, "--help")
    assert ran.code == 0
    assert "Required" in ran.out
    for oddity in ("<bool>", "<str>", "list["):
        assert oddity not in ran.out
