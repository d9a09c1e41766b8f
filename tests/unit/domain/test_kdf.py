from __future__ import annotations

import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.domain.kdf import (
    NAMES,
    Argon2id,
    Pbkdf2HmacSha512,
    Scrypt,
    from_json,
    name_of,
    to_json,
)
from rotator.errors import InputError

whole = st.integers(1, 2**40)
parameters = st.one_of(
    st.builds(Argon2id, time=whole, memory_kib=whole, lanes=whole, profile=st.text()),
    st.builds(Pbkdf2HmacSha512, iterations=whole, profile=st.text()),
    st.builds(Scrypt, n=whole, r=whole, p=whole, profile=st.text()),
)

STORED = {
    "name": "argon2id",
    "version": 19,
    "time": 3,
    "memory_kib": 65536,
    "lanes": 4,
    "hash_len": 32,
    "profile": "rfc9106-low-memory",
}


@given(parameters)
def test_parameters_survive_the_store(kdf: Argon2id | Pbkdf2HmacSha512 | Scrypt) -> None:
    """Through JSON and back, every number that changes the output is the same."""
    assert from_json(json.loads(json.dumps(to_json(kdf)))) == kdf
    assert name_of(kdf) in NAMES


def test_the_stored_form_never_changes() -> None:
    """An epoch written by the first release is read by every later one."""
    low_memory = Argon2id(time=3, memory_kib=65536, lanes=4, profile="rfc9106-low-memory")

    assert from_json(STORED) == low_memory
    assert to_json(low_memory) == STORED
    assert from_json(
        {"name": "pbkdf2-hmac-sha512", "iterations": 9, "hash_len": 32, "profile": "x"}
    ) == Pbkdf2HmacSha512(iterations=9, profile="x")
    assert from_json(
        {"name": "scrypt", "n": 2, "r": 1, "p": 1, "hash_len": 32, "profile": "x"}
    ) == Scrypt(n=2, r=1, p=1, profile="x")


@pytest.mark.parametrize("name", ["", "argon2i", "Argon2id", None, 1, ["argon2id"], {}])
def test_an_unknown_function_is_refused(name: object) -> None:
    """A name that this release does not know is never taken for another."""
    with pytest.raises(InputError, match="not known"):
        from_json({**STORED, "name": name})


@pytest.mark.parametrize("raw", [None, [], "argon2id", 1])
def test_what_is_not_an_object_is_refused(raw: object) -> None:
    """A document of another shape is an input error, not a crash."""
    with pytest.raises(InputError):
        from_json(raw)


@pytest.mark.parametrize("missing", sorted(set(STORED) - {"name"}))
def test_no_parameter_is_guessed(missing: str) -> None:
    """A default that was filled in would derive other cookies, silently."""
    with pytest.raises(InputError, match="not complete"):
        from_json({key: value for key, value in STORED.items() if key != missing})


def test_an_unknown_parameter_is_refused() -> None:
    """It may change the output in the release that wrote it."""
    with pytest.raises(InputError):
        from_json({**STORED, "secret_parameter": 1})


@pytest.mark.parametrize("name", ["time", "memory_kib", "lanes", "version", "hash_len"])
@pytest.mark.parametrize("value", [True, "3", 3.0, None, [3]])
def test_a_number_of_another_type_is_refused(name: str, value: object) -> None:
    """A boolean or a text is not read as a number."""
    with pytest.raises(InputError, match=name):
        from_json({**STORED, name: value})


def test_a_profile_that_is_no_text_is_refused() -> None:
    """The profile's name is text."""
    with pytest.raises(InputError, match="profile"):
        from_json({**STORED, "profile": 1})


@pytest.mark.parametrize(("name", "value"), [("hash_len", 31), ("hash_len", 64), ("version", 16)])
def test_fixed_parameters_are_fixed(name: str, value: int) -> None:
    """A stretched key has 32 bytes, and Argon2id is version 19."""
    with pytest.raises(InputError, match=name):
        from_json({**STORED, name: value})


@pytest.mark.parametrize("name", ["name", "profile", "time"])
def test_no_refusal_repeats_what_was_read(name: str) -> None:
    """What lies in the secrets manager may be a secret in the wrong place."""
    canary = "CanaryMaster91c2"
    with pytest.raises(InputError) as caught:
        from_json({**STORED, name: [canary], canary: 1})

    assert canary not in "".join(traceback.format_exception(caught.value))
