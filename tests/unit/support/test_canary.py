"""The search for secrets is itself searched for holes: every planted leak is found."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import canary

SECRET = b"CanaryCookie0123456789abcdefghijklmnopqrstu"

LEAKS = {
    "raw": b"log line: " + SECRET,
    "hex": b"x" + SECRET.hex().encode(),
    "base64": base64.b64encode(SECRET),
    "base64 after one byte": base64.b64encode(b"a" + SECRET + b"tail"),
    "base64 after two bytes": base64.b64encode(b"ab" + SECRET + b"tail"),
    "json": json.dumps({"detail": SECRET.decode()}).encode(),
    "repr": repr(SECRET).encode(),
    "utf-16": SECRET.decode().encode("utf-16-le"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_planted_leak_is_found(leak: str) -> None:
    """Whatever encoding a secret leaks in, the search finds it."""
    assert canary.find({"cookie": SECRET}, {"log": LEAKS[leak]})


def test_nothing_is_found_where_nothing_is() -> None:
    """The search does not cry wolf."""
    places = {"log": b"fingerprint f1:0123", "database": bytes(range(256)) * 40}
    assert canary.find({"cookie": SECRET}, places) == []


def test_a_hit_names_place_and_encoding_but_not_the_secret() -> None:
    """A failing search does not leak what it has found."""
    (hit, *_) = canary.find({"cookie": SECRET}, {"log": SECRET})
    assert "cookie in log as raw" in hit
    assert SECRET.decode() not in hit


def test_arguments_and_environment_of_children_are_searched(tmp_path: Path) -> None:
    """A secret that is handed to a child by argument or environment is found."""
    code = (
        "import subprocess, sys, time;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)', sys.stdin.read()]);"
        "print('ready', flush=True); time.sleep(20)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    pids = []
    try:
        child.stdin.write(SECRET)
        child.stdin.close()
        child.stdout.readline()
        time.sleep(0.2)
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text()
        pids = [int(pid) for pid in children.split()]
        assert canary.find({"cookie": SECRET}, canary.process(child.pid))
    finally:
        for pid in pids:
            subprocess.run(["kill", str(pid)], check=False)
        child.kill()
        child.wait()
        child.stdout.close()
