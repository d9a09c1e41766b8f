"""What OTP answers, as values: terms of its tables and calls, looked at before they are believed. Pure."""

from __future__ import annotations

from rotator.beam.terms import Atom, Opaque, text
from rotator.domain.ids import NodeName
from rotator.errors import BeamProtocolError


def atom(term: object) -> str:
    """An atom; `BeamProtocolError` for anything else."""
    if not isinstance(term, Atom):
        raise BeamProtocolError
    return str(term)


def atoms(term: object) -> list[NodeName]:
    """A list of atoms, as names of nodes."""
    if not isinstance(term, list):
        raise BeamProtocolError
    return [NodeName(atom(one)) for one in term]


def rows(term: object) -> list[tuple[str, str]]:
    """The rows of a table of pairs of atoms."""
    if not isinstance(term, list):
        raise BeamProtocolError
    pairs = []
    for row in term:
        if not isinstance(row, tuple) or len(row) != 2:  # noqa: PLR2004 - a pair
            raise BeamProtocolError
        pairs.append((atom(row[0]), atom(row[1])))
    return pairs


def shaking_hands(term: object) -> list[object]:
    """The processes that do so: `owner` and `pending_owner` of net_kernel.erl's `#connection{}`."""
    found: list[object] = []
    for row in term if isinstance(term, list) else []:
        match row:
            case (Atom("connection"), _, _, Atom("pending"), owner, *_):
                found.append(owner)
            case (Atom("connection"), _, _, Atom("up_pending"), _, _, owner, *_):
                found.append(owner)
            case _:
                pass
    return found


def linked(term: object) -> list[tuple[NodeName, bytes]]:
    """Of `sys_dist`: who is linked, each with the process that keeps the connection."""
    found: list[tuple[NodeName, bytes]] = []
    for row in term if isinstance(term, list) else []:
        match row:
            case (
                Atom("connection"), Atom() as name, _, Atom("up" | "up_pending"), Opaque() as owner, *_
            ):  # fmt: skip
                found.append((NodeName(name), owner.external))
            case _:
                pass
    return found


def ok(answer: object) -> Atom | None:
    """The value in ``{ok, Value}`` of `erpc:multicall`; None for anything else."""
    match answer:
        case (Atom("ok"), Atom() as value):
            return value
        case _:
            return None


def arguments(term: object) -> list[tuple[str, tuple[str, ...]]]:
    """`init:get_arguments/0`: a flag, and its values."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for row in term if isinstance(term, list) else []:
        match row:
            case (Atom() as flag, list() as values):
                found.append((str(flag), tuple(text(value) for value in values)))
            case _:
                pass
    return found
