"""A private epmd, and the Erlang module that our nodes run: what they need before they start."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rotator.cli.demo.processes import DemoFailed, free_port, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOURCE: Final = Path(__file__).with_name("mesh.erl")


@dataclass(frozen=True, slots=True)
class Erlang:
    """What nodes of one test or demonstration share."""

    directory: Path  #: each node has a directory of its own below it
    epmd_port: int
    code: Path  #: holds mesh.beam

    @property
    def environment(self) -> dict[str, str]:
        """What finds this epmd, and no other one, for whoever speaks to these nodes."""
        return {"ERL_EPMD_PORT": str(self.epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1"}


def need_erlang() -> None:
    """Raise `DemoFailed`, saying what to install, where there is no Erlang."""
    for program in ("erl", "erlc", "epmd"):
        if shutil.which(program) is None:
            raise DemoFailed(
                f"there is no `{program}` program; install Erlang"
                " (on Debian: apt-get install erlang-base erlang-crypto)"
            )


@contextmanager
def erlang(directory: Path | None = None) -> Iterator[Erlang]:
    """A private epmd on a free port of loopback and our module, compiled; stopped at the end.

    *directory* is kept; without one, a temporary directory is made and removed. Raises
    `DemoFailed` without Erlang, or when epmd does not come up.
    """
    need_erlang()
    with tempfile.TemporaryDirectory(prefix="rotator-erlang-") as temporary:
        place = directory or Path(temporary)
        code = place / "code"
        code.mkdir()
        compiled = subprocess.run(  # noqa: S603 - our own source
            ["erlc", "-o", str(code), str(_SOURCE)],  # noqa: S607 - looked for above
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if compiled.returncode:
            raise DemoFailed(f"erlc: {compiled.stdout}{compiled.stderr}")
        with _epmd(place) as port:
            yield Erlang(place, port, code)


@contextmanager
def _epmd(directory: Path) -> Iterator[int]:
    port = free_port()
    command = ["epmd", "-address", "127.0.0.1", "-port", str(port)]
    with running(command, directory / "epmd.log", PATH=os.environ["PATH"]) as process:

        def answers() -> bool:
            if process.poll() is not None:
                raise DemoFailed("epmd ended at once")
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until("epmd answers", answers)
        yield port
