"""Everything that can die dies at random moments, again and again; the mesh does not notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chaos import Chaos
from tests.support.fleet import fleet
from tests.support.parts import need
from tests.support.watch import watching

# Seconds on an idle machine; a loaded one may take its time. The full size is `make soak`.
pytestmark = pytest.mark.timeout(600)

SEED = 20261124  #: `make soak` takes another one each time
STEP_SECONDS = 5.0  #: a move takes milliseconds; a loaded machine may stop an agent in the middle


def test_random_deaths_in_a_row_of_rotations_leave_every_pair_in_step(tmp_path: Path) -> None:
    """Killed agents, nodes and services come back, every rotation ends, no other link is lost."""
    need("erl", "erlc", "epmd")
    with fleet(tmp_path, 4) as made, watching(made.mesh.nodes) as watch:
        chaos = Chaos(fleet=made, watch=watch, seed=SEED)
        chaos.rotation(strikes=3)
        chaos.rotation(strikes=3)
        assert watch.samples > 10
        assert watch.longest < STEP_SECONDS, watch
