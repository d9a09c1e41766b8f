"""Whatever is asked of whichever replica at whatever moment: one outcome, the same in both stores."""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from rotator.domain.rotation import Phase
from tests.support.replicas import replicas
from tests.support.turmoil import CLUSTERS, KINDS, Turmoil

if TYPE_CHECKING:
    from pathlib import Path

IS_FULL = os.environ.get("ROTATOR_TESTS") == "full"
COMMANDS, STRIKES = (200, 20) if IS_FULL else (24, 2)
STORE = "vault" if IS_FULL else "local"


@pytest.mark.timeout(3600)
def test_each_command_has_one_outcome_in_both_stores(tmp_path: Path, secret_stores: Any) -> None:
    """Emergencies, aborts, rollbacks and holds on three replicas that die; the chains verify."""
    place = secret_stores(STORE, tmp_path)
    seed = int(os.environ.get("ROTATOR_SEED", random.randrange(1 << 32)))
    with replicas(tmp_path, place.settings, CLUSTERS) as three:
        turmoil = Turmoil(three, seed)
        try:
            turmoil.run(COMMANDS, strikes=STRIKES)
            ends = asyncio.run(checked(turmoil, place))
        except BaseException:
            print(f"ROTATOR_SEED={seed}")
            raise
        fence, _ = three.holder()
    print(
        f"\nseed {seed}: {dict(turmoil.answered)} done, {dict(turmoil.refused)} refused;"
        f" {dict(turmoil.strikes)}, {fence} terms of leaders; rotations ended {dict(ends)}"
    )
    assert turmoil.answered["manual"]
    if IS_FULL:  # a few commands may all be refused
        assert set(KINDS) <= set(turmoil.answered)
        assert {Phase.COMPLETED, Phase.ABORTED, Phase.ROLLED_BACK} <= set(ends)


async def checked(turmoil: Turmoil, place: Any) -> Any:
    """With the secrets manager open."""
    stores = place.open()
    try:
        return await turmoil.check(stores)
    finally:
        await stores.close()
