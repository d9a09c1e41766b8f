from __future__ import annotations

import pytest

from rotator.domain.policy import Expectation
from rotator.testing.factories import a_policy


@pytest.mark.parametrize(
    ("expect", "needs"),
    [(None, False), (0, False), (frozenset(), False), (1, True), (frozenset({"rabbit@a"}), True)],
)
def test_a_gate_needs_an_attestation_where_somebody_is_expected(
    expect: Expectation, needs: bool
) -> None:
    """Names and counts want attestations, none and nought want nothing."""
    assert a_policy(expect=expect).expects_members is needs
