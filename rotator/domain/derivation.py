"""From a stretched epoch key to cookies and fingerprint keys: one HMAC and one change of base.

Nothing here may ever change: a cookie that lies in no backup is found again only by deriving it
(``docs/reference/derivation.md``).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from rotator.domain.cookie import Cookie

if TYPE_CHECKING:
    from rotator.domain.ids import ClusterUid, VersionNumber

KEY_BYTES: Final = 32
UID_BYTES: Final = 16
COOKIE_LENGTH: Final = 43  #: 62**43 > 2**256 > 62**42
ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_HASH_BYTES: Final = 32
_MAX_BLOCKS: Final = 255
_MAX_NUMBER: Final = 2**64 - 1
_COOKIE_LABEL: Final = b"rotator/v1/cookie\0"
_FINGERPRINT_LABEL: Final = b"rotator/v1/fingerprint\0"


def hkdf_expand_sha256(key: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869, section 2.3).

    The key has at least 32 bytes and is uniform already, so there is no extract step; length is
    1 to 8160 bytes. Raises `ValueError` otherwise.
    """
    if len(key) < _HASH_BYTES:
        raise ValueError(f"the key has fewer than {_HASH_BYTES} bytes")
    if not 0 < length <= _MAX_BLOCKS * _HASH_BYTES:
        raise ValueError(f"the length is not 1 to {_MAX_BLOCKS * _HASH_BYTES} bytes")
    output = block = b""
    for counter in range(1, -(-length // _HASH_BYTES) + 1):
        block = hmac.digest(key, block + info + bytes([counter]), hashlib.sha256)
        output += block
    return output[:length]


def base62(value: bytes) -> str:
    """Exactly 43 characters of 0-9A-Za-z for 32 bytes: the big-endian integer, zero-padded.

    Injective, and in the order of the bytes. Raises `ValueError` for another size.
    """
    if len(value) != KEY_BYTES:
        raise ValueError(f"the value does not have {KEY_BYTES} bytes")
    number = int.from_bytes(value, "big")
    digits = []
    for _ in range(COOKIE_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def derive_cookie(stretched: bytes, *, uid: ClusterUid, number: VersionNumber) -> Cookie:
    """The cookie of one version of one cluster, a pure function of its arguments.

    ``stretched`` is the epoch's 32 bytes. Raises `ValueError` for a wrong size, a uid that is
    not 32 lower-case hex digits, or a number outside 1 to 2**64 - 1.
    """
    _require_stretched(stretched)
    if not 0 < number <= _MAX_NUMBER:
        raise ValueError("the version number is not 1 to 2**64 - 1")
    # After the label both fields have a fixed width, so no two pairs share an encoding.
    info = _COOKIE_LABEL + _uid_bytes(uid) + number.to_bytes(8, "big")
    return Cookie(base62(hkdf_expand_sha256(stretched, info)))


def derive_fingerprint_key(stretched: bytes, *, uid: ClusterUid) -> bytes:
    """The cluster's 32-byte fingerprint key, from the stretched key of its first epoch.

    Raises `ValueError` as `derive_cookie` does.
    """
    _require_stretched(stretched)
    return hkdf_expand_sha256(stretched, _FINGERPRINT_LABEL + _uid_bytes(uid))


def _require_stretched(stretched: bytes) -> None:
    if len(stretched) != KEY_BYTES:
        raise ValueError(f"a stretched key has {KEY_BYTES} bytes")


def _uid_bytes(uid: ClusterUid) -> bytes:
    # fromhex alone would take capitals and white space: two spellings of one cluster.
    raw = bytes.fromhex(uid)
    if len(raw) != UID_BYTES or raw.hex() != uid:
        raise ValueError("a cluster uid is 32 lower-case hex digits")
    return raw
