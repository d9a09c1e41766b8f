"""The demonstration shows what it promises, and leaves nothing behind whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import canary
from tests.support.parts import need
from tests.support.service import wait_for

# Seconds on an idle machine; a loaded one may take its time.
pytestmark = pytest.mark.timeout(400)
END_SECONDS = 300


def processes_of(directory: Path) -> dict[int, bytes]:
    """Arguments of every process that was started with this TMPDIR, by its id."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={directory}".encode() in (place / "environ").read_bytes().split(b"\0"):
                found[int(place.name)] = (place / "cmdline").read_bytes()
        except OSError:
            continue
    return found


@contextmanager
def demo(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A demonstration that keeps its things below *directory*; afterwards nothing is left."""
    output, errors = directory.parent / "stdout", directory.parent / "stderr"
    with output.open("w") as stdout, errors.open("w") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", "rotator", "demo", *arguments],
            stdout=stdout,
            stderr=stderr,
            text=True,
            env={**os.environ, "TMPDIR": str(directory)},
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
        child.wait(END_SECONDS)
    # A node's own helper processes notice a moment later that it is gone.
    wait_for("no process is left", lambda: not processes_of(directory))
    assert list(directory.iterdir()) == []


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A TMPDIR of the test's own."""
    need("erl", "erlc", "epmd")
    made = tmp_path / "tmp"
    made.mkdir()
    return made


def text_of(directory: Path, name: str) -> str:
    """What the demonstration printed to ``stdout`` or ``stderr``."""
    return (directory.parent / name).read_text()


class Spy:
    """Looks at a demonstration from outside while it runs."""

    def __init__(self, directory: Path, pid: int) -> None:
        self._directory, self._pid = directory, pid
        self.cookies: set[bytes] = set()
        self.places: dict[str, bytes] = {}
        self.open_files: set[str] = set()

    def look(self) -> None:
        """Every cookie file, every process, and files that others could read."""
        for file in self._directory.glob("*/beam/*/.erlang.cookie"):
            with suppress(OSError):
                self.cookies.add(file.read_bytes())
        for name, content in canary.process(self._pid).items():
            self.places[f"{name} ({hash(content)})"] = content
        for name in ("agent.yaml", "node.token", ".erlang.cookie"):
            for file in self._directory.glob(f"*/beam/*/{name}"):
                with suppress(OSError):
                    if file.stat().st_mode & 0o077:
                        self.open_files.add(file.name)


@pytest.mark.parametrize("store", ["vault", "local", "aws"])
def test_the_demo_keeps_every_promise_and_shows_no_cookie(store: str, directory: Path) -> None:
    """Each flag has the promised value, and no cookie is in an argument, environment or output."""
    with demo(directory, "--store", store, "-o", "json") as child:
        spy = Spy(directory, child.pid)
        while child.poll() is None:
            spy.look()
            time.sleep(0.1)
    errors = text_of(directory, "stderr")
    assert child.returncode == 0, errors
    report = json.loads(text_of(directory, "stdout"))
    rotations = report.pop("rotations")
    assert report == {
        "store": store,
        "nodes": 3,
        "links_before": 6,
        "links_lost": 0,
        "calls_failed": 0,
        "previous_readable_during_grace": True,
        "previous_readable_after": False,
        "revoked_readable_after": False,
        "still_stored": store == "aws",  # AWS cannot destroy one version
        "retired_cookie_refused": True,
        "current_cookie_accepted": True,
        "intruder_evicted": True,
    }
    assert [(r["kind"], r["phase"], r["from_version"], r["to_version"]) for r in rotations] == [
        ("manual", "completed", 1, 2),
        ("emergency", "completed", 2, 3),
    ]
    assert all(r["seconds"] > 0 for r in rotations)
    for phase in ("staged", "installing", "promoting", "grace", "retiring", "locking"):
        assert phase in errors
    for event in (
        "n1 uses version 2", "3 of 3 pairs moved", "n2 refuses version 1", "n3 is locked",
        "the intruder is cut off from", "n3 uses version 3", "n1 refuses version 2",
    ):  # fmt: skip
        assert event in errors
    assert ("an emulator of AWS" in errors) == (store == "aws")
    assert len(spy.cookies) >= 3
    assert any(b"beam" in place for place in spy.places.values())
    printed = {"stdout": text_of(directory, "stdout").encode(), "stderr": errors.encode()}
    cookies = {f"cookie {number}": cookie for number, cookie in enumerate(spy.cookies)}
    assert canary.find(cookies, spy.places | printed) == []
    assert spy.open_files == set()


def is_told(directory: Path, text: str) -> Callable[[], bool]:
    """Whether the demonstration has said so by now."""
    return lambda: text in text_of(directory, "stderr")


def test_an_agent_that_dies_fails_the_demo(directory: Path) -> None:
    """No success is printed: the error names the agent, and its log's end is shown."""
    with demo(directory, "--store", "local") as child:
        wait_for("it rotates", is_told(directory, "manual rotation"), seconds=END_SECONDS)
        assert len(processes_of(directory)) > 8  # what is looked for afterwards can be found
        [agent] = [
            pid
            for pid, arguments in processes_of(directory).items()
            if b"agent\0" in arguments and b"n2@127.0.0.1/agent.yaml" in arguments
        ]
        os.kill(agent, signal.SIGKILL)
        assert child.wait(END_SECONDS) == 1
    assert text_of(directory, "stdout") == ""
    errors = text_of(directory, "stderr")
    assert "error: the agent of n2@127.0.0.1 has ended (-9)" in errors
    assert "the agent of n1@127.0.0.1 said at last:" in errors
    assert "yes" not in errors.splitlines()[-1]


def test_a_node_that_dies_fails_the_demo(directory: Path) -> None:
    """A cluster with a member less proves nothing."""
    with demo(directory, "--store", "local") as child:
        wait_for("it rotates", is_told(directory, "manual rotation"), seconds=END_SECONDS)
        [node] = [
            pid
            for pid, arguments in processes_of(directory).items()
            if b"beam" in arguments.split(b"\0")[0] and b"\0n3@127.0.0.1\0" in arguments
        ]
        os.kill(node, signal.SIGKILL)
        assert child.wait(END_SECONDS) == 1
    assert text_of(directory, "stdout") == ""
    assert "error: " in text_of(directory, "stderr")


@pytest.mark.parametrize(
    ("moment", "how"),
    [
        ("the local store is in use", signal.SIGINT),
        ("manual rotation", signal.SIGINT),
        ("emergency rotation", signal.SIGTERM),
    ],
)
def test_whoever_ends_it_early_finds_nothing_left(
    directory: Path, moment: str, how: signal.Signals
) -> None:
    """While it starts or rotates, told once or twice: no process and no directory stays."""
    with demo(directory, "--store", "local") as child:
        wait_for(moment, is_told(directory, moment), seconds=END_SECONDS)
        child.send_signal(how)
        child.send_signal(how)
        assert child.wait(END_SECONDS) == 130
    assert text_of(directory, "stdout") == ""
    assert "interrupted; everything is stopped and removed" in text_of(directory, "stderr")


def test_without_erlang_it_says_what_to_install(tmp_path: Path) -> None:
    """Nothing is started, and the packages are named."""
    ran = subprocess.run(
        [sys.executable, "-m", "rotator", "demo", "--store", "local"],
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path), "TMPDIR": str(tmp_path)},
        timeout=END_SECONDS,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "there is no `erl` program" in ran.stderr
    assert "erlang-base" in ran.stderr
    assert list(tmp_path.iterdir()) == []
