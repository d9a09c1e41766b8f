"""A drift is told before it is healed; nothing else waits, and it waits for nobody for long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotator.agent.decide import LATE, Memory
from rotator.agent.sights import Sights
from tests.support.agents import ALIEN, NEW, OLD, ROUND, THROWN, orders, settled

DRIFTED = settled(own=ALIEN)


def test_a_drift_is_held_back_until_it_is_told() -> None:
    """From the moment that the service has heard of it, it is healed."""
    sights = Sights()
    assert sights.hold_back(orders(), DRIFTED, Memory(), now=10.0)
    assert sights.hold_back(orders(), DRIFTED, Memory(), now=10.5)
    assert sights.tell(ALIEN)
    assert not sights.hold_back(orders(), DRIFTED, Memory(), now=10.6)


def test_a_service_that_is_away_is_waited_for_no_longer_than_a_bound() -> None:
    """However many foreign cookies follow each other in that time."""
    sights = Sights()
    assert sights.hold_back(orders(), DRIFTED, Memory(), now=10.0)
    assert sights.hold_back(orders(), settled(own=THROWN), Memory(), now=11.5)
    assert not sights.hold_back(orders(), DRIFTED, Memory(), now=12.0)


def test_each_drift_is_told_anew() -> None:
    """After it was healed, the same cookie again is another sight."""
    sights = Sights()
    assert sights.hold_back(orders(), DRIFTED, Memory(), now=10.0)
    sights.tell(ALIEN)
    assert not sights.hold_back(orders(), settled(), Memory(), now=11.0)
    assert sights.hold_back(orders(), DRIFTED, Memory(), now=50.0)


@pytest.mark.parametrize("changes", [{"lock": ROUND}, {"refuse": {1: None}}])
def test_in_an_emergency_nothing_is_delayed(changes: dict[str, object]) -> None:
    """What was readable before is compromised: the node is locked at once."""
    assert not Sights().hold_back(orders(**changes), DRIFTED, Memory(), now=0.0)


@pytest.mark.parametrize(
    "memory",
    [
        Memory(throwaway=ALIEN),
        Memory(former=(ALIEN,), throwaway=THROWN),
        Memory(lock=LATE, throwaway=THROWN),
    ],
)
def test_a_throwaway_of_ours_is_no_drift(memory: Memory) -> None:
    """A node that is locked already is brought on without a pause."""
    assert not Sights().hold_back(orders(), DRIFTED, memory, now=0.0)


def test_what_is_accepted_or_left_alone_is_not_held_back() -> None:
    """An accepted cookie, a drift that is held, and a VM that is down."""
    for own in (OLD, NEW, None):
        assert not Sights().hold_back(orders(), replace(DRIFTED, own=own), Memory(), now=0.0)
    assert not Sights().hold_back(orders(heals_drift=False), DRIFTED, Memory(), now=0.0)
