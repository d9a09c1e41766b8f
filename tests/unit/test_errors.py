from __future__ import annotations

import re

import pytest

from rotator import errors
from rotator.errors import RotationUnderway, RotatorError, SecretStoreError


def _tree(root: type[RotatorError]) -> list[type[RotatorError]]:
    return [root, *(each for child in root.__subclasses__() for each in _tree(child))]


OWN = [each for each in _tree(RotatorError) if each.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", [each for each in OWN if each is not RotationUnderway])
def test_the_docstring_is_the_message(kind: type[RotatorError]) -> None:
    """Raised without detail, an error says what its class says, in one sentence."""
    assert str(kind()) == kind.__doc__
    assert "\n" not in str(kind())
    assert str(kind()).endswith(".")


@pytest.mark.parametrize("kind", [each for each in OWN if each is not RotationUnderway])
def test_a_detail_replaces_the_message(kind: type[RotatorError]) -> None:
    """Whoever raises it may say more."""
    assert str(kind("what happened")) == "what happened"


def test_every_error_has_a_code_of_its_own() -> None:
    """Clients tell errors apart by code, so each class sets one and no two share it."""
    codes = [kind.__dict__.get("code") for kind in OWN]

    assert None not in codes
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z0-9_]+", str(code)) for code in codes)


def test_the_tree_on_top_names_every_error() -> None:
    """The module's docstring draws all of them."""
    drawn = set(re.findall(r"\w+", errors.__doc__ or ""))

    assert {kind.__name__ for kind in OWN} <= drawn


def test_only_faults_that_pass_are_tried_again() -> None:
    """Of the secrets manager's errors, four are transient."""
    ours = [kind for kind in _tree(SecretStoreError) if kind.__module__ == errors.__name__]
    transient = {kind.__name__ for kind in ours if kind.is_transient}

    assert transient == {"StoreUnreachable", "StoreSealed", "StoreBusy", "StoreConflict"}


def test_the_rotation_that_is_in_the_way_is_named() -> None:
    """Whoever is refused learns which rotation to wait for."""
    error = RotationUnderway("r-1")

    assert error.rotation_id == "r-1"
    assert "r-1" in str(error)
