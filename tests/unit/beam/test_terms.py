from __future__ import annotations

import contextlib
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rotator.beam import bounds, terms
from rotator.beam.terms import Atom, Charlist, Opaque
from rotator.errors import BeamProtocolError

# The atoms true and false come back as bool.
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(
    lambda name: name not in {"true", "false"}
)
keys = st.one_of(names.map(Atom), st.binary(max_size=9), st.integers(min_value=2))
leaves = st.one_of(
    keys,
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    st.just(Opaque(b"Xw\x01a" + bytes(12))),
)
values = st.recursive(
    leaves,
    lambda below: st.one_of(
        st.lists(below, max_size=6),
        st.lists(below, max_size=6).map(tuple),
        st.dictionaries(keys, below, max_size=4),
    ),
    max_leaves=30,
)
PID = b"Xw\x01a" + bytes(12)


@given(values)
def test_what_is_encoded_is_decoded(term: object) -> None:
    """Every term that can be sent comes back as it was."""
    assert terms.decode(terms.encode(term)) == term


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_bytes_are_a_term_or_refused(data: bytes) -> None:
    """Whatever the bytes, the answer is a term or BeamProtocolError."""
    with contextlib.suppress(BeamProtocolError):
        terms.decode(b"\x83" + data)


@settings(max_examples=500)
@given(values, st.data())
def test_damaged_terms_are_terms_or_refused(term: object, data: st.DataObject) -> None:
    """Terms with bytes changed, cut off or put in behave like any other bytes."""
    raw = bytearray(terms.encode(term))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1)) if raw else 0
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    with contextlib.suppress(BeamProtocolError):
        terms.decode(bytes(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x83",
        b"\x82a\x01",
        b"\x83a\x01a",
        b"\x83P" + struct.pack("!I", 2**30) + zlib.compress(bytes(2**20)),
        b"\x83" + b"l\0\0\0\1" * 5000 + b"j" * 5001,
        b"\x83" + b"h\1" * 101 + b"j",
        b"\x83l\xff\xff\xff\xff" + b"j" * 100,
        b"\x83m\xff\xff\xff\xff",
        b"\x83o\0\0\1\0\0" + b"\xff" * 256,
        b"\x83R\0",
        b"\x83t\0\0\0\1jj",
        b"\x83t\0\0\0\1h\1a\1j",
        b"\x83w\x02\xff\xff",
        b"\x83q" + b"a\1" * 3,
        b"\x83Za",
    ],
)
def test_what_is_not_accepted_is_refused(raw: bytes) -> None:
    """Bombs, cut off terms, nesting, false lengths, nested keys and unknown tags."""
    with pytest.raises(BeamProtocolError):
        terms.decode(raw)


@pytest.mark.parametrize(
    "item",
    [b"j", b"a\5", b"w\0", b"h\0", b"t\0\0\0\0", b"t\0\0\0\1a\1a\1", b"k\0\2aa", PID, b"n\1\0\xff"],
)
def test_memory_is_bounded_whatever_is_inside(item: bytes) -> None:
    """Eight megabytes of the smallest terms take no more than the bound, refused or not."""
    count = 8 * 1024 * 1024 // len(item)
    raw = b"\x83l" + struct.pack("!I", count) + item * count + b"j"
    tracemalloc.start()
    try:
        with pytest.raises(BeamProtocolError):
            terms.decode(raw)
        assert tracemalloc.get_traced_memory()[1] < bounds.MAX_COST
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("term", "said"),
    [
        (Atom("abc"), "abc"),
        (True, "true"),
        ("ä".encode(), "ä"),
        (Charlist("ä€"), "ä€"),
        ([97, 0x20AC], "a€"),
        ([], ""),
    ],
)
def test_text_has_several_spellings(term: object, said: str) -> None:
    """Atoms, binaries and lists of code points are all text."""
    assert terms.text(term) == said


@pytest.mark.parametrize("term", [1, (1,), {}, b"\xff", [-1], [2**40], [b"a"], Opaque(PID)])
def test_what_is_no_text_is_refused(term: object) -> None:
    """Anything else is a BeamProtocolError and no guess."""
    with pytest.raises(BeamProtocolError):
        terms.text(term)


@pytest.mark.parametrize("term", ["CANARY", None, object(), ["CANARY"]])
def test_what_is_no_term_is_not_encoded(term: object) -> None:
    """A plain str is no term, and the refusal does not repeat it."""
    with pytest.raises(TypeError) as caught:
        terms.encode(term)
    assert "CANARY" not in str(caught.value)


def test_the_formats_of_other_releases_are_read() -> None:
    """Atoms in Latin-1, undefined, strings, improper lists and bit strings are understood."""
    raw = b"\x83h\5s\1\xe4w\x09undefinedk\0\1al\0\0\0\1a\1a\2M\0\0\0\1\3\xe0"
    latin, undefined, string, improper, bits = terms.decode(raw)  # type: ignore[misc]
    assert (latin, undefined, string) == ("ä", "undefined", [97])
    assert isinstance(string, Charlist)
    assert improper == Opaque(b"l\0\0\0\1a\1a\2")
    assert bits == Opaque(b"M\0\0\0\1\3\xe0")
