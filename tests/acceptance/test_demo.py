"""The demonstration shows what it promises, on a real OpenBao and on the local store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("store", ["vault", "local"])
def test_the_demo_proves_both_rotations_and_prints_one_json_document(store: str) -> None:
    """Both rotations complete, and each flag of the proof has the promised value."""
    ran = subprocess.run(
        [sys.executable, "-m", "rotator", "demo", "--store", store, "-o", "json"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    rotations = report.pop("rotations")
    assert report == {
        "store": store,
        "previous_readable_during_grace": True,
        "previous_readable_after": False,
        "revoked_readable_after": False,
        "still_stored": False,
    }
    assert [(r["kind"], r["phase"], r["from_version"], r["to_version"]) for r in rotations] == [
        ("manual", "completed", 1, 2),
        ("emergency", "completed", 2, 3),
    ]
    assert all(r["seconds"] > 0 for r in rotations)
    for phase in ("staged", "installing", "promoting", "grace", "retiring", "locking"):
        assert phase in ran.stderr


def test_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its processes are stopped and its directory is removed."""
    subprocess.run(
        [sys.executable, "-m", "rotator", "demo", "--store", "local"],
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
        timeout=110,
        check=True,
    )
    assert list(tmp_path.iterdir()) == []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(tmp_path).encode() not in place.read_bytes()
        except OSError:
            continue
