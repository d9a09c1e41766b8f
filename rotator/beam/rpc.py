"""What a remote call looks like on the wire: to the node's `rex`, and back.

The request is what `rpc:call/4` sends, so every OTP release serves it; the answer is matched by
the reference in the request.

Source: OTP, "Distribution Protocol", section "Protocol between Connected Nodes".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rotator.beam import bounds, terms
from rotator.beam.handshake import Identity
from rotator.beam.terms import Atom, Opaque
from rotator.errors import BeamProtocolError, CallFailed

PASS_THROUGH: Final = 112
SEND, REG_SEND, SEND_SENDER = 2, 6, 22
MAX_CONTROL: Final = 8 * 1024  # a node's name has 255 characters, and there may be three
CONTROL: Final = bytes([PASS_THROUGH, terms.VERSION, bounds.SMALL_TUPLE])
SENT: Final = CONTROL + bytes([3, bounds.SMALL_INTEGER, SEND])
SENT_BY_SENDER: Final = CONTROL + bytes([3, bounds.SMALL_INTEGER, SEND_SENDER])
ANSWER: Final = bytes([terms.VERSION, bounds.SMALL_TUPLE, 2, bounds.REFERENCE])

# The only words of an exception that are repeated: anything else might be an argument.
REASONS: Final = frozenset(
    {
        *("badarg", "badarith", "badarity", "badfun", "badkey", "badmap", "badmatch", "badrecord"),
        *("case_clause", "function_clause", "if_clause", "try_clause", "nocatch", "undef"),
        *("calling_self", "killed", "noconnection", "nodedown", "noproc", "normal", "notsup"),
        *("shutdown", "system_limit", "timeout", "timeout_value"),
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer on its way: which call it is for, and the term, not decoded yet."""

    call: Opaque
    external: bytes

    def result(self) -> object:
        """What the function returned.

        Raises CallFailed when it did not return, BeamProtocolError when it cannot be decoded.
        """
        term = terms.decode(self.external)
        match term:
            case (Atom("badrpc"), reason):
                known = reason_of(reason)
                raise CallFailed(f"the call failed in the node: {known}", reason=known)
            case _:
                return term


def process(us: Identity) -> Opaque:
    """The process identifier that all calls come from."""
    return Opaque(bytes([bounds.PID]) + _atom(us.name) + struct.pack("!III", 1, 0, us.creation))


def reference(us: Identity, number: int) -> Opaque:
    """The reference of one call; `number` has 96 bits at most."""
    head = bytes([bounds.REFERENCE, 0, 3]) + _atom(us.name) + struct.pack("!I", us.creation)
    return Opaque(head + number.to_bytes(12, "big"))


def request(
    module: str, function: str, args: Sequence[object], *, sender: Opaque, call: Opaque
) -> bytes:
    """The message, without its length, that makes the node apply the function."""
    asked = (Atom("call"), Atom(module), Atom(function), list(args), Atom("user"))
    return (
        bytes([PASS_THROUGH])
        + terms.encode((REG_SEND, sender, Atom(""), Atom("rex")))
        + terms.encode((Atom("$gen_call"), (sender, call), asked))
    )


def answer(frame: bytes, *, receiver: Opaque) -> Answer | None:
    """The answer that a message holds; None for anything else that a node may send.

    Raises BeamProtocolError when it is no message of this protocol.
    """
    if not frame.startswith(CONTROL):
        raise BeamProtocolError("the node sent what is not understood")
    if not frame.startswith((SENT, SENT_BY_SENDER)):
        return None
    end = bounds.end_of(frame[:MAX_CONTROL], 2)
    match terms.decode(frame[1:end]):
        case (_, _, to) if to == receiver:
            return _answer(frame[end:])
    return None


def _answer(message: bytes) -> Answer | None:
    if not message.startswith(ANSWER):
        return None
    end = bounds.end_of(message, 3)
    call = terms.decode(bytes([terms.VERSION]) + message[3:end])
    if not isinstance(call, Opaque):
        return None
    return Answer(call, bytes([terms.VERSION]) + message[end:])


def reason_of(reason: object) -> str:
    """The class of an exception: the first known word on the way into the term."""
    while isinstance(reason, tuple) and reason:
        reason = reason[1] if reason[0] == "EXIT" and len(reason) > 1 else reason[0]
    return str(reason) if isinstance(reason, Atom) and reason in REASONS else "another reason"


def _atom(name: str) -> bytes:
    return terms.encode(Atom(name))[1:]
