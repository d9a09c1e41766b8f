"""KDF parameters: every number that changes the output, kept with the epoch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from rotator.errors import InputError

STRETCHED_BYTES: Final = 32
ARGON2_VERSION: Final = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Argon2id:
    """Argon2id (RFC 9106); version 19 is 0x13."""

    time: int  #: passes
    memory_kib: int
    lanes: int
    profile: str
    version: int = ARGON2_VERSION
    hash_len: int = STRETCHED_BYTES  #: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pbkdf2HmacSha512:
    """PBKDF2 with HMAC-SHA-512 (RFC 8018)."""

    iterations: int
    profile: str
    hash_len: int = STRETCHED_BYTES  #: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrypt:
    """scrypt (RFC 7914)."""

    n: int  #: CPU and memory cost, a power of two
    r: int  #: block size
    p: int  #: parallelisation
    profile: str
    hash_len: int = STRETCHED_BYTES  #: bytes


KdfParameters = Argon2id | Pbkdf2HmacSha512 | Scrypt

_KINDS: Final[dict[str, type[KdfParameters]]] = {
    "argon2id": Argon2id,
    "pbkdf2-hmac-sha512": Pbkdf2HmacSha512,
    "scrypt": Scrypt,
}

NAMES: Final = tuple(_KINDS)  #: the algorithms, as configuration and epochs spell them


def name_of(parameters: KdfParameters) -> str:
    """The algorithm's name, one of `NAMES`."""
    return next(name for name, kind in _KINDS.items() if type(parameters) is kind)


def to_json(parameters: KdfParameters) -> dict[str, Any]:
    """As stored with the epoch: the algorithm's name and every parameter."""
    stored = {field.name: getattr(parameters, field.name) for field in fields(parameters)}
    return {"name": name_of(parameters), **stored}


def from_json(raw: object) -> KdfParameters:
    """The inverse of `to_json`; raises `InputError` for what it does not know.

    Nothing is filled in: a parameter that was not stored would be guessed, and a wrong guess
    derives other cookies. What was read is not repeated. Whether the machine can afford the
    numbers is for the key stretcher to say.
    """
    if not isinstance(raw, dict):
        raise InputError("the epoch's key derivation function is not an object")
    name = raw.get("name")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InputError("the epoch's key derivation function is not known to this version")
    parameters = {key: value for key, value in raw.items() if key != "name"}
    _require_exactly(kind, parameters)
    return kind(**parameters)


def _require_exactly(kind: type[KdfParameters], parameters: dict[str, Any]) -> None:
    names = {field.name for field in fields(kind)}
    if set(parameters) != names:
        raise InputError("the epoch's key derivation parameters are not complete")
    for name in names:
        # `type … is`, because a JSON true is an int to isinstance.
        if type(parameters[name]) is not (str if name == "profile" else int):
            raise InputError(f"'{name}' of the epoch's key derivation has the wrong type")
    if parameters["hash_len"] != STRETCHED_BYTES:
        raise InputError(f"'hash_len' of the epoch's key derivation is not {STRETCHED_BYTES}")
    if parameters.get("version", ARGON2_VERSION) != ARGON2_VERSION:
        raise InputError(f"'version' of the epoch's Argon2id is not {ARGON2_VERSION}")
