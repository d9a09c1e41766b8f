"""Real BEAM nodes for tests: a private epmd, the files that an agent keeps, a look into a VM."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.service import free_port, wait_for

COOKIES = """
    [Node | _] = init:get_plain_arguments(),
    N = list_to_atom(Node),
    Call = fun(M, F, A) -> erpc:call(N, M, F, A, 20000) end,
    io:format("own ~ts~n", [Call(erlang, get_cookie, [])]),
    Tables = [T || T <- Call(ets, all, []), Call(ets, info, [T, name]) =:= cookies],
    [io:format("pin ~ts ~ts~n", [P, C]) || T <- Tables, {P, C} <- Call(ets, tab2list, [T])],
    io:format("pid ~ts~n", [Call(os, getpid, [])]),
    halt().
"""


@dataclass(frozen=True)
class Seen:
    """What a running VM answers to: its own cookie, all of its pins, its process id."""

    own: str
    pins: Mapping[str, str]
    pid: int


@dataclass
class Place:
    """A directory as the HOME of one node, an epmd, and the environment for all that runs there."""

    directory: Path
    epmd_port: int
    user: str | None = None
    more: dict[str, str] = field(default_factory=dict)

    @property
    def cookie_file(self) -> Path:
        """Where OTP looks for it."""
        return self.directory / ".erlang.cookie"

    @property
    def environment(self) -> dict[str, str]:
        """HOME is the directory, epmd the private one, nothing of the tester's own settings."""
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.directory),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            **self.more,
        }

    def own(self, *paths: Path) -> None:
        """Give these to the node's user."""
        if self.user is not None:
            for path in paths:
                subprocess.run(["chown", "-R", f"{self.user}:{self.user}", str(path)], check=True)

    def keep(self, path: Path, text: str) -> None:
        """Write a file as the agent does: 0400, the node's user, whole or not at all."""
        fresh = path.with_name(path.name + ".fresh")
        fresh.touch(mode=0o600)
        fresh.write_text(text, encoding="ascii")
        fresh.chmod(0o400)
        self.own(fresh)
        fresh.replace(path)

    def start(self, *command: str | Path, log: Path) -> subprocess.Popen[bytes]:
        """Start a program as the node's user; what it prints goes to *log*."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                cwd=self.directory,
                start_new_session=True,
                **self._identity(),
            )

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program as the node's user to its end."""
        return subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env=self.environment,
            cwd=self.directory,
            **self._identity(),
        )

    def _identity(self) -> dict[str, Any]:
        return {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}

    def look(self, node: str) -> Seen | None:
        """Ask the VM itself, as a hidden node with the cookie of the cookie file, or say nothing."""
        host = node.partition("@")[2]
        answer = self.run(
            *("erl", "-noshell", "-hidden", "-name", f"look-{secrets.token_hex(4)}@{host}"),
            *("-eval", COOKIES, "-extra", node),
        )
        rows = [line.split(" ") for line in answer.stdout.splitlines()]
        if not rows or rows[-1][0] != "pid":
            return None
        pins = {row[1]: row[2] for row in rows if row[0] == "pin"}
        return Seen(own=rows[0][1], pins=pins, pid=int(rows[-1][1]))

    def until_up(self, node: str, process: subprocess.Popen[bytes], log: Path) -> Seen:
        """The VM's answer, once it answers; fails with the log if the program ends before."""

        def ask() -> Seen | None:
            ended = process.poll()
            assert ended is None, f"ended with {ended}: {log.read_text(errors='replace')[-2000:]}"
            return self.look(node)

        found = wait_for(f"{node} answers", ask, seconds=90)
        assert isinstance(found, Seen)
        return found


@contextmanager
def place(directory: Path, *, user: str | None = None) -> Iterator[Place]:
    """A place with an epmd of its own on loopback, which is stopped at the end."""
    here = Place(directory, free_port(), user)
    directory.mkdir(exist_ok=True)
    here.own(directory)
    epmd = subprocess.Popen(
        ["epmd", "-port", str(here.epmd_port), "-address", "127.0.0.1"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=here.environment,
        start_new_session=True,
    )
    try:
        wait_for("epmd listens", lambda: listens(here.epmd_port))
        yield here
    finally:
        end(epmd)


def listens(port: int) -> bool:
    """Whether somebody listens on this port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end(process: subprocess.Popen[bytes], *, seconds: float = 60) -> None:
    """SIGTERM to the process and what it started, and SIGKILL to what is left then."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def shown(pid: int) -> str:
    """What everybody sees of a process: its arguments."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")


def inherited(pid: int) -> str:
    """The environment that a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")


def cookie() -> str:
    """As derived ones look: 43 letters and digits."""
    return re.sub(r"[^A-Za-z0-9]", "x", secrets.token_urlsafe(32))
