from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.domain.derivation import (
    ALPHABET,
    base62,
    derive_cookie,
    derive_fingerprint_key,
    hkdf_expand_sha256,
)
from rotator.domain.ids import ClusterUid, VersionNumber

STRETCHED = bytes(range(32))
UID = ClusterUid("000102030405060708090a0b0c0d0e0f")

stretched_keys = st.binary(min_size=32, max_size=32)
uids = st.binary(min_size=16, max_size=16).map(lambda raw: ClusterUid(raw.hex()))
numbers = st.integers(1, 2**64 - 1).map(VersionNumber)

# RFC 5869, appendix A.1 to A.3: PRK, info, OKM.
EXPAND_VECTORS = [
    (
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        bytes(range(0xF0, 0xFA)),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        bytes(range(0xB0, 0x100)),
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
            "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
            "cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        b"",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("key", "info", "output"), EXPAND_VECTORS)
def test_expand_gives_the_answers_of_rfc_5869(key: str, info: bytes, output: str) -> None:
    """HKDF-Expand agrees with RFC 5869 in full, and one block is the beginning of it."""
    expected = bytes.fromhex(output)

    assert hkdf_expand_sha256(bytes.fromhex(key), info, len(expected)) == expected
    assert hkdf_expand_sha256(bytes.fromhex(key), info) == expected[:32]


@pytest.mark.parametrize("length", [-1, 0, 255 * 32 + 1])
def test_expand_refuses_a_length_that_rfc_5869_does_not_define(length: int) -> None:
    """An output outside 1 to 8160 bytes is refused."""
    with pytest.raises(ValueError, match="length"):
        hkdf_expand_sha256(STRETCHED, b"", length)


def test_expand_reaches_the_longest_output() -> None:
    """The last block that the one-byte counter can number is still given."""
    assert len(hkdf_expand_sha256(STRETCHED, b"", 255 * 32)) == 255 * 32


def test_expand_refuses_a_short_key() -> None:
    """A key below the hash's length is no pseudorandom key."""
    with pytest.raises(ValueError, match="key"):
        hkdf_expand_sha256(bytes(31), b"")


# Change of base by GNU bc (obase=62), left-padded with 0 to 43.
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (bytes(32), "0" * 43),
        (bytes(31) + b"\x3d", "0" * 42 + "z"),
        (bytes(31) + b"\x3e", "0" * 41 + "10"),
        (bytes(8) + b"\xff" * 24, "00000000002lFA6LboL2xx0ldQH2K1TdSrwuqMMiME3"),
        (b"\xff" * 32, "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1"),
    ],
)
def test_base62_known_answers_never_change(value: bytes, text: str) -> None:
    """Zeros in front are kept as digits, and the greatest value fits."""
    assert base62(value) == text


@pytest.mark.parametrize("size", [0, 31, 33])
def test_base62_refuses_another_size(size: int) -> None:
    """Padding to 43 characters is injective for 32 bytes alone."""
    with pytest.raises(ValueError, match="32 bytes"):
        base62(bytes(size))


@given(stretched_keys, stretched_keys)
def test_base62_is_injective_and_keeps_the_order(one: bytes, other: bytes) -> None:
    """Two values are in the order of their texts, so equal texts mean equal values."""
    assert (one < other) == (base62(one) < base62(other))
    assert (one == other) == (base62(one) == base62(other))


@given(stretched_keys)
def test_base62_can_be_read_back(value: bytes) -> None:
    """43 characters of the alphabet hold the whole value."""
    text = base62(value)

    assert len(text) == 43
    assert set(text) <= set(ALPHABET)
    number = 0
    for letter in text:
        number = number * 62 + ALPHABET.index(letter)
    assert number.to_bytes(32, "big") == value


# HKDF by OpenSSL 3 (`openssl kdf … HKDF`), change of base by GNU bc; docs/reference/derivation.md.
@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "lM7gZ5K8Ad4LHUoWs6zLmvR04nDRFKKWa3cwTVHyPa6"),
        (2, "fx8WniTcjsejKMicLX8QNumWTqr5RvxwoOucrpK8a9L"),
        (2**64 - 1, "RQSeu4ReeabpOj6U3oiSbc0wzN8sgAaLV6LFrDP1UUM"),
    ],
)
def test_derived_cookies_never_change(number: int, text: str) -> None:
    """A cookie that was derived once is derived again by every later release."""
    cookie = derive_cookie(STRETCHED, uid=UID, number=VersionNumber(number))

    assert cookie.reveal() == text


def test_fingerprints_never_change() -> None:
    """The fingerprint key and a fingerprint agree with OpenSSL's HKDF and HMAC."""
    key = derive_fingerprint_key(STRETCHED, uid=UID)
    cookie = derive_cookie(STRETCHED, uid=UID, number=VersionNumber(1))

    assert key.hex() == "098dc7c3491f4a625c8936f5a6d45471ce0967a74160d142d27782c1381a5ee4"
    assert cookie.fingerprint(key, UID) == "f1:c7ac0b221880125376ce9a60d370ab22"


@given(stretched_keys, uids, numbers, uids, numbers)
def test_another_cluster_or_version_has_another_cookie(
    key: bytes, uid: ClusterUid, number: VersionNumber, other: ClusterUid, next_: VersionNumber
) -> None:
    """No two pairs of cluster and version are encoded alike."""
    same = (uid, number) == (other, next_)

    first = derive_cookie(key, uid=uid, number=number)
    second = derive_cookie(key, uid=other, number=next_)

    assert (first == second) is same


def test_digits_cannot_move_from_the_uid_to_the_number() -> None:
    """A uid that ends in what another's number begins with gives another cookie."""
    uids_and_numbers = [
        ("00" * 15 + "01", 2 << 8),
        ("00" * 16, (1 << 56) + 2),
        ("00" * 15 + "01", 2),
        ("00" * 16, 12),
        ("01" + "00" * 15, 2),
    ]
    cookies = {
        derive_cookie(STRETCHED, uid=ClusterUid(uid), number=VersionNumber(number))
        for uid, number in uids_and_numbers
    }

    assert len(cookies) == len(uids_and_numbers)


@given(stretched_keys, uids, numbers)
def test_a_cookie_says_nothing_of_the_fingerprint_key(
    key: bytes, uid: ClusterUid, number: VersionNumber
) -> None:
    """The two purposes are apart, so a fingerprint key is never a cookie."""
    cookie = derive_cookie(key, uid=uid, number=number)

    assert cookie.reveal() != base62(derive_fingerprint_key(key, uid=uid))


@pytest.mark.parametrize("number", [-1, 0, 2**64])
def test_a_number_outside_eight_bytes_is_refused(number: int) -> None:
    """Version numbers are 1 to 2**64 - 1."""
    with pytest.raises(ValueError, match="number"):
        derive_cookie(STRETCHED, uid=UID, number=VersionNumber(number))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_stretched_key_of_another_size_is_refused(size: int) -> None:
    """What is not the KDF's 32 bytes derives nothing."""
    with pytest.raises(ValueError, match="stretched"):
        derive_cookie(bytes(size), uid=UID, number=VersionNumber(1))
    with pytest.raises(ValueError, match="stretched"):
        derive_fingerprint_key(bytes(size), uid=UID)


@pytest.mark.parametrize("uid", ["", "00" * 15, "00" * 17, "AB" * 16, "00 " * 16, "zz" * 16])
def test_a_uid_has_one_spelling(uid: str) -> None:
    """Capitals, spaces and other sizes are refused rather than read as the same cluster."""
    with pytest.raises(ValueError):
        derive_cookie(STRETCHED, uid=ClusterUid(uid), number=VersionNumber(1))
    with pytest.raises(ValueError):
        derive_fingerprint_key(STRETCHED, uid=ClusterUid(uid))
