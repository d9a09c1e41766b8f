"""Parts that Debian's packages bring: a test that needs a missing one fails in CI, and skips elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"


def need(*programs: str, by: str = "make packages") -> None:
    """Skip, or fail in CI, unless each of *programs* is there: names in PATH, or absolute paths."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    names = ", ".join(Path(program).name for program in missing)
    if os.environ.get("CI"):
        pytest.fail(f"missing here, and needed in CI: {names}; `{by}` installs them")
    pytest.skip(f"needs {names}; `{by}` installs them")
