"""The master secret: what every derived cookie comes from."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import Final, NoReturn

from rotator.errors import WeakMaster

MIN_BYTES: Final = 32
MAX_BYTES: Final = 64
MIN_DISTINCT: Final = 16


class MasterSecret:
    """32 to 64 bytes with at least 16 distinct values; shown by nothing but `reveal`."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if not MIN_BYTES <= len(secret) <= MAX_BYTES:
            raise WeakMaster(
                f"a master secret has {MIN_BYTES} to {MAX_BYTES} bytes; this one has {len(secret)}"
            )
        if len(set(secret)) < MIN_DISTINCT:
            raise WeakMaster(
                f"a master secret has at least {MIN_DISTINCT} distinct bytes;"
                f" this one has {len(set(secret))}, so it was not made at random"
            )
        self._secret = secret

    @classmethod
    def parse(cls, text: str) -> MasterSecret:
        """Read hex or base64; raises `WeakMaster` with the reason, never with the text.

        Text of hex digits alone is hex. White space is ignored, inside too: `base64` wraps.
        """
        text = "".join(text.split())
        if re.fullmatch(r"(?:[0-9a-fA-F]{2})+", text):
            return cls(bytes.fromhex(text))
        try:
            decoded = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise WeakMaster("a master secret is given as hex or base64") from None
        return cls(decoded)

    def reveal(self) -> bytes:
        """The bytes themselves; for key stretching and the secrets manager alone."""
        return self._secret

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MasterSecret):
            return NotImplemented
        return hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(("master", self._secret))

    def __repr__(self) -> str:
        return "MasterSecret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a master secret is not pickled")
