"""Whom a token is for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rotator.errors import InputError
from rotator.services import tokens

HOUR = timedelta(hours=1)


def require(nodes: str) -> None:
    """Ask for a token for these nodes."""
    tokens._require_good(role="node", clusters=["orders"], nodes=nodes, note="", expires_in=HOUR)


@pytest.mark.parametrize("nodes", ["a", "@h", "rabbit@", "rabbit@h x", "a*" + "x" * 255])
def test_a_node_is_named_in_full_as_in_the_configuration(nodes: str) -> None:
    """A token for a name that no node can have would be of no use, and its owner would learn late."""
    with pytest.raises(InputError, match="rabbit@host"):
        require(nodes)


@pytest.mark.parametrize("nodes", ["rabbit@h", "rabbit@*", "*"])
def test_a_full_name_or_a_pattern_is_taken(nodes: str) -> None:
    """Patterns are wide on purpose; `doctor` names them."""
    require(nodes)
