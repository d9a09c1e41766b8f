"""Real `erl` nodes on loopback, with a port mapper (epmd) of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.openbao import free_port

COOKIE = "COOKIEOFTHETESTNODES"


def need_erl() -> None:
    """Skip, and in CI fail, when there is no Erlang."""
    if shutil.which("erl") and shutil.which("epmd"):
        return
    if os.environ.get("CI"):
        pytest.fail("erl and epmd are needed (on Debian: erlang-base erlang-ssl)")
    pytest.skip("erl and epmd are not installed")


def _is_stopped(thread: Path) -> bool:
    """Whether it stands still: its state, after the name in brackets, is T (proc_pid_stat(5))."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"


@dataclass
class Program:
    """A process with a folder of its own; it is ended by its own pid."""

    process: subprocess.Popen[bytes]
    place: Path

    @property
    def log(self) -> str:
        """What it has printed."""
        return (self.place / "log").read_text(errors="replace")

    def stop(self) -> None:
        """Kill it and remove its files."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)

    def pause(self) -> None:
        """Let it stand still, with its connections open."""
        self.process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self.process.pid}/task")
        self.wait_until(lambda: all(map(_is_stopped, threads.iterdir())))

    def wait_until(self, is_up: object) -> None:
        """Wait until `is_up()` holds; the log is the error if it does not come to that."""
        assert callable(is_up)
        ends_at = time.monotonic() + 60
        while time.monotonic() < ends_at and self.process.poll() is None:
            if is_up():
                return
            time.sleep(0.05)
        log = self.log
        self.stop()
        raise RuntimeError(f"it did not come up: {log}")


def listens(port: int) -> bool:
    """Somebody accepts connections at this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _start(arguments: Sequence[str], place: Path, **environment: str) -> Program:
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            arguments,
            env={"HOME": str(place), "PATH": os.environ["PATH"], **environment},
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Program(process, place)


def start_epmd(port: int) -> Program:
    """A port mapper on loopback."""
    place = Path(tempfile.mkdtemp(prefix="epmd-"))
    program = _start(["epmd", "-port", str(port), "-address", "127.0.0.1"], place)
    program.wait_until(lambda: listens(port))
    return program


def start_node(
    name: str, *arguments: str, epmd_port: int = 1, cookie: str = COOKIE, long_names: bool = True
) -> Program:
    """A node that is up; the cookie comes from its home, not from its arguments."""
    need_erl()
    place = Path(tempfile.mkdtemp(prefix="erl-"))
    secret = place / ".erlang.cookie"
    secret.write_text(cookie)
    secret.chmod(0o400)
    program = _start(
        [
            *("erl", "-noshell", "-noinput", "-name" if long_names else "-sname", name),
            *arguments,
            *("-eval", 'io:format("it is up~n").'),
        ],
        place,
        ERL_EPMD_PORT=str(epmd_port),
        ERL_EPMD_ADDRESS="127.0.0.1",
    )
    program.wait_until(lambda: "it is up" in program.log)
    return program


__all__ = ["COOKIE", "Program", "free_port", "need_erl", "start_epmd", "start_node"]
