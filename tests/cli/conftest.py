"""The real program as a process of its own, against a stub of the service."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.stub import Stub

CHECKOUT = Path(__file__).parents[2]
TOKEN = "rot_abcdefghijkl_PLANTEDSECRETofTheTokenThatMustNotBeShown00"
SECONDS = 30


# A run in the background of a shell is born deaf to Ctrl-C, and so would be what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Ran:
    """How it ended, and what it printed."""

    code: int
    out: str
    err: str


class Program:
    """Runs ``rotator``, and looks for the token wherever it must not be."""

    def __init__(self, stub: Stub, directory: Path) -> None:
        self.stub = stub
        self.token_file = directory / "operator.token"
        self.token_file.write_text(f"{TOKEN}\n")
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ROTATOR_")}
        self.environment = {
            **kept,
            "PYTHONPATH": str(CHECKOUT),
            "ROTATOR_ADDR": stub.address,
            "ROTATOR_TOKEN_FILE": str(self.token_file),
            "COLUMNS": "200",
            "TERM": "xterm",
            # Were these obeyed, the token would go there.
            "HTTP_PROXY": "http://127.0.0.1:1",
            "http_proxy": "http://127.0.0.1:1",
        }

    def start(self, *arguments: str, env: dict[str, str | None] | None = None, **more: Any) -> Any:
        """As a process that is left alone."""
        environment = {**self.environment, **(env or {})}
        return subprocess.Popen(
            [sys.executable, "-m", "rotator", *arguments],
            env={name: value for name, value in environment.items() if value is not None},
            **{
                "stdin": subprocess.PIPE,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **more,
            },
        )

    def __call__(
        self, *arguments: str, stdin: str = "", env: dict[str, str | None] | None = None
    ) -> Ran:
        """To its end, without a terminal."""
        with self.start(*arguments, env=env) as process:
            out, err = _finished(process, stdin.encode())
        return checked(Ran(process.returncode, out.decode(), err.decode()))

    def on_terminal(self, *arguments: str, prompt: str = "", typed: str = "") -> Ran:
        """To its end, with a terminal as standard input and error; *typed* after the *prompt*."""
        ours, theirs = pty.openpty()
        try:
            # A session of its own: the terminal of whoever runs the tests is not asked.
            with self.start(
                *arguments, stdin=theirs, stderr=theirs, start_new_session=True
            ) as process:
                err = _until(ours, prompt)
                os.write(ours, typed.encode())
                out, _ = _finished(process)
            os.close(theirs)
            err += _drain(ours)
        finally:
            os.close(ours)
        return checked(Ran(process.returncode, out.decode(), err))

    def interrupted(self, *arguments: str, when: Callable[[], bool]) -> Ran:
        """Ctrl-C as soon as *when* is true."""
        with self.start(*arguments, stdin=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + SECONDS
            while not when() and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            out, err = _finished(process)
        return checked(Ran(process.returncode, out.decode(), err.decode()))


def _finished(process: Any, stdin: bytes | None = None) -> tuple[bytes, bytes]:
    try:
        return process.communicate(stdin, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _until(terminal: int, prompt: str) -> str:
    found, deadline = "", time.monotonic() + SECONDS
    while prompt not in found and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            found += os.read(terminal, 65536).decode()
    return found


def _drain(terminal: int) -> str:
    found = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            return found.decode()
        found += chunk


def checked(ran: Ran) -> Ran:
    """Whatever ran: no token and no traceback was printed."""
    for text in (ran.out, ran.err):
        assert "PLANTEDSECRET" not in text
        assert "Traceback" not in text
    return ran


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A service with canned answers."""
    made = Stub()
    yield made
    made.close()


@pytest.fixture
def rotator(stub: Stub, tmp_path: Path) -> Program:
    """The program, with a token, that asks the stub."""
    return Program(stub, tmp_path)
