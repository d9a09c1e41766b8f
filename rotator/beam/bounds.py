"""What a term in the external format may be, before anything is built from it.

One pass over the bytes, without recursion: it ends, it allocates one small stack, and what it
lets through is shallow, of the tags that OTP 25 and later send, and of bounded size in memory.
Source: OTP, "External Term Format".
"""

from __future__ import annotations

from typing import Final

from rotator.errors import BeamProtocolError

MAX_DEPTH: Final = 100  # the decoder behind this recurses, by two frames a level
MAX_COST: Final = 16 * 1024 * 1024  # bytes of Python objects, estimated from above

INTEGER, SMALL_INTEGER, FLOAT, NIL = 98, 97, 70, 106
STRING, BINARY, BITS = 107, 109, 77
SMALL_BIG = 110  # LARGE_BIG would take the decoder quadratic time
ATOM, SMALL_ATOM, LATIN_ATOM, SMALL_LATIN_ATOM = 118, 119, 100, 115
SMALL_TUPLE, LARGE_TUPLE, LIST, MAP = 104, 105, 108, 116
PID, PORT, V4_PORT, REFERENCE = 88, 89, 120, 90
FUN, EXPORT = 112, 113

# tag: bytes that follow
_FIXED: Final = {SMALL_INTEGER: 1, INTEGER: 4, FLOAT: 8, NIL: 0}
# tag: width of the length, bytes between the length and what it counts
_SIZED: Final = {
    STRING: (2, 0),
    BINARY: (4, 0),
    BITS: (4, 1),
    SMALL_BIG: (1, 1),
    ATOM: (2, 0),
    SMALL_ATOM: (1, 0),
    LATIN_ATOM: (2, 0),
    SMALL_LATIN_ATOM: (1, 0),
}
# tag: width of the count, terms per count, terms besides
_NESTED: Final = {SMALL_TUPLE: (1, 1, 0), LARGE_TUPLE: (4, 1, 0), LIST: (4, 1, 1), MAP: (4, 2, 0)}
# tag: bytes after the node's name, which is an atom
_NAMED: Final = {PID: 12, PORT: 8, V4_PORT: 12}
_ATOMS: Final = frozenset({ATOM, SMALL_ATOM, LATIN_ATOM, SMALL_LATIN_ATOM})
# A nested key would be hashed, and for that encoded, anew on each level around it.
_KEYS: Final = _ATOMS | {SMALL_INTEGER, INTEGER, SMALL_BIG, FLOAT, BINARY}
# What one term takes while it is decoded, besides what its length counts.
_COSTS: Final = {SMALL_INTEGER: 16, INTEGER: 64, FLOAT: 64, NIL: 160}
_COST: Final = 512
# The same for each byte: a string becomes a list, an atom UCS-4 twice; an integer takes time.
_COSTS_OF_BYTE: Final = {STRING: 24, SMALL_BIG: 16, **dict.fromkeys(_ATOMS, 8)}


def end_of(data: bytes, start: int) -> int:
    """Where the term that begins at `start` (after any version byte) ends.

    Raises BeamProtocolError when it is cut off, nested or large beyond the bounds, or holds a
    tag that is not accepted: compressed terms, atom cache references, formats of old releases.
    """
    at, cost = start, 0
    waiting = [(1, False)]  # how many terms are still to come on each level; in a map or not
    while waiting:
        count, in_map = waiting.pop()
        if not count:
            continue
        waiting.append((count - 1, in_map))  # even the last one: the stack is the depth
        tag = _number(data, at, 1)
        if in_map and count % 2 == 0 and tag not in _KEYS:
            raise BeamProtocolError("a map has a key that is itself made of terms")
        end, children = _span(data, at)
        if end + children > len(data):
            raise BeamProtocolError("a term is cut off")
        cost += _COSTS.get(tag, _COST) + (end - at) * _COSTS_OF_BYTE.get(tag, 1)
        at = end
        if children:
            waiting.append((children, tag == MAP))
        if cost > MAX_COST or len(waiting) > MAX_DEPTH:
            raise BeamProtocolError("a term is larger or deeper than is accepted")
    return at


def _span(data: bytes, at: int) -> tuple[int, int]:
    """Where the term's own bytes end, and how many terms it holds."""
    tag = data[at]
    at += 1
    if tag in _FIXED:
        return at + _FIXED[tag], 0
    if tag in _SIZED:
        width, between = _SIZED[tag]
        return at + width + between + _number(data, at, width), 0
    if tag in _NESTED:
        width, each, besides = _NESTED[tag]
        return at + width, _number(data, at, width) * each + besides
    return _opaque_end(data, at, tag), 0


def _opaque_end(data: bytes, at: int, tag: int) -> int:
    """The same for pids, ports, references and funs, which stay as they are."""
    if tag in _NAMED:
        return _atom_end(data, at) + _NAMED[tag]
    if tag == REFERENCE:
        return _atom_end(data, at + 2) + 4 + 4 * _number(data, at, 2)
    if tag == FUN:
        return at + max(4, _number(data, at, 4))  # its size counts itself
    if tag == EXPORT:
        return _atom_end(data, _atom_end(data, at)) + 2
    raise BeamProtocolError("a term has a tag that is not accepted")


def _atom_end(data: bytes, at: int) -> int:
    if _number(data, at, 1) not in _ATOMS:
        raise BeamProtocolError("a term lacks an atom")
    return _span(data, at)[0]


def _number(data: bytes, at: int, width: int) -> int:
    if at + width > len(data):
        raise BeamProtocolError("a term is cut off")
    return int.from_bytes(data[at : at + width], "big")
