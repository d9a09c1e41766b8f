"""The handshake, version 6, as the side that connects.

::

    we    N flags creation host          a name is asked for (DFLAG_NAME_ME): no node ever
    peer  s named: name creation         has to make room for a name of ours
    peer  N flags challenge creation name
    we    r challenge digest             what only a holder of the cookie can say
    peer  a digest                       and what only a holder of the cookie can answer

What it means when the peer closes depends on how far it came:

* before it said anything in this protocol: it is no BEAM node (a real one that dies at this very
  moment looks the same); over TLS, it may be that it does not trust our certificate;
* after that and before our digest: it went away;
* after our digest and before its own: the cookie is wrong. OTP says nothing, logs "Invalid challenge
  reply" and closes; a node that dies in that moment looks the same;
* a digest of its own that is wrong: it does not know the cookie and could not tell ours.

Source: OTP, "Distribution Protocol", section "Distribution Handshake".
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass
from typing import Final

from rotator.beam.wire import Wire
from rotator.errors import (
    BeamProtocolError,
    NodeGone,
    NodeRefused,
    NodeTlsFailed,
    NoSuchNode,
    NotABeamNode,
    WrongCookie,
)

PLAIN, OVER_TLS = 2, 4  # bytes of a message's length
MAX_MESSAGE: Final = 64 * 1024
MAX_NAME: Final = 255 * 4  # bytes: an atom has 255 characters

HANDSHAKE_23: Final = 1 << 24
NAME_ME: Final = 1 << 33
FLAGS: Final = (
    1 << 2  # EXTENDED_REFERENCES
    | 1 << 4  # FUN_TAGS
    | 1 << 7  # NEW_FUN_TAGS
    | 1 << 8  # EXTENDED_PIDS_PORTS
    | 1 << 9  # EXPORT_PTR_TAG
    | 1 << 10  # BIT_BINARIES
    | 1 << 11  # NEW_FLOATS
    | 1 << 16  # UTF8_ATOMS
    | 1 << 17  # MAP_TAG
    | 1 << 18  # BIG_CREATION
    | HANDSHAKE_23
    | 1 << 25  # UNLINK_ID, mandatory since OTP 26
    | 1 << 34  # V4_NC, mandatory since OTP 26
    | NAME_ME
)
# Not PUBLISHED: a hidden node. No DIST_HDR_ATOM_CACHE, no FRAGMENTS: every message is one frame,
# self-contained. No SPAWN, no DIST_MONITOR: this node has no processes.


@dataclass(frozen=True, slots=True)
class Identity:
    """What the peer calls us, and the creation that it gave to this use of the name."""

    name: str
    creation: int


def digest(challenge: int, cookie: str) -> bytes:
    """What proves to whoever sent `challenge` that we hold `cookie`; 16 bytes."""
    proof = f"{cookie}{challenge}".encode("latin-1", "backslashreplace")
    return hashlib.md5(proof, usedforsecurity=False).digest()


async def shake_hands(wire: Wire, *, peer: str, cookie: str, width: int) -> Identity:
    """Introduce ourselves to `peer`; `width` is PLAIN or OVER_TLS.

    Raises NotABeamNode, NoSuchNode (another node answers), NodeRefused, NodeTlsFailed,
    WrongCookie, NodeGone, BeamProtocolError. Takes as long as the peer likes: give it a deadline.
    """
    line = _Line(wire, width)
    identity = _status(await _introduced(line, peer.partition("@")[2].encode()))
    theirs = await _challenge(line, peer)
    ours = secrets.randbits(32)
    await line.send(struct.pack("!cI", b"r", ours) + digest(theirs, cookie))
    try:
        answer = await line.receive()
    except NodeGone as closed:
        raise WrongCookie from closed
    if answer[:1] != b"a" or len(answer) != 17:  # noqa: PLR2004 - the tag and an MD5
        raise BeamProtocolError("the node's handshake is not understood")
    if not hmac.compare_digest(answer[1:], digest(ours, cookie)):
        raise WrongCookie
    return identity


@dataclass(frozen=True, slots=True)
class _Line:
    wire: Wire
    width: int

    async def send(self, message: bytes) -> None:
        await self.wire.send(len(message).to_bytes(self.width, "big") + message)

    async def receive(self) -> bytes:
        return await self.wire.frame(self.width, most=MAX_MESSAGE)


async def _introduced(line: _Line, host: bytes) -> bytes:
    """The first word of the peer, after ours."""
    try:
        await line.send(struct.pack("!cQIH", b"N", FLAGS, 0, len(host)) + host)
        return await line.receive()
    except BeamProtocolError as unknown:  # "HTTP" as a length of 4 bytes, say
        raise NotABeamNode from unknown
    except NodeGone as closed:
        if line.width == OVER_TLS:
            raise NodeTlsFailed("over TLS, the node hung up before its first word") from closed
        raise NotABeamNode from closed


def _status(message: bytes) -> Identity:
    if message[:1] != b"s":
        raise NotABeamNode
    status = message[1:]
    if status.startswith(b"named:"):
        return named(status)
    if status == b"alive":  # to hang up is to say no: another's connection is not ours to replace
        raise NodeRefused("the node holds another connection under our name")
    if status in {b"nok", b"not_allowed"}:
        raise NodeRefused(f"the node does not take this connection ({status.decode()})")
    if status in {b"ok", b"ok_simultaneous"}:
        raise BeamProtocolError("the node gives no names: it is older than OTP 25")
    raise NotABeamNode


def named(status: bytes) -> Identity:
    """Our identity out of ``named:``, a 2-byte length, the name and a 4-byte creation."""
    size = int.from_bytes(status[6:8], "big")
    name, rest = status[8 : 8 + size], status[8 + size :]
    if len(rest) != 4 or not 0 < size <= MAX_NAME:  # noqa: PLR2004 - the creation
        raise BeamProtocolError("the node gives a name that is not understood")
    return Identity(_name(name), int.from_bytes(rest, "big"))


async def _challenge(line: _Line, peer: str) -> int:
    message = await line.receive()
    if message[:1] != b"N" or len(message) < 19:  # noqa: PLR2004 - flags, challenge, creation, length
        raise BeamProtocolError("the node's handshake is not understood")
    _, flags, challenge, _, size = struct.unpack_from("!cQIIH", message)
    if size != len(message) - 19 or not flags & HANDSHAKE_23:
        raise BeamProtocolError("the node's handshake is not understood")
    if _name(message[19:]) != peer:
        raise NoSuchNode(f"another node than {peer} answers at that place")
    return int(challenge)


def _name(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as unreadable:
        raise BeamProtocolError("a node's name is not UTF-8") from unreadable
