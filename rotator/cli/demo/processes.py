"""Children on loopback: started with a log, waited for, stopped by their own process id."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import httpx

from rotator.cli.demo import interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

READY_SECONDS: Final = 60.0
_LOG_LINES: Final = 12
_FIRST_PORT, _PORTS = 20_000, 12_000


class DemoFailed(Exception):
    """The demonstration could not go on; the message says why."""


def end_of(log: Path) -> str:
    """The last lines of a child's log."""
    return "\n".join(log.read_text(errors="replace")[-4000:].splitlines()[-_LOG_LINES:])


@contextmanager
def begun(manager: AbstractContextManager[T]) -> Iterator[Callable[[], T]]:
    """Enter *manager* while others start; what is yielded waits for its value, or raises."""
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        entering = pool.submit(stack.enter_context, manager)
        try:
            yield entering.result
        finally:
            wait([entering])


def free_port() -> int:
    """A port of loopback that nobody listens on just now.

    Below those that the system gives to connections, so that none of these takes it meanwhile.
    """
    while True:
        port = _FIRST_PORT + secrets.randbelow(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


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
            start_new_session=True,  # Ctrl-C is for us, who stop our children in order
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
    with httpx.Client(timeout=1, trust_env=False) as client:

        def answers() -> bool:
            if child.poll() is not None:
                raise DemoFailed(f"it ended at once:\n{end_of(log)}")
            try:
                return client.get(url).status_code in good
            except httpx.HTTPError:
                return False

        wait_until(f"{url} answers", answers)


def wait_until(
    what: str, condition: Callable[[], object], *, seconds: float = READY_SECONDS
) -> None:
    """Ask until the answer is true; raises `DemoFailed`, with *what*, after *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        interrupts.check()
        if time.monotonic() > deadline:
            raise DemoFailed(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)  # noqa: TID251 - a program that waits for its own children
