"""Children on loopback: started with a log, waited for, stopped by their own process id."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

READY_SECONDS: Final = 60.0


class DemoFailed(Exception):
    """The demonstration could not go on; the message says why."""


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], log: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is stopped at the end, by its own process id."""
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 - our own programs, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def until_answers(
    url: str, child: subprocess.Popen[bytes], log: Path, *, good: Sequence[int] = (200,)
) -> None:
    """Wait until *url* answers with a *good* status; raises `DemoFailed` when it does not in time."""

    def answers() -> bool:
        if child.poll() is not None:
            raise DemoFailed(f"it ended at once:\n{log.read_text(errors='replace')[-2000:]}")
        try:
            return httpx.get(url, timeout=1, trust_env=False).status_code in good
        except httpx.HTTPError:
            return False

    wait_until(f"{url} answers", answers)


def wait_until(
    what: str, condition: Callable[[], object], *, seconds: float = READY_SECONDS
) -> None:
    """Ask until the answer is true; raises `DemoFailed`, with *what*, after *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DemoFailed(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)  # noqa: TID251 - a program that waits for its own children
