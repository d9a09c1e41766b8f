"""The real kubectl and helm, which `make kubectl` puts beside the interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.parts import need

_BESIDE = Path(sys.executable).parent


def kubectl() -> str:
    """Where kubectl 1.35 is; the test is skipped, or fails in CI, where it is missing."""
    return _found("kubectl")


def helm() -> str:
    """Where helm 4.1 is; the test is skipped, or fails in CI, where it is missing."""
    return _found("helm")


def _found(program: str) -> str:
    """Another one in PATH is not taken: its version would be anybody's."""
    beside = _BESIDE / program
    need(str(beside), by="make kubectl")
    return str(beside)
