from __future__ import annotations

import base64
import copy
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.domain.master import MasterSecret
from rotator.errors import WeakMaster

SECRET = bytes(range(100, 132))

strong = st.binary(min_size=32, max_size=64).filter(lambda raw: len(set(raw)) >= 16)


@given(strong)
def test_hex_and_base64_give_the_same_secret(raw: bytes) -> None:
    """However it is written down, the KDF gets the decoded bytes."""
    hexadecimal = MasterSecret.parse(raw.hex())

    assert hexadecimal.reveal() == raw
    assert MasterSecret.parse(raw.hex().upper()) == hexadecimal
    assert MasterSecret.parse(base64.b64encode(raw).decode()) == hexadecimal


def test_white_space_around_and_inside_is_ignored() -> None:
    """The wrapped output of `base64` and `openssl rand` can be given as it is."""
    raw = bytes(range(64))

    assert MasterSecret.parse("  " + base64.encodebytes(raw).decode() + "\n").reveal() == raw


@pytest.mark.parametrize("size", [0, 1, 31, 65, 1000])
def test_other_sizes_are_refused_with_their_number(size: int) -> None:
    """The reason names the size that was found, and nothing else of the secret."""
    with pytest.raises(WeakMaster, match=f"has {size}$"):
        MasterSecret(bytes(n % 256 for n in range(size)))


def test_sixteen_distinct_bytes_are_the_least() -> None:
    """A key that was typed or repeated is refused as weak."""
    assert MasterSecret(bytes(range(16)) * 2)
    with pytest.raises(WeakMaster, match="distinct"):
        MasterSecret(bytes(range(15)) * 3)


@pytest.mark.parametrize("text", ["!" * 44, "é" * 40, "abc", "YWJj=ZGVm", "x" * 45])
def test_what_is_neither_hex_nor_base64_is_refused(text: str) -> None:
    """The reason says what is wanted."""
    with pytest.raises(WeakMaster, match="hex or base64"):
        MasterSecret.parse(text)


def test_no_refusal_repeats_the_text() -> None:
    """Neither message nor traceback of a refused master holds what was given."""
    canary = "CanaryMaster91c2"
    for text in (canary, canary + "!", canary * 9, canary.encode().hex()):
        with pytest.raises(WeakMaster) as caught:
            MasterSecret.parse(text)
        printed = "".join(traceback.format_exception(caught.value))
        assert canary not in printed
        assert canary.encode().hex() not in printed


@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_master_is_neither_pickled_nor_copied(leave: object) -> None:
    """`reveal` is the only way out."""
    with pytest.raises(TypeError):
        leave(MasterSecret(SECRET))  # type: ignore[operator]


def test_no_usual_way_of_showing_shows_the_secret() -> None:
    """Repr, str and format show that it is a master, and no byte of it."""
    master = MasterSecret(SECRET)

    assert {repr(master), str(master), f"{master}"} == {"MasterSecret(…)"}
    assert not hasattr(master, "__dict__")


def test_masters_are_equal_if_their_bytes_are() -> None:
    """Equality and hash follow the bytes, and a master never equals bytes."""
    assert MasterSecret(SECRET) == MasterSecret(SECRET)
    assert hash(MasterSecret(SECRET)) == hash(MasterSecret(SECRET))
    assert MasterSecret(SECRET) != MasterSecret(SECRET[::-1])
    assert MasterSecret(SECRET) != SECRET
