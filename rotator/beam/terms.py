"""Erlang terms as Python values, by the external term format.

==================================  =========================================================
atom                                `Atom`, but `true` and `false` are bool
integer, float                      int, float
binary                              bytes
list                                list; what arrived as a string is a `Charlist`, a list too
tuple, map                          tuple, dict
pid, port, reference, fun,          `Opaque`: it can be sent back, and compared
bit string, improper list
==================================  =========================================================

Map keys are atoms, numbers and binaries; keys that Python takes for equal (1, 1.0, true) are
one. The format is erlang_py's; `bounds` looks at the bytes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import erlang as etf

from rotator.beam import bounds
from rotator.errors import BeamProtocolError

VERSION: Final = 131


class Atom(str):
    """An atom; equal to the str of the same text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Atom({str.__repr__(self)})"


class Charlist(list[int]):
    """A list of code points; `Charlist("text")` makes one to be sent."""

    __slots__ = ()

    def __init__(self, of: str | Iterable[int] = "") -> None:
        super().__init__(map(ord, of) if isinstance(of, str) else of)


@dataclass(frozen=True, slots=True)
class Opaque:
    """A term without a Python counterpart, in the external format without its version byte."""

    external: bytes


def encode(term: object) -> bytes:
    """The external format of a term, with its version byte.

    Raises TypeError for what is no term: a plain str is none, since it could be an `Atom`, a
    `Charlist` or a binary.
    """
    encoded: bytes = etf.term_to_binary(_outwards(term))
    return encoded


def decode(data: bytes) -> object:
    """The term in `data`, which begins with its version byte and holds nothing else.

    Raises BeamProtocolError for anything but one whole term within the bounds.
    """
    if not data or data[0] != VERSION:
        raise BeamProtocolError("a term is of an unknown version")
    if bounds.end_of(data, 1) != len(data):
        raise BeamProtocolError("something follows a term")
    try:
        return _inwards(etf.binary_to_term(data))
    except Exception as unreadable:  # erlang_py lets several of Python's own errors through
        raise BeamProtocolError("a term cannot be read") from unreadable


def text(term: object) -> str:
    """An atom, a binary in UTF-8 or a list of code points as str.

    Raises BeamProtocolError for other terms.
    """
    try:
        match term:
            case bool():
                return "true" if term else "false"
            case str():
                return str(term)
            case bytes():
                return term.decode()
            case list():
                return "".join(map(chr, term))
            case _:
                pass
    except (ValueError, TypeError, OverflowError):
        pass
    raise BeamProtocolError("a term is not the text that was expected")


def _outwards(term: object) -> object:
    match term:
        case bool() | int() | float():
            return term
        case Atom():
            return etf.OtpErlangAtom(str(term))
        case bytes():
            return etf.OtpErlangBinary(term)
        case list():
            return etf.OtpErlangList([_outwards(each) for each in term])
        case tuple():
            return tuple(_outwards(each) for each in term)
        case dict():
            return {_outwards(key): _outwards(value) for key, value in term.items()}
        case Opaque():
            return etf.OtpErlangFunction(term.external[0], term.external[1:])
        case _:
            raise TypeError(f"{type(term).__name__} is no Erlang term")


def _inwards(term: object) -> object:
    match term:
        case None:
            return Atom("undefined")
        case bool() | int() | float():
            return term
        case bytes():
            return Charlist(term)
        case list():
            return [_inwards(each) for each in term]
        case tuple():
            return tuple(_inwards(each) for each in term)
        case dict():
            return {_inwards(key): _inwards(value) for key, value in term.items()}
        case _:
            return _object_inwards(term)


def _object_inwards(term: object) -> object:
    match term:
        case etf.OtpErlangAtom(value=bytes() as latin):
            return Atom(latin.decode("latin-1"))
        case etf.OtpErlangAtom(value=str() as name):
            return Atom(name)
        case etf.OtpErlangBinary(bits=8, value=bytes() as binary):
            return binary
        case _:
            external: bytes = etf.term_to_binary(term)
            return Opaque(external[1:])
