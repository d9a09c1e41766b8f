"""Real nodes, an agent beside each: their cookie is replaced again and again, and nobody notices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, fleet
from tests.support.parts import need
from tests.support.watch import watching

# Half a minute on an idle machine; a loaded one may take its time.
pytestmark = pytest.mark.timeout(600)

STEP_SECONDS = 5.0  #: a move takes milliseconds; a loaded machine may stop an agent in the middle


@pytest.fixture(autouse=True)
def _erlang() -> None:
    need("erl", "erlc", "epmd")


def rotate(made: Fleet, retired: list[str]) -> None:
    """One rotation; what is true of every node and pair after it."""
    retired.append(made.current())
    rotation = made.rotate()
    made.until(rotation, "completed")
    made.settle()
    made.assert_uses(made.current(), retired=retired)
    made.assert_undisturbed()


def test_eight_nodes_rotate_in_a_row_and_lose_no_link_and_no_call(tmp_path: Path) -> None:
    """After each rotation every row of every node is current, and what was before is refused."""
    with fleet(tmp_path, 8) as made:
        retired: list[str] = []
        with watching(made.mesh.nodes) as watch:
            for _ in range(3):
                rotate(made, retired)
        assert len({*retired, made.current()}) == 4
        assert watch.pairs > 8 * 7
        assert watch.longest < STEP_SECONDS, watch


def test_cookies_in_a_real_openbao_rotate_a_real_mesh(tmp_path: Path, secret_stores: Any) -> None:
    """With OpenBao as the secrets manager, too, nothing is lost, and one copy is left."""
    place = secret_stores("vault", tmp_path)
    with fleet(tmp_path, 3, secret_store=place.settings) as made:
        retired: list[str] = []
        for _ in range(2):
            rotate(made, retired)
        place.assert_single_copy("orders")
