"""The recovery file: a recovery kit, sealed under a passphrase (docs/reference/recovery-file.md).

One JSON object: a header in the clear, and `sealed`, the AES-256-GCM of the kit as JSON. The header
is authenticated with it, so that no parameter can be exchanged. The format is version 1; a reader
refuses every other one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rotator.adapters.secret_stores import epochs
from rotator.domain import kdf
from rotator.domain.cookie import Cookie
from rotator.domain.ids import ClusterName, ClusterUid, EpochNumber, MasterName, VersionNumber
from rotator.domain.kdf import Argon2id
from rotator.domain.master import MasterSecret
from rotator.errors import InputError, RotatorError
from rotator.ports.master_store import Epoch
from rotator.ports.recovery_kit import KeptCluster, RecoveryKit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rotator.ports.key_stretcher import KeyStretcher

FORMAT: Final = "rotator-recovery"
VERSION: Final = 1
CIPHER: Final = "aes-256-gcm"
MIN_PASSPHRASE: Final = 16  #: characters
#: RFC 9106, section 4, second recommended option, with four times its passes.
STRETCHING: Final = Argon2id(time=12, memory_kib=65536, lanes=4, profile="recovery-file-1")

_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_HEADER: Final = ("format", "version", "made_at", "kdf", "salt", "cipher", "nonce")
_MAX_BYTES: Final = 64 * 1024 * 1024


def passphrase(text: str) -> MasterSecret:
    """What a person typed, as key material: the SHA-512 of its UTF-8, without a last line break.

    Raises `InputError` for one that is too short.
    """
    typed = text.removesuffix("\n").removesuffix("\r")
    if len(typed) < MIN_PASSPHRASE:
        raise InputError(
            f"a passphrase has at least {MIN_PASSPHRASE} characters: six random words will do"
        )
    return MasterSecret(hashlib.sha512(typed.encode("utf-8", "surrogatepass")).digest())


async def seal(
    kit: RecoveryKit,
    phrase: MasterSecret,
    *,
    stretcher: KeyStretcher,
    stretching: Argon2id = STRETCHING,
) -> bytes:
    """The file's content. *stretching* is stored with it."""
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "made_at": kit.made_at.isoformat(),
        "kdf": kdf.to_json(stretching),
        "salt": _text(secrets.token_bytes(_SALT_BYTES)),
        "cipher": CIPHER,
        "nonce": _text(secrets.token_bytes(_NONCE_BYTES)),
    }
    key = await _key(header, phrase, stretcher)
    plain = json.dumps(_to_json(kit)).encode()
    sealed = AESGCM(key).encrypt(_bytes(header["nonce"]), plain, _authenticated(header))
    return json.dumps({**header, "sealed": _text(sealed)}, indent=1).encode() + b"\n"


async def unseal(content: bytes, phrase: MasterSecret, *, stretcher: KeyStretcher) -> RecoveryKit:
    """The kit in a file; `InputError` if it is none, of another version, or of another phrase."""
    header, sealed = _parted(content)
    key = await _key(header, phrase, stretcher)
    try:
        plain = AESGCM(key).decrypt(_bytes(header["nonce"]), sealed, _authenticated(header))
    except (InvalidTag, ValueError):
        raise InputError(
            "the passphrase is not that of this file, or the file is damaged"
        ) from None
    try:
        return _from_json(json.loads(plain), made_at=header["made_at"])
    except (KeyError, TypeError, ValueError, AttributeError, RotatorError):
        # `from None`: the cause may hold what was read.
        raise InputError("the recovery file is not one that this program wrote") from None


def _parted(content: bytes) -> tuple[dict[str, Any], bytes]:
    if len(content) > _MAX_BYTES:
        raise InputError("the recovery file is larger than any that this program writes")
    try:
        raw = json.loads(content)
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise InputError("this is no recovery file of rotator")
        if raw.get("version") != VERSION or raw.get("cipher") != CIPHER:
            raise InputError(
                f"the recovery file is not of version {VERSION}, the one that this program knows"
            )
        header = {name: raw[name] for name in _HEADER}
        _bytes(header["salt"]), _bytes(header["nonce"])
        return header, _bytes(raw["sealed"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError("the recovery file is damaged") from None


async def _key(header: Mapping[str, Any], phrase: MasterSecret, stretcher: KeyStretcher) -> bytes:
    """32 bytes: the phrase, stretched with the header's own parameters, which are bounded."""
    parameters = kdf.from_json(header["kdf"])
    if not isinstance(parameters, Argon2id):
        raise InputError("a recovery file's key comes from Argon2id")
    salt = _bytes(header["salt"])
    return await stretcher.stretch(
        Epoch(secret=phrase, salt=salt, kdf=parameters, opened_for=FORMAT)
    )


def _authenticated(header: Mapping[str, Any]) -> bytes:
    """The header as it is bound to the content: canonical JSON."""
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def _to_json(kit: RecoveryKit) -> dict[str, Any]:
    return {
        "epochs": [
            {"master": master, "number": number, **epochs.to_json(epoch)}
            for (master, number), epoch in kit.epochs.items()
        ],
        "clusters": [
            {
                "name": cluster.name,
                "uid": cluster.uid,
                "master": cluster.master,
                "fingerprint_key": _text(cluster.fingerprint_key),
                "imported": {
                    str(number): cookie.reveal() for number, cookie in cluster.imported.items()
                },
            }
            for cluster in kit.clusters.values()
        ],
    }


def _from_json(raw: Mapping[str, Any], *, made_at: str) -> RecoveryKit:
    kept = {
        (MasterName(one["master"]), EpochNumber(int(one["number"]))): epochs.from_json(one)
        for one in raw["epochs"]
    }
    clusters = [
        KeptCluster(
            name=ClusterName(one["name"]),
            uid=ClusterUid(one["uid"]),
            master=MasterName(one["master"]),
            fingerprint_key=_bytes(one["fingerprint_key"]),
            imported={VersionNumber(int(n)): Cookie(text) for n, text in one["imported"].items()},
        )
        for one in raw["clusters"]
    ]
    return RecoveryKit(
        made_at=datetime.fromisoformat(made_at).astimezone(UTC),
        epochs=kept,
        clusters={cluster.name: cluster for cluster in clusters},
    )


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError):
        raise ValueError from None
