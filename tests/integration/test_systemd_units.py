"""The units that are shipped: what systemd makes of them, and that their commands are real ones."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from rotator.agent.main import parser
from rotator.cli.app import build
from tests.support.markdown import CHECKOUT

DEPLOY = CHECKOUT / "deploy"
UNITS = DEPLOY / "systemd"
AGENT, AGENT_OF_A_USER = "rotator-agent.service", "rotator-agent@.service"
SERVICE, ORCHESTRATOR = "rotator.service", "rotator-orchestrator@.service"
PROGRAM = "/opt/rotator/bin/rotator"
COMMAND = re.compile(r"rotator agent( [^`\n#]*)?")


def directives(text: str) -> list[str]:
    """Its lines without comments, in order."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`systemd-analyze`, which asks no running systemd for any of this."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def installed(unit: str, directory: Path) -> Path:
    """The unit as it would be on a host where the program is this checkout's, and `%i` is daemon."""
    program = Path(sys.executable).with_name("rotator")
    text = (UNITS / unit).read_text(encoding="utf-8").replace(PROGRAM, str(program))
    copied = directory / unit.replace("@.", "@daemon.")
    text = re.sub(r"User=(rabbitmq|rotator-orchestrator)", "User=daemon", text)
    copied.write_text(text, encoding="utf-8")
    return copied


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.glob("*.service")))
def test_systemd_takes_each_unit_without_a_word(unit: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing to say about a unit that is shipped."""
    ran = analyze("verify", "--man=no", installed(unit, tmp_path))
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


@pytest.mark.parametrize("unit", [AGENT, AGENT_OF_A_USER, SERVICE, ORCHESTRATOR])
def test_each_program_has_few_rights(unit: str, tmp_path: Path) -> None:
    """What systemd calls its exposure is at most 2.0 of 10."""
    ran = analyze("security", "--offline=yes", "--threshold=20", installed(unit, tmp_path))
    assert ran.returncode == 0, ran.stdout


def test_the_units_of_the_agent_differ_in_the_user_alone() -> None:
    """One user or several: the rights are the same."""
    one, several = (
        directives((UNITS / unit).read_text(encoding="utf-8")) for unit in (AGENT, AGENT_OF_A_USER)
    )
    changed = {line.partition("=")[0] for line in set(one) ^ set(several)}
    assert changed == {"Description", "ExecStart", "User", "ReadWritePaths", "StateDirectory"}
    assert [line.partition("=")[0] for line in one] == [line.partition("=")[0] for line in several]


@pytest.mark.parametrize("unit", [SERVICE, ORCHESTRATOR])
def test_each_command_of_a_unit_exists(unit: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A unit starts a command of this program with options that it has."""
    [line] = [
        line
        for line in directives((UNITS / unit).read_text(encoding="utf-8"))
        if line.startswith(f"ExecStart={PROGRAM} ")
    ]
    words = line.replace("%i", "orders").split()[1:]
    with pytest.raises(SystemExit) as ended:
        typer.main.get_command(build(words[0]))(words)
    told = capsys.readouterr().err
    assert ended.value.code != 0
    # Parsed as it stands: its file is not there, and the token of systemd's is not read here.
    assert "rotator.yaml" in told or "/token" in told, told
    assert "Usage:" not in told


def test_the_orchestrators_token_is_in_no_argument_and_no_environment() -> None:
    """It is handed over as a credential of systemd, which only that process can read."""
    lines = directives((UNITS / ORCHESTRATOR).read_text(encoding="utf-8"))
    assert "LoadCredential=token:/etc/rotator/orchestrator-%i.token" in lines
    assert not [line for line in lines if line.startswith(("Environment=", "SetCredential="))]


def test_the_agent_is_started_again_and_never_stops_a_node() -> None:
    """However it ends it comes back, and no node's unit is bound to it."""
    lines = directives((UNITS / AGENT).read_text(encoding="utf-8"))
    assert "Restart=always" in lines
    bound = ("Requires=", "BindsTo=", "PartOf=", "Conflicts=", "PropagatesStopTo=", "ExecStop")
    assert [line for line in lines if line.startswith(bound)] == []


def commands(folder: Path) -> set[str]:
    """What follows `rotator agent` in files that a user copies or reads."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in {".service", ".conf", ".cfg", ".md"}:
            for line in path.read_text(encoding="utf-8").splitlines():
                found |= {
                    (match[1] or "").strip()
                    for match in COMMAND.finditer(line)
                    if f"{PROGRAM} agent" in line or f"`{match[0]}`" in line
                }
    return found


@pytest.mark.parametrize("folder", [DEPLOY, CHECKOUT / "docs" / "how-to"])
def test_each_command_of_the_agent_that_is_written_down_exists(folder: Path) -> None:
    """A unit, a recipe or a page names no command and no option that the agent does not have."""
    found = commands(folder)
    assert found
    for words in found:
        parser().parse_intermixed_args(words.split())
