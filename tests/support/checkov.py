"""checkov over what the charts render and over the Dockerfile: once in a run."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.charts import GOLDEN
from tests.support.markdown import CHECKOUT
from tests.support.parts import need


@functools.cache
def findings(framework: str) -> frozenset[tuple[str, str]]:
    """Check and object of each finding; `kubernetes` or `dockerfile`."""
    [found] = [one for one in _results() if one["check_type"] == framework]
    assert found["summary"]["passed"] > 10, "checkov has looked at nothing"
    failed = found["results"]["failed_checks"]
    return frozenset((one["check_id"], one["resource"]) for one in failed)


@functools.cache
def _results() -> list[dict[str, object]]:
    program = Path(sys.executable).parent / "checkov"
    need(str(program), by="make checkov")
    with tempfile.TemporaryDirectory(prefix="checkov-") as place:
        shutil.copytree(GOLDEN, Path(place) / "golden")
        shutil.copy(CHECKOUT / "deploy" / "Dockerfile", place)
        ran = subprocess.run(
            [program, "--directory", place, "--framework", "kubernetes", "dockerfile",
             "--output", "json", "--compact", "--quiet", "--skip-download"],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    return json.loads(ran.stdout)
