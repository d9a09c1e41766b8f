"""`rotator agent` as a program: exit codes, help, and what it does not load."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rotator.agent import locks
from rotator.agent import main as module
from rotator.agent.main import main, parser
from rotator.errors import AgentFileError
from rotator.protocol import v1
from tests.architecture.test_layers import SERVER_ONLY
from tests.support.answers import desired, http, problem, serving
from tests.support.openbao import free_port

CHECKOUT = Path(__file__).parents[3]
ME = "n0@127.0.0.1"
ATTESTED = {"generation": 3, "heartbeat_seconds": 15, "join": True}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is set up by the program for a process of its own."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


def config(place: Path, port: int = 1, **changes: Any) -> Path:
    """agent.yaml of one node whose VM is down."""
    node = {
        "name": ME, "cookie_file": str(place / "cookie"), "boot_file": str(place / "boot"),
        "port": free_port(),
    }  # fmt: skip
    whole = {
        "service": f"http://127.0.0.1:{port}", "cluster": "orders",
        "token_file": str(place / "token"), "state_dir": str(place / "state"), "nodes": [node],
    }  # fmt: skip
    (place / "token").write_text("CANARYTOKEN")
    path = place / "agent.yaml"
    path.write_text(yaml.safe_dump({**whole, **changes}))
    return path


def run(*arguments: str | Path, code: int) -> subprocess.CompletedProcess[str]:
    """The program, as a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-m", "rotator", "agent", *map(str, arguments)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert "CANARY" not in ended.stdout + ended.stderr
    return ended


def test_help_shows_examples_and_exit_codes() -> None:
    """Whoever asks sees how it is called and what its end means."""
    told = run("--help", code=0).stdout
    for part in ("examples:", "rotator agent boot rabbit@a", "--once", "exit codes:", "7 degraded"):
        assert part in told


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["fly"], ["boot", "--timeout", "soon"], ["-o", "xml"]]
)
def test_a_wrong_call_is_usage(arguments: list[str]) -> None:
    """What it does not know ends it with 2, before it has read anything."""
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(arguments)
    assert caught.value.code == module.USAGE


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """The path, and how to name another one, with the code of a wrong call."""
    told = run("--config", tmp_path / "none.yaml", code=module.USAGE).stderr
    assert "none.yaml" in told
    assert "--config" in told


def test_a_node_that_is_not_in_the_file_is_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The names that there are stand in the error."""
    assert main(["--config", str(config(tmp_path)), "boot", "other@h"]) == module.USAGE
    assert ME in capsys.readouterr().err


@pytest.mark.parametrize("command", [["run"], ["--once"], ["boot"], ["leave"]])
def test_a_service_that_would_get_the_token_in_the_clear_is_never_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """It is a fault of agent.yaml, whatever the agent is called for, and nothing is written."""
    path = config(tmp_path, service="http://192.0.2.1:8400")
    assert main(["--config", str(path), *command]) == module.USAGE
    assert "would cross the network to 192.0.2.1 in the clear" in capsys.readouterr().err
    assert not (tmp_path / "cookie").exists()
    assert not (tmp_path / "state").exists()


def test_a_reader_of_status_that_goes_gets_no_traceback(tmp_path: Path) -> None:
    """As in `status | head -1`: nobody reads any more, and nothing is said about that."""
    path = config(tmp_path)
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "rotator", "agent", "--config", str(path), "status"],
            cwd=CHECKOUT, stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=100,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (ended.returncode, ended.stderr) == (module.FAILED, "")


def test_a_service_that_is_away_fails(tmp_path: Path) -> None:
    """--once and leave end with 1 and one sentence; a node without files does not boot, with 6."""
    path = config(tmp_path, free_port())
    for command in (["--once"], ["leave"]):
        told = run("--config", path, *command, code=module.FAILED).stderr
        assert "does not answer" in told
    told = run("--config", path, "boot", "--timeout", "0.1", code=module.TIMED_OUT).stderr
    assert "no files to boot" in told


def test_a_state_directory_that_cannot_be_made_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The place is named, and nothing was asked of anybody."""
    path = config(tmp_path, state_dir=str(tmp_path / "token" / "state"))
    assert main(["--config", str(path), "--once"]) == module.FAILED
    assert "state" in capsys.readouterr().err


async def in_a_thread(*arguments: str | Path) -> int:
    """The program has an event loop of its own."""
    import asyncio

    return await asyncio.to_thread(main, [str(word) for word in arguments])


def answering(answers: dict[str, bytes]) -> Any:
    """By the method."""
    return lambda head: answers[head.split(" ")[0]]


async def test_once_brings_files_on_and_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is down gets its files; that it cannot be settled is 7, and it is told."""
    monkeypatch.setattr(module, "_ONCE_LOOKS", 3)  # a node that is down is not waited for
    said = answering({"GET": http(200, desired()), "PUT": http(200, ATTESTED)})
    async with serving(said) as service:
        path = config(tmp_path, service.port)
        (tmp_path / "cookie").write_text("CANARYBEFORE")
        assert await in_a_thread("--config", path, "--once") == module.DEGRADED
    assert (tmp_path / "cookie").read_text() == "CANARYCURRENT"
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert service.bodies[-1]["read_from"] == "none"
    assert "CANARY" not in json.dumps(service.bodies)


async def test_boot_writes_the_files_and_waits_for_join(tmp_path: Path) -> None:
    """It attests from the files, and ends well when the service says join, with 6 when it does not in time."""
    answers = {"GET": http(200, desired()), "PUT": http(200, {**ATTESTED, "join": False})}
    async with serving(answering(answers)) as service:
        path = config(tmp_path, service.port)
        words = ("--config", path, "boot", ME, "--timeout")
        assert await in_a_thread(*words, "0.1") == module.TIMED_OUT
        answers["PUT"] = http(200, ATTESTED)
        assert await in_a_thread(*words, "60") == module.OK
    assert service.bodies[-1]["read_from"] == "boot"
    assert (tmp_path / "cookie").read_text() == "CANARYCURRENT"
    assert not (tmp_path / "state").exists()


async def test_a_refusal_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A revoked token ends `leave` and `--once` with 1 and the service's sentence."""
    async with serving(
        lambda _: problem(401, "not_authenticated", "A valid token is needed.")
    ) as s:
        path = config(tmp_path, s.port)
        for command in ("leave", "--once"):
            assert await in_a_thread("--config", path, command) == module.FAILED
            assert "A valid token is needed" in capsys.readouterr().err


async def test_a_refused_token_stops_the_boot_of_a_node_without_files_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Without files the end is 6; with them it is 0, and the log says it loudly."""
    async with serving(
        lambda _: problem(401, "not_authenticated", "A valid token is needed.")
    ) as s:
        path = config(tmp_path, s.port)
        words = ("--config", path, "boot", "--timeout", "0.1")
        assert await in_a_thread(*words) == module.TIMED_OUT
        assert "no files to boot" in capsys.readouterr().err
        (tmp_path / "cookie").write_text("CANARYBEFORE")
        (tmp_path / "boot").write_text("# written by rotator agent: do not edit\n")
        assert await in_a_thread(*words) == module.OK
    told = caplog.text + capsys.readouterr().err
    assert "WITHOUT THE SERVICE'S WORD" in told
    assert "A valid token is needed" in told
    assert "CANARY" not in told
    assert (tmp_path / "cookie").read_text() == "CANARYBEFORE"


def test_no_core_dump_is_left_of_an_agent(tmp_path: Path) -> None:
    """Whatever limit it is started with, a crash of `boot` or of the agent that stays writes no cookie to a disk."""
    source = "import resource as r, sys; _, most = r.getrlimit(r.RLIMIT_CORE)\n"
    source += "r.setrlimit(r.RLIMIT_CORE, (most, most))\n"
    source += "from rotator.agent.main import main; main(sys.argv[1:])\n"
    source += "print('LIMIT', r.getrlimit(r.RLIMIT_CORE)[0])"
    path = str(config(tmp_path, free_port()))
    for command in ("boot", "--once"):
        words = [sys.executable, "-c", source, "--config", path, command, "--timeout", "0"]
        ended = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert "LIMIT 0\n" in ended.stdout, ended.stderr


async def test_a_second_agent_for_a_node_ends_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` and `--once` end with 1 and say why, having asked and written nothing; `boot` and `status` go on."""
    answers = {"GET": http(200, desired()), "PUT": http(200, ATTESTED)}
    async with serving(answering(answers)) as service:
        path = config(tmp_path, service.port)
        (tmp_path / "state").mkdir()
        lock = tmp_path / "state" / f"{ME}.lock"
        with locks.hold(lock, what="a test"):
            for words in (["--once"], ["run"]):
                assert await in_a_thread("--config", path, *words) == module.FAILED
                assert f"an agent for {ME} runs already" in capsys.readouterr().err
            assert service.count("GET") + service.count("PUT") == 0
            assert not (tmp_path / "cookie").exists()
            assert await in_a_thread("--config", path, "status") == module.DEGRADED
            assert await in_a_thread("--config", path, "boot", "--timeout", "60") == module.OK
        assert (lock.stat().st_mode & 0o777, lock.read_bytes()) == (0o600, b"")


def test_an_agent_that_was_killed_holds_up_no_other(tmp_path: Path) -> None:
    """The lock goes with the process, however that ends, and the file that is left is no obstacle."""
    lock = tmp_path / "lock"
    source = "import sys; from pathlib import Path; from rotator.agent import locks\n"
    source += "with locks.hold(Path(sys.argv[1]), what='it'):\n"
    source += "    print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", source, str(lock)],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AgentFileError, match="it runs already"), locks.hold(lock, what="it"):
            pass
        holder.kill()
    with locks.hold(lock, what="it"):
        assert lock.exists()


async def test_leave_tells_for_each_node(tmp_path: Path) -> None:
    """The node leaves by name."""
    async with serving(lambda _: http(200, {})) as service:
        assert await in_a_thread("--config", config(tmp_path, service.port), "leave") == module.OK
    assert service.count("POST") == 1


def test_status_is_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both say the same; what was never seen is 7, and a node in step is 0."""
    from rotator.agent import status
    from rotator.agent.loop import Outcome

    path = config(tmp_path)
    assert main(["--config", str(path), "status"]) == module.DEGRADED
    assert capsys.readouterr().out == f"{ME}: never seen\n"
    report = v1.Attestation(generation=3, at="", read_from="vm", own="f1:x", uses=2)
    outcome = Outcome(report=report, next_look=60, is_settled=True)
    (tmp_path / "state").mkdir()
    shown = tmp_path / "state" / f"{ME}.status.json"
    status.write(shown, outcome, trouble=(), next_look=60)
    assert main(["--config", str(path), "status", "-o", "json"]) == module.OK
    [row] = json.loads(capsys.readouterr().out)["nodes"]
    assert (row["state"], row["uses"]) == ("in step", 2)
    status.write(shown, outcome, trouble=("odd",), next_look=60)
    assert main(["--config", str(path), "status"]) == module.DEGRADED
    told = capsys.readouterr().out
    assert f"{ME}: in step (seen " in told
    assert "  ! odd" in told


def test_the_agent_loads_no_server_and_no_command_line() -> None:
    """It runs beside every node, so nothing comes along that it does not need."""
    source = "import sys; sys.argv = ['rotator', 'agent', '--help']\n"
    source += "import atexit; atexit.register(lambda: print('LOADED', *sys.modules))\n"
    source += "from rotator.__main__ import main; main()"
    loaded = subprocess.run(
        [sys.executable, "-c", source], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout
    modules = {name.split(".")[0] for name in loaded.partition("LOADED ")[2].split()}
    assert "msgspec" in modules
    unwanted = {"typer", "click", "rich", "httpx", "boto3", "requests", "anyio", *SERVER_ONLY}
    assert unwanted & modules == set()
    assert "rotator.cli" not in loaded
