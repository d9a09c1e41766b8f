"""Attestations out of JSON: bounded and typed, unknown fields ignored.

By hand, since this is the request that every node sends every few seconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rotator.domain.cluster import Attestation, Proof, ReadFrom
from rotator.domain.ids import Fingerprint, Generation, NodeName, VersionNumber
from rotator.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

_K = TypeVar("_K")
_V = TypeVar("_V")

MAX_PINS: Final = 2000
MAX_LINKS: Final = 2000
MAX_VERSIONS: Final = 64
MAX_LINES: Final = 200
MAX_NUMBER: Final = 2**53

_FINGERPRINT: Final = re.compile(r"f1:[0-9a-f]{32}")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,15}")
_NAME: Final = re.compile(r"[^\x00-\x20\x7f]{1,255}")
_LINE: Final = re.compile(r"[^\x00-\x1f\x7f]{0,1000}")
_RUN: Final = re.compile(r"[0-9A-Za-z]{0,64}")
_INSTANT: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _wrong(field: str, wanted: str) -> InputError:
    return InputError(f"{field}: {wanted}")


def _whole(found: Any, field: str) -> int:  # noqa: ANN401 - JSON
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= MAX_NUMBER:
        raise _wrong(field, "a whole number is wanted")
    return found


def _matching(found: Any, field: str, pattern: re.Pattern[str], wanted: str) -> str:  # noqa: ANN401
    if not isinstance(found, str) or pattern.fullmatch(found) is None:
        raise _wrong(field, wanted)
    return found


def _fingerprint(found: Any, field: str) -> Fingerprint:  # noqa: ANN401 - JSON
    wanted = "a fingerprint (f1: and 32 hex digits) is wanted"
    return Fingerprint(_matching(found, field, _FINGERPRINT, wanted))


def _peer(found: Any, field: str) -> NodeName:  # noqa: ANN401 - JSON
    return NodeName(_matching(found, field, _NAME, "names of nodes are wanted, up to 255 long"))


def _number(found: Any, field: str) -> VersionNumber:  # noqa: ANN401 - JSON
    return VersionNumber(int(_matching(found, field, _NUMBER, "version numbers are wanted")))


def _proof(found: Any, field: str) -> Proof:  # noqa: ANN401 - JSON
    try:
        return Proof(found)
    except ValueError:
        raise _wrong(field, "handshake or read_back is wanted") from None


def _hidden(found: Any, field: str) -> bool:  # noqa: ANN401 - JSON
    hidden = found.get("hidden", False) if isinstance(found, dict) else None
    if not isinstance(hidden, bool):
        raise _wrong(field, 'an object with "hidden" is wanted')
    return hidden


def _mapping(
    body: dict[str, Any],
    field: str,
    key: Callable[[Any, str], _K],
    value: Callable[[Any, str], _V],
    *,
    at_most: int,
) -> dict[_K, _V]:
    found = body.get(field)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _wrong(field, "an object is wanted")
    if len(found) > at_most:
        raise _wrong(field, f"at most {at_most} entries are taken")
    return {key(name, field): value(given, field) for name, given in found.items()}


def _lines(body: dict[str, Any], field: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
    found = body.get(field)
    if found is None:
        return ()
    if not isinstance(found, list) or len(found) > MAX_LINES:
        raise _wrong(field, f"a list of at most {MAX_LINES} is wanted")
    return tuple(_matching(one, field, pattern, "plain text is wanted") for one in found)


def _instant(found: Any) -> datetime:  # noqa: ANN401 - JSON
    text = _matching(found, "at", _INSTANT, "an instant of RFC 3339 is wanted")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong("at", "an instant of RFC 3339 is wanted") from None


def _read_from(found: Any) -> ReadFrom:  # noqa: ANN401 - JSON
    try:
        return ReadFrom(found)
    except ValueError:
        raise _wrong("read_from", "vm, boot or none is wanted") from None


def _run(found: Any, field: str) -> str:  # noqa: ANN401 - JSON
    return _matching(found, field, _RUN, "up to 64 letters and digits are wanted")


def attestation(body: dict[str, Any]) -> Attestation:
    """A node's report; `InputError` names the field and what is wanted, never what came."""

    def maybe(field: str, parse: Callable[[Any, str], _V]) -> _V | None:
        found = body.get(field)
        return None if found is None else parse(found, field)

    uses = maybe("uses", _whole)
    return Attestation(
        generation=Generation(_whole(body.get("generation"), "generation")),
        at=_instant(body.get("at")),
        read_from=_read_from(body.get("read_from")),
        holds=_mapping(body, "holds", _number, _fingerprint, at_most=MAX_VERSIONS),
        uses=None if uses is None else VersionNumber(uses),
        own=maybe("own", _fingerprint),
        file=maybe("file", _fingerprint),
        pins=_mapping(body, "pins", _peer, _fingerprint, at_most=MAX_PINS),
        boot_pins=_mapping(body, "boot_pins", _peer, _fingerprint, at_most=MAX_PINS),
        refuses=_mapping(body, "refuses", _number, _proof, at_most=MAX_VERSIONS),
        accepts=_mapping(body, "accepts", _number, _proof, at_most=MAX_VERSIONS),
        locked_round=maybe("locked_round", _whole),
        foreign_links=_lines(body, "foreign_links", _NAME),
        links=_mapping(body, "links", _peer, _hidden, at_most=MAX_LINKS),
        otp_release=_text(body, "otp_release"),
        agent=_text(body, "agent"),
        run=maybe("run", _run) or "",
        preflight=_lines(body, "preflight", _LINE),
    )


def _text(body: dict[str, Any], field: str) -> str:
    found = body.get(field)
    return "" if found is None else _matching(found, field, _LINE, "plain text is wanted")
