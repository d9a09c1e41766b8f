"""Real BEAM nodes on loopback: started, asked over their control socket, killed, started again.

A node keeps its cookie where OTP looks for it, in a 0400 file of a home of its own, and never gets
it as an argument: arguments are readable by everyone on the host. Who else asks is `mesh` and
`intruder`.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rotator.cli.demo.processes import DemoFailed, end_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rotator.cli.demo.epmd import Erlang

#: One scheduler and small pools: many nodes share few cores. The kernel's settings stay OTP's own.
_SMALL: Final = ("+S", "1:1", "+SDcpu", "1:1", "+SDio", "1", "+A", "1", "+sbwt", "none")
_LOOPBACK: Final = ("-start_epmd", "false", "-kernel", "inet_dist_use_interface", "{127,0,0,1}")
_ANSWER_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Event:
    """A link that was lost, or a call that failed, as the node saw it."""

    node: str  #: the peer
    at: int  #: Unix time in milliseconds
    why: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What a node has counted since it started; names that are expected to go are left out."""

    calls: int
    failed: int
    lost: int
    failures: tuple[Event, ...]  #: the first 1,000
    losses: tuple[Event, ...]  #: the first 1,000


@dataclass(frozen=True, slots=True)
class Sha256:
    """The SHA-256, in hex, of a node's own cookie and of each row of its table `cookies`."""

    own: str
    rows: Mapping[str, str]


class BeamNode:
    """One node; its files outlive it, so that a restart finds what was left.

    *cookie* goes to the cookie file once and is not kept here. `boot_file` holds further arguments
    (`-setcookie Peer Cookie` lines); it is made empty, since `erl` does not start without it.
    """

    mode = "member"

    def __init__(
        self,
        erlang: Erlang,
        name: str,
        *,
        cookie: str,
        is_hidden: bool = False,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.directory = erlang.directory / name
        self.directory.mkdir(mode=0o700)
        self.cookie_file = self.directory / ".erlang.cookie"
        self.boot_file = self.directory / "boot.args"
        self.log = self.directory / "node.log"
        write_private(self.cookie_file, cookie, mode=0o400)
        write_private(self.boot_file, "")
        self._key = secrets.token_hex(16)
        write_private(self.directory / "control.key", self._key)
        self._erlang = erlang
        self._arguments = (*(("-hidden",) if is_hidden else ()), *arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    # --- life -----------------------------------------------------------------------------------

    @property
    def command(self) -> list[str]:
        """How the node is started."""
        return [
            "erl", "-noinput", "-name", self.name, *_LOOPBACK, *_SMALL, *self._arguments,
            "-args_file", str(self.boot_file), "-pa", str(self._erlang.code),
            "-s", "mesh", self.mode, "-extra", str(self.directory),
        ]  # fmt: skip

    @property
    def pid(self) -> int | None:
        """Its process id, while it is alive."""
        process = self._process  # read once: another thread may end it meanwhile
        return process.pid if process and process.poll() is None else None

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.pid is not None

    def start(self) -> None:
        """Start it; `wait_up` waits for it."""
        if self.is_alive:
            raise DemoFailed(f"{self.name} is already running")
        self._port_file.unlink(missing_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                self.command,
                stdin=subprocess.PIPE,  # the node ends when this does
                stdout=output,
                stderr=output,
                env={
                    **os.environ,
                    **self._erlang.environment,
                    "HOME": str(self.directory),
                    "ERL_CRASH_DUMP_BYTES": "0",  # a crash dump holds cookies
                },
                start_new_session=True,  # Ctrl-C is for us, who end our children in order
            )

    def wait_up(self) -> None:
        """Wait until it answers; raises `DemoFailed` with the end of its log when it has ended."""

        def is_up() -> bool:
            if not self.is_alive:
                raise DemoFailed(f"{self.name} ended while it started:\n{end_of(self.log)}")
            return self._port_file.exists()

        wait_until(f"{self.name} is up", is_up)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, which ends it in good order; SIGKILL when that takes too long."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Kill it, start it again on the files that are there, and wait until it is up."""
        self.kill()
        self.start()
        self.wait_up()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    # --- questions ------------------------------------------------------------------------------

    @property
    def _port_file(self) -> Path:
        return self.directory / "control.port"

    def ask(self, *words: str) -> dict[str, Any]:
        """One command over the control socket; raises `DemoFailed` when it is not answered."""
        try:
            port = int(self._port_file.read_text())
            with socket.create_connection(("127.0.0.1", port), _ANSWER_SECONDS) as connection:
                connection.sendall(" ".join((self._key, *words)).encode() + b"\n")
                with connection.makefile("r", encoding="utf-8") as lines:
                    answer = lines.readline()
        except OSError as error:
            raise DemoFailed(f"{self.name} does not answer: {error}") from None
        if not answer:
            raise DemoFailed(f"{self.name} has no answer to {words[0]}")
        found: dict[str, Any] = json.loads(answer)
        if "error" in found:
            raise DemoFailed(f"{self.name}: {words[0]}: {found['error']}")
        return found

    def links(self) -> frozenset[str]:
        """`nodes(connected)`: whoever it is linked to, hidden nodes too."""
        return frozenset(self.ask("links")["connected"])

    def hidden_links(self) -> frozenset[str]:
        """`nodes(hidden)`."""
        return frozenset(self.ask("links")["hidden"])

    def connect(self, peer: str) -> bool:
        """Try to link it to *peer*; whether they are linked now."""
        return bool(self.ask("connect", peer)["connected"])

    def cut(self, peer: str) -> bool:
        """`erlang:disconnect_node`; whether there was a link to cut."""
        return bool(self.ask("cut", peer)["cut"])

    def counts(self) -> Counts:
        """Calls and lost links since it started."""
        found = self.ask("counts")
        return Counts(
            calls=found["calls"],
            failed=found["failed"],
            lost=found["lost"],
            failures=tuple(Event(**event) for event in found["failures"]),
            losses=tuple(Event(**event) for event in found["losses"]),
        )

    def call_peers(self, *peers: str, pause_ms: int = 25) -> None:
        """Call one of *peers* at random, wait, and so on; a peer without a link is a failed call."""
        self.ask("peers", *peers)
        self.ask("calls", str(pause_ms))

    def stop_calls(self) -> None:
        """End the calls that `call_peers` began."""
        self.ask("calls", "off")

    def expect_down(self, *peers: str) -> None:
        """Until `expect_up`, do not count their lost links, and do not call them."""
        self.ask("expect_down", *peers)

    def expect_up(self, *peers: str) -> None:
        """Count them again."""
        self.ask("expect_up", *peers)

    def cookies(self) -> Sha256:
        """What its VM holds, unreadable but comparable with `sha256_of`."""
        found = self.ask("cookies")
        return Sha256(own=found["own"], rows=found["rows"])

    def set_cookie(self, file: Path) -> None:
        """`erlang:set_cookie(Cookie)`: its own cookie becomes what *file* holds."""
        self.ask("set_cookie", str(file))

    def pin(self, peer: str, file: Path) -> None:
        """`erlang:set_cookie(Peer, Cookie)`: its cookie for *peer* becomes what *file* holds."""
        self.ask("pin", peer, str(file))


def write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file that its owner alone may read, in one step."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as output:
        output.write(text)
    new.replace(path)
