"""The Erlang cookie: the value that must never be shown."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final, NoReturn

from rotator.domain.ids import Fingerprint
from rotator.errors import InvalidCookie

if TYPE_CHECKING:
    from rotator.domain.ids import ClusterUid

MAX_LENGTH: Final = 255  #: characters in an Erlang atom (Erlang Efficiency Guide, "System Limits")

_TEXT: Final = re.compile(rf"[!-~]{{1,{MAX_LENGTH}}}")


class Cookie:
    """A cookie of 1 to 255 printable ASCII characters without white space.

    Its text is reachable through `reveal` alone; repr, str, format, pickle and copy show nothing.
    Raises `InvalidCookie`, which does not repeat the text.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        # A pattern, since it refuses whatever JSON may hold instead of text (`TypeError`).
        if _TEXT.fullmatch(text) is None:
            raise InvalidCookie
        self._text = text

    def reveal(self) -> str:
        """The text itself; only for where cookie material must leave (see tests/architecture)."""
        return self._text

    def fingerprint(self, key: bytes, uid: ClusterUid) -> Fingerprint:
        """``f1:`` + 32 hex of HMAC-SHA-256(key, uid ‖ 0 ‖ cookie); safe to show."""
        message = bytes.fromhex(uid) + b"\0" + self._text.encode("ascii")
        return Fingerprint("f1:" + hmac.new(key, message, hashlib.sha256).hexdigest()[:32])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cookie):
            return NotImplemented
        return hmac.compare_digest(self._text, other._text)

    def __hash__(self) -> int:
        return hash(("cookie", self._text))

    def __repr__(self) -> str:
        return "Cookie(…)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a cookie is not pickled")
