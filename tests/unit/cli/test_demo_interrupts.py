"""Being told to end, at any moment and more than once."""

from __future__ import annotations

import subprocess
import sys

# Tells the process to end again from within what its handler calls, and from between them.
_TOLD_WHILE_BEING_TOLD = """
import os, signal, sys
from rotator.cli.demo.interrupts import check, orderly

told = 0

def profile(frame, event, _):
    global told
    while frame is not None and "lambda" not in frame.f_code.co_name:
        frame = frame.f_back
    if frame is not None and told < 10:
        told += 1
        os.kill(os.getpid(), signal.SIGTERM)

try:
    with orderly():
        sys.setprofile(profile)
        os.kill(os.getpid(), signal.SIGTERM)
        sys.setprofile(None)
        check()
except KeyboardInterrupt:
    print("ended;", "told again" if told else "told once")
"""


def test_a_signal_within_the_handler_of_another_ends_it_too() -> None:
    """Whoever is told twice at once does not hang."""
    ran = subprocess.run(
        [sys.executable, "-c", _TOLD_WHILE_BEING_TOLD],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ran.stdout == "ended; told again\n", ran.stderr
