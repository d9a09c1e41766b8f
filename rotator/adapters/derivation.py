"""Key stretching with Argon2id, PBKDF2 or scrypt, and the profiles to choose from."""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from rotator.domain.kdf import NAMES, Argon2id, KdfParameters, Pbkdf2HmacSha512, Scrypt, name_of
from rotator.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rotator.ports.master_store import Epoch

SALT_BYTES: Final = 16

MAX_MEMORY_BYTES: Final = 4 * 2**30
MAX_TIME: Final = 100  #: passes of Argon2id
MAX_LANES: Final = 64
MAX_ITERATIONS: Final = 10**8  #: of PBKDF2: about a minute and a half
MAX_SCRYPT_BYTES: Final = 2**31 - 1  #: hashlib.scrypt takes no larger maxmem

_OWASP_ITERATIONS: Final = 220_000

_ALL: Final[tuple[KdfParameters, ...]] = (
    # RFC 9106, section 4, second recommended option: 64 MiB.
    Argon2id(profile="rfc9106-low-memory", time=3, memory_kib=65_536, lanes=4),
    # RFC 9106, section 4, first recommended option: 2 GiB.
    Argon2id(profile="rfc9106-high-memory", time=1, memory_kib=2_097_152, lanes=4),
    # OWASP Password Storage Cheat Sheet, "Argon2id": 19 MiB.
    Argon2id(profile="owasp-argon2id", time=2, memory_kib=19_456, lanes=1),
    # OWASP Password Storage Cheat Sheet, "PBKDF2" (it said 210,000 before).
    Pbkdf2HmacSha512(profile="owasp-pbkdf2-sha512", iterations=_OWASP_ITERATIONS),
    # OWASP Password Storage Cheat Sheet, "scrypt": 128 MiB.
    Scrypt(profile="owasp-scrypt", n=2**17, r=8, p=1),
    # Only for testing: the least that each algorithm accepts.
    Argon2id(profile="cheapest-argon2id", time=1, memory_kib=8, lanes=1),
    Pbkdf2HmacSha512(profile="cheapest-pbkdf2-sha512", iterations=1),
    Scrypt(profile="cheapest-scrypt", n=2, r=1, p=1),
)

PROFILES: Final[Mapping[str, KdfParameters]] = {each.profile: each for each in _ALL}


def profile(kdf_name: str, profile_name: str) -> KdfParameters:
    """The named parameters of the named algorithm; raises `InputError` listing the names."""
    if kdf_name not in NAMES:
        raise InputError(f"the key derivation functions are: {', '.join(NAMES)}")
    names = [name for name, each in PROFILES.items() if name_of(each) == kdf_name]
    if profile_name not in names:
        raise InputError(f"the profiles of {kdf_name} are: {', '.join(names)}")
    return PROFILES[profile_name]


def stretched(secret: bytes, *, salt: bytes, kdf: KdfParameters) -> bytes:
    """32 bytes of the given KDF; blocks for as long as it takes, outside the interpreter lock.

    Raises `InputError` for parameters that are out of bounds or that the machine cannot run.
    """
    require_affordable(kdf)
    if isinstance(kdf, Argon2id):
        return _argon2id(secret, salt, kdf)
    if isinstance(kdf, Pbkdf2HmacSha512):
        return hashlib.pbkdf2_hmac("sha512", secret, salt, kdf.iterations, kdf.hash_len)
    return _scrypt(secret, salt, kdf)


def require_affordable(kdf: KdfParameters) -> None:
    """Refuse, as `InputError`, what no profile needs and what would exhaust the machine.

    Parameters come out of a stored document: whoever can write there must not be able to stop
    the service with one number.
    """
    if not _is_affordable(kdf):
        raise InputError(f"the parameters of {name_of(kdf)} are out of bounds")


def _is_affordable(kdf: KdfParameters) -> bool:
    if isinstance(kdf, Argon2id):
        return (
            1 <= kdf.time <= MAX_TIME
            and 1 <= kdf.lanes <= MAX_LANES
            and 8 * kdf.lanes <= kdf.memory_kib <= MAX_MEMORY_BYTES // 1024
        )
    if isinstance(kdf, Pbkdf2HmacSha512):
        return 1 <= kdf.iterations <= MAX_ITERATIONS
    return (
        kdf.n > 1
        and kdf.n.bit_count() == 1  # RFC 7914: a power of two
        and kdf.r >= 1
        and 1 <= kdf.p <= MAX_LANES
        and _scrypt_bytes(kdf) <= MAX_SCRYPT_BYTES
    )


def _argon2id(secret: bytes, salt: bytes, kdf: Argon2id) -> bytes:
    # Here, because the other two algorithms need no extension module.
    from argon2.exceptions import HashingError  # noqa: PLC0415
    from argon2.low_level import Type, hash_secret_raw  # noqa: PLC0415

    try:
        return hash_secret_raw(
            secret,
            salt,
            time_cost=kdf.time,
            memory_cost=kdf.memory_kib,
            parallelism=kdf.lanes,
            hash_len=kdf.hash_len,
            type=Type.ID,
            version=kdf.version,
        )
    except HashingError as error:  # out of memory, as a rule; its text is one of the library's
        raise InputError("this machine cannot run the epoch's Argon2id parameters") from error


def _scrypt_bytes(kdf: Scrypt) -> int:
    """What OpenSSL counts against maxmem: N blocks, p lanes and three to work in."""
    return 128 * kdf.r * (kdf.n + kdf.p + 3)


def _scrypt(secret: bytes, salt: bytes, kdf: Scrypt) -> bytes:
    try:
        return hashlib.scrypt(
            secret,
            salt=salt,
            n=kdf.n,
            r=kdf.r,
            p=kdf.p,
            maxmem=_scrypt_bytes(kdf),
            dklen=kdf.hash_len,
        )
    except (ValueError, MemoryError) as error:
        raise InputError("this machine cannot run the epoch's scrypt parameters") from error


class Stretcher:
    """The `KeyStretcher` port on one thread of its own.

    One thread, so that two runs of 2 GiB never overlap: a cancelled caller stops waiting, but
    the run goes on, and the next one still queues behind it.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stretch")

    async def stretch(self, epoch: Epoch) -> bytes:
        """32 bytes; raises `InputError` for a salt or parameters that cannot be used."""
        if len(epoch.salt) != SALT_BYTES:
            raise InputError(f"the epoch's salt does not have {SALT_BYTES} bytes")
        require_affordable(epoch.kdf)
        return await asyncio.get_running_loop().run_in_executor(
            self._thread,
            lambda: stretched(epoch.secret.reveal(), salt=epoch.salt, kdf=epoch.kdf),
        )

    def close(self) -> None:
        """Drop what is queued; a run under way ends by itself. Harmless to repeat."""
        self._thread.shutdown(wait=False, cancel_futures=True)
