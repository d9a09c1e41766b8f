"""What the tests of the recipes share: the recipes' files, a place for one program."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from rotator.agent.boot_files import BootFormat, render
from rotator.agent.decide import Boot
from rotator.domain.cookie import Cookie
from rotator.domain.ids import NodeName
from tests.support import places
from tests.support.places import Place

RECIPES = Path(__file__).parents[2] / "deploy" / "recipes"
HOST = "127.0.0.1"


@contextmanager
def place(*needs: str, user: str | None = None) -> Iterator[Place]:
    """Where one program runs: a short path that its user may enter."""
    for program in needs:
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
    if user is not None and os.geteuid() != 0:
        pytest.skip(f"{needs[0]} runs as {user}, so this wants root")
    with tempfile.TemporaryDirectory(prefix="recipe-") as name:
        Path(name).chmod(0o755)
        with places.place(Path(name) / "home", user=user) as here:
            yield here


def recipe(path: str, **instead: str) -> str:
    """The recipe's file, with the places and names that a user would change."""
    text = (RECIPES / path).read_text(encoding="utf-8")
    for placeholder, value in {"app@app1.example.com": f"app@{HOST}", **instead}.items():
        text = text.replace(placeholder, value)
    return text


def boot_file(kind: BootFormat, peers: Mapping[str, str], *, own: str | None = None) -> str:
    """What the agent writes before a node boots."""
    made = {NodeName(peer): Cookie(text) for peer, text in peers.items()}
    return render(kind, Boot(own=Cookie(own) if own else None, pins=made))


def pins(*names: str) -> dict[str, str]:
    """A cookie for each of these peers."""
    return {f"{name}@{HOST}": places.cookie() for name in names}
