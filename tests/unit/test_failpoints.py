from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rotator import failpoints
from rotator.failpoints import AnswerLost


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    failpoints.arm("")
    yield
    failpoints.arm("")


def _run(program: str, armed: str | None) -> subprocess.CompletedProcess[str]:
    environment = {} if armed is None else {failpoints.VARIABLE: armed}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_happens_unless_something_is_armed() -> None:
    """Without the setting every point is passed."""
    failpoints.hit("K1", "before")

    assert not failpoints.is_armed()


def test_an_armed_point_fails_once() -> None:
    """The repeat of a write that failed goes through."""
    failpoints.arm("K1:after:raise")
    assert failpoints.is_armed()

    with pytest.raises(AnswerLost, match="K1:after"):
        failpoints.hit("K1", "after")
    failpoints.hit("K1", "after")
    assert not failpoints.is_armed()


def test_only_the_named_line_and_moment_fail() -> None:
    """Other lines, and the same line at another moment, are passed."""
    failpoints.arm("K1:after:raise,S2:before:raise")

    failpoints.hit("K1", "before")
    failpoints.hit("K2", "after")
    with pytest.raises(AnswerLost):
        failpoints.hit("S2", "before")
    assert failpoints.is_armed()


def test_a_lost_answer_is_raised_and_never_kills() -> None:
    """The process lives on and does not know whether the write was done."""
    failpoints.arm("K1:lost:kill")

    with pytest.raises(AnswerLost):
        failpoints.hit("K1", "lost")


@pytest.mark.parametrize("text", ["K1", "K1:after", "K1:afterwards:raise", "K1:after:crash"])
def test_a_misspelt_failpoint_is_refused(text: str) -> None:
    """One that never fires would let its test prove nothing."""
    with pytest.raises(ValueError):
        failpoints.arm(text)


def test_an_armed_kill_ends_the_process_as_sigkill_does() -> None:
    """No handler, no clean-up, no further output."""
    program = (
        "from rotator import failpoints as f; print(f.is_armed(), flush=True);"
        "f.hit('K1', 'after'); print('alive')"
    )

    killed = _run(program, "K1:after:kill")
    spared = _run(program, None)

    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "True\n")
    assert (spared.returncode, spared.stdout) == (0, "False\nalive\n")
