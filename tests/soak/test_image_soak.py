"""The build of the image, step by step as the Dockerfile says, in a directory instead of a container."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dockerfile import stages
from tests.support.markdown import CHECKOUT


@pytest.mark.timeout(900)
def test_the_build_of_the_image_makes_a_program_that_runs(tmp_path: Path) -> None:
    """Every line of the first stage works with what it copies and no more, and what it leaves runs by itself."""
    build, _ = stages(CHECKOUT / "deploy" / "Dockerfile")
    context = tmp_path / "src"
    context.mkdir()
    for word, rest in build.instructions:
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                _copy(CHECKOUT / source, context / target, is_only=len(sources) == 1)
        elif word == "RUN":
            here = re.sub(r"(?<![\w.])/(build|wheels|opt)\b", rf"{tmp_path}/\1", rest)
            here = re.sub(r"(^|&& )python ", rf"\1{sys.executable} ", here)
            ran = subprocess.run(
                ["bash", "-euc", here], cwd=context, capture_output=True, text=True, check=False
            )
            assert ran.returncode == 0, ran.stderr[-2000:]
    program = tmp_path / "opt" / "rotator" / "bin" / "rotator"
    told = subprocess.run([program, "serve", "--help"], capture_output=True, text=True, check=True)
    assert "rotator serve --config rotator.yaml" in told.stdout
    names = {path.name for path in program.parent.iterdir()}
    assert not names & {"pip", "hatchling"}, "tools of the build are no part of the image"


def _copy(source: Path, target: Path, *, is_only: bool) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    elif is_only and not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
