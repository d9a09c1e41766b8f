from __future__ import annotations

import copy
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.domain.cookie import MAX_LENGTH, Cookie
from rotator.domain.ids import ClusterUid
from rotator.errors import InvalidCookie

CANARY = "CanaryCookie7f3a9b"
UID = ClusterUid("000102030405060708090a0b0c0d0e0f")

printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)


@given(printable)
def test_every_printable_text_up_to_an_atom_is_a_cookie(text: str) -> None:
    """What Erlang takes without quoting of white space is kept unchanged."""
    assert Cookie(text).reveal() == text


def test_the_longest_atom_is_a_cookie_and_one_more_letter_is_not() -> None:
    """An Erlang atom has at most 255 characters."""
    assert len(Cookie("x" * MAX_LENGTH).reveal()) == 255
    with pytest.raises(InvalidCookie):
        Cookie("x" * (MAX_LENGTH + 1))


@pytest.mark.parametrize("text", ["", " ", "a b", "a\n", "\ta", "a\0", "\x7f", "é", "a\u2003", "٣"])
def test_white_space_control_and_other_alphabets_are_refused(text: str) -> None:
    """A cookie file, an argument list and an atom would each read them differently."""
    with pytest.raises(InvalidCookie):
        Cookie(text)


@pytest.mark.parametrize("value", [None, 1, True, b"bytes", ["a", "b"], {"a": 1}])
def test_what_is_not_text_is_refused(value: object) -> None:
    """A list of letters read from JSON does not pass for their text."""
    with pytest.raises(TypeError):
        Cookie(value)  # type: ignore[arg-type]


def test_no_usual_way_of_showing_shows_the_text() -> None:
    """Repr, str, format, a container's repr and percent formatting show nothing."""
    cookie = Cookie(CANARY)
    shown = [repr(cookie), str(cookie), f"{cookie}", f"{cookie!r}", repr([cookie])]

    assert not any(CANARY in text for text in [*shown, "%s" % cookie])  # noqa: UP031
    assert not hasattr(cookie, "__dict__")


@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_cookie_is_neither_pickled_nor_copied(leave: object) -> None:
    """Every general way out of the object is shut, and the error does not tell."""
    with pytest.raises(TypeError) as caught:
        leave(Cookie(CANARY))  # type: ignore[operator]

    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("text", [CANARY + " x", CANARY * 20, CANARY + "\n"])
def test_the_refusal_does_not_repeat_the_text(text: str) -> None:
    """Neither the message nor the printed traceback of a refused cookie holds it."""
    with pytest.raises(InvalidCookie) as caught:
        Cookie(text)

    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@given(printable, printable)
def test_cookies_are_equal_if_their_texts_are(one: str, other: str) -> None:
    """Equality and hash follow the text, and a cookie never equals a string."""
    assert (Cookie(one) == Cookie(other)) is (one == other)
    assert hash(Cookie(one)) == hash(Cookie(one))
    assert Cookie(one) != one


@given(printable, st.binary(min_size=32, max_size=32))
def test_a_fingerprint_has_its_form_and_depends_on_cluster_and_key(text: str, key: bytes) -> None:
    """Equal cookies of two clusters cannot be told to be equal by their fingerprints."""
    cookie, other = Cookie(text), ClusterUid("ff" * 16)
    fingerprint = cookie.fingerprint(key, UID)

    assert fingerprint.startswith("f1:")
    assert len(bytes.fromhex(fingerprint[3:])) == 16
    assert fingerprint != cookie.fingerprint(key, other)
    assert fingerprint != cookie.fingerprint(bytes(b ^ 1 for b in key), UID)
