from __future__ import annotations

import pytest

from rotator.adapters.derivation import PROFILES
from rotator.domain.kdf import Argon2id, Pbkdf2HmacSha512, Scrypt
from rotator.domain.strength import is_weak


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_of_the_profiles_those_for_tests_are_weak_and_no_other(name):
    """What this program recommends is never found weak."""
    assert is_weak(PROFILES[name]) == name.startswith("cheapest-")


@pytest.mark.parametrize(
    ("kdf", "weak"),
    [
        # The options of OWASP's Password Storage Cheat Sheet, and one step below each.
        (Argon2id(time=1, memory_kib=47_104, lanes=1, profile="x"), False),
        (Argon2id(time=5, memory_kib=7_168, lanes=1, profile="x"), False),
        (Argon2id(time=4, memory_kib=7_168, lanes=1, profile="x"), True),
        (Argon2id(time=50, memory_kib=4_096, lanes=1, profile="x"), True),
        (Pbkdf2HmacSha512(iterations=210_000, profile="x"), False),
        (Pbkdf2HmacSha512(iterations=209_999, profile="x"), True),
        (Scrypt(n=2**15, r=8, p=3, profile="x"), False),
        (Scrypt(n=2**13, r=8, p=10, profile="x"), False),
        (Scrypt(n=2**13, r=8, p=9, profile="x"), True),
        (Scrypt(n=2**12, r=8, p=99, profile="x"), True),
    ],
)
def test_parameters_are_judged_by_their_numbers(kdf, weak):
    """A name says nothing; work and memory do."""
    assert is_weak(kdf) == weak
