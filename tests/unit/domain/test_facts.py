from __future__ import annotations

import pytest

from rotator.domain.facts import REPEATABLE, Fact, FactKind
from rotator.domain.ids import RotationId, VersionNumber
from rotator.testing.factories import NOW


@pytest.mark.parametrize("kind", FactKind)
def test_a_fact_of_a_rotation_is_unique_unless_it_may_repeat(kind: FactKind) -> None:
    """What happens once in a rotation has a key, what may happen again has none."""
    fact = Fact(
        kind=kind, at=NOW, by="rotator", rotation=RotationId("r1"), version=VersionNumber(12)
    )
    assert fact.once_key == (None if kind in REPEATABLE else f"r1/{kind}/12")


def test_a_fact_outside_of_rotations_may_repeat() -> None:
    """Without a rotation there is nothing to be unique in."""
    assert Fact(kind=FactKind.CLUSTER_INITIALISED, at=NOW, by="rotator").once_key is None


def test_facts_are_in_the_past_tense_and_spelled_once() -> None:
    """Each stored word is another one, in CamelCase."""
    words = [str(kind) for kind in FactKind]
    assert len(set(words)) == len(words)
    assert all(word[0].isupper() and word.isalpha() for word in words)
