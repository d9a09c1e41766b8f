"""Whether key stretching is worth its name, by its numbers and not by the name of its profile.

The bounds are the least that OWASP's Password Storage Cheat Sheet lists for each algorithm. A
master of 32 random bytes needs no stretching at all; an imported one may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rotator.domain.kdf import Argon2id, Pbkdf2HmacSha512

if TYPE_CHECKING:
    from rotator.domain.kdf import KdfParameters

#: m=7168, t=5 is the smallest memory listed, and the smallest product of the two.
_ARGON2_MEMORY_KIB: Final = 7168
_ARGON2_WORK: Final = 7168 * 5
_PBKDF2_ITERATIONS: Final = 210_000
#: N=2**13, r=8, p=10 likewise.
_SCRYPT_MEMORY: Final = 2**13 * 8
_SCRYPT_WORK: Final = 2**13 * 8 * 10


def is_weak(kdf: KdfParameters) -> bool:
    """Whether it costs an attacker less than the least that is recommended."""
    if isinstance(kdf, Argon2id):
        return kdf.memory_kib < _ARGON2_MEMORY_KIB or kdf.memory_kib * kdf.time < _ARGON2_WORK
    if isinstance(kdf, Pbkdf2HmacSha512):
        return kdf.iterations < _PBKDF2_ITERATIONS
    memory = kdf.n * kdf.r
    return memory < _SCRYPT_MEMORY or memory * kdf.p < _SCRYPT_WORK
