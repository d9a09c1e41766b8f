from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rotator.adapters import derivation
from rotator.adapters.derivation import PROFILES, Stretcher, profile, require_affordable, stretched
from rotator.domain import kdf as kdfs
from rotator.domain.derivation import derive_cookie, derive_fingerprint_key
from rotator.domain.ids import ClusterUid, VersionNumber
from rotator.domain.kdf import NAMES, Argon2id, KdfParameters, Pbkdf2HmacSha512, Scrypt
from rotator.domain.master import MasterSecret
from rotator.errors import InputError
from rotator.ports.master_store import Epoch

UID = ClusterUid("000102030405060708090a0b0c0d0e0f")
CHEAPEST = PROFILES["cheapest-scrypt"]


def epoch(kdf: KdfParameters, salt: bytes = bytes(range(16))) -> Epoch:
    """The master of the test vectors with these parameters."""
    secret = MasterSecret(bytes(range(32)))
    return Epoch(secret=secret, salt=salt, kdf=kdf, opened_for="test")


@pytest.fixture
def stretcher() -> Iterator[Stretcher]:
    """A stretcher that is closed after the test."""
    it = Stretcher()
    yield it
    it.close()


def argon2id(time: int, memory_kib: int, lanes: int) -> Argon2id:
    """Argon2id parameters in the order of the reference's vectors: t, m, p."""
    return Argon2id(time=time, memory_kib=memory_kib, lanes=lanes, profile="vector")


# Argon2's reference implementation (P-H-C/phc-winner-argon2), src/test.c, "Argon2id", v=19.
@pytest.mark.parametrize(
    ("kdf", "secret", "salt", "output"),
    [
        (argon2id(2, 65536, 1), b"password", b"somesalt",
         "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"),
        (argon2id(2, 256, 1), b"password", b"somesalt",
         "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"),
        (argon2id(2, 256, 2), b"password", b"somesalt",
         "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037"),
        (argon2id(1, 65536, 1), b"password", b"somesalt",
         "f6a5adc1ba723dddef9b5ac1d464e180fcd9dffc9d1cbf76cca2fed795d9ca98"),
        (argon2id(4, 65536, 1), b"password", b"somesalt",
         "9025d48e68ef7395cca9079da4c4ec3affb3c8911fe4f86d1a2520856f63172c"),
        (argon2id(2, 65536, 1), b"differentpassword", b"somesalt",
         "0b84d652cf6b0c4beaef0dfe278ba6a80df6696281d7e0d2891b817d8c458fde"),
        (argon2id(2, 65536, 1), b"password", b"diffsalt",
         "bdf32b05ccc42eb15d58fd19b1f856b113da1e9a5874fdcc544308565aa8141c"),
    ],
)  # fmt: skip
def test_argon2id_gives_the_reference_answers(
    kdf: Argon2id, secret: bytes, salt: bytes, output: str
) -> None:
    """Passes, memory and lanes reach the algorithm in their places and units."""
    assert stretched(secret, salt=salt, kdf=kdf).hex() == output


def test_the_argon2_library_gives_the_answer_of_rfc_9106() -> None:
    """RFC 9106, section 5.3, whose secret and associated data only the raw binding takes."""
    from argon2.low_level import Type, core, ffi

    output = ffi.new("uint8_t[]", 32)
    inputs = [ffi.new("uint8_t[]", bytes([n]) * size) for n, size in enumerate((32, 16, 8, 12), 1)]
    password, salt, secret, associated = inputs
    context: Any = ffi.new(
        "argon2_context *",
        {
            "out": output, "outlen": 32, "version": 0x13,
            "pwd": password, "pwdlen": 32, "salt": salt, "saltlen": 16,
            "secret": secret, "secretlen": 8, "ad": associated, "adlen": 12,
            "t_cost": 3, "m_cost": 32, "lanes": 4, "threads": 4,
            "allocate_cbk": ffi.NULL, "free_cbk": ffi.NULL, "flags": 0,
        },
    )  # fmt: skip

    assert core(context, Type.ID.value) == 0
    assert bytes(ffi.buffer(output)).hex() == (
        "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
    )


# RFC 7914, section 12, the first 32 of its 64 bytes: the last step is PBKDF2-HMAC-SHA-256, whose
# output for 32 bytes is the beginning of that for 64. The vector of 1 GiB is left out.
@pytest.mark.parametrize(
    ("cost", "secret", "salt", "output"),
    [
        ((16, 1, 1), b"", b"",
         "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"),
        ((1024, 8, 16), b"password", b"NaCl",
         "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"),
        ((16384, 8, 1), b"pleaseletmein", b"SodiumChloride",
         "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"),
    ],
)  # fmt: skip
def test_scrypt_gives_the_answers_of_rfc_7914(
    cost: tuple[int, int, int], secret: bytes, salt: bytes, output: str
) -> None:
    """Cost, block size and parallelisation reach the algorithm in their places."""
    n, r, p = cost
    kdf = Scrypt(n=n, r=r, p=p, profile="vector")

    assert stretched(secret, salt=salt, kdf=kdf).hex() == output


# RFC 7914, section 11.
@pytest.mark.parametrize(
    ("secret", "salt", "iterations", "output"),
    [
        (b"passwd", b"salt", 1,
         ("55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
          "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783")),
        (b"Password", b"NaCl", 80000,
         ("4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
          "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d")),
    ],
)  # fmt: skip
def test_the_pbkdf2_library_gives_the_answers_of_rfc_7914(
    secret: bytes, salt: bytes, iterations: int, output: str
) -> None:
    """The standard library's PBKDF2 agrees with the only RFC that has SHA-2 vectors."""
    assert hashlib.pbkdf2_hmac("sha256", secret, salt, iterations).hex() == output[:64]
    assert hashlib.pbkdf2_hmac("sha256", secret, salt, iterations, 64).hex() == output


# No RFC has vectors for SHA-512. These are the inputs of RFC 6070 with SHA-512, as published with
# passlib (tests/test_crypto_digest.py, pbkdf2_test_vectors).
@pytest.mark.parametrize(
    ("iterations", "output"),
    [
        (1, "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252"),
        (2, "e1d9c16aa681708a45f5c7c4e215ceb66e011a2e9f0040713f18aefdb866d53c"),
        (4096, "d197b1b33db0143e018b12f3d1d1479e6cdebdcc97c5c0f87f6902e072f457b5"),
    ],
)
def test_pbkdf2_with_sha512_gives_the_published_answers(iterations: int, output: str) -> None:
    """The hash is SHA-512 and every iteration counts."""
    kdf = Pbkdf2HmacSha512(iterations=iterations, profile="vector")

    assert stretched(b"password", salt=b"salt", kdf=kdf).hex() == output


# Master 00 01 … 1f, salt 00 01 … 0f; docs/reference/derivation.md says how they were checked.
@pytest.mark.parametrize(
    ("name", "cookies", "fingerprint_key", "fingerprint"),
    [
        ("cheapest-argon2id",
         ["qKXh9s5kqSG4PFdClAaEKoqYMEQf5l1vccLb0lOm0yT",
          "lVCKvts5lzMN0PXVVGq0cJ8nlN8DSvqwuwWvu3nQyZD"],
         "5d28815ecb04475f39b87aad5813f4ed7f1c88e0b0c943ccc03dc5c0c847078e",
         "f1:ad8e9f874199986da130a2d61a8248f2"),
        ("rfc9106-low-memory",
         ["CWjqQnzRmTEbon2L7qLeJ5TrqGQPwPg9pF5GUwgjFiP",
          "b1UegBpJ9LFXNGONAgJmRIruYCdd9CpbipeY72IxJqe"],
         "abcbe0c4faecde4ab5f076b09c57a33b519691adfaac7ce4faa090d12f776273",
         "f1:5bce6c8f5fe434c371afb5fd41215562"),
        ("cheapest-pbkdf2-sha512",
         ["PrIqCDidsfjlxU4UqHcw1iB28PPQrysd15Tpi3Y71Gn",
          "d7sZN47gIlY4GtRSuCHzQ6fqfW2wdHLA8XF3lbYt1CM"],
         "439996c411731140d11bb389f27fb21e1e21d9798b44c7cbe69b88246c4e8203",
         "f1:ac958f0911769a39aefaa9a83b98edb3"),
        ("cheapest-scrypt",
         ["TOXofVCslQw68U6Jo0n5nrQoaDFdCelHQGrhFgYuBJt",
          "yIs7y7uBVMb7yY6NWVQ3e5yQpj9289Pr1QlRjNHXI1t"],
         "bf78dcfbffb5200857535a34f38d6af80b80eaee589dac714e1a2609318924ea",
         "f1:a188afbb819b362e927641b804f8aa6a"),
    ],
)  # fmt: skip
async def test_the_whole_chain_never_changes(
    stretcher: Stretcher,
    name: str,
    cookies: list[str],
    fingerprint_key: str,
    fingerprint: str,
) -> None:
    """From master and salt to cookies and fingerprint, every release derives the same."""
    key = await stretcher.stretch(epoch(PROFILES[name]))

    derived = [derive_cookie(key, uid=UID, number=VersionNumber(n)) for n in (1, 2)]
    of_cluster = derive_fingerprint_key(key, uid=UID)

    assert [cookie.reveal() for cookie in derived] == cookies
    assert of_cluster.hex() == fingerprint_key
    assert derived[0].fingerprint(of_cluster, UID) == fingerprint


def test_profiles_are_what_their_sources_say() -> None:
    """A profile's numbers are those of the publication that names it."""
    assert {name: kdfs.to_json(kdf) for name, kdf in PROFILES.items()} == {
        name: {**numbers, "profile": name, "hash_len": 32}
        for name, numbers in {
            "rfc9106-low-memory": _argon2(3, 2**16, 4),
            "rfc9106-high-memory": _argon2(1, 2**21, 4),
            "owasp-argon2id": _argon2(2, 19 * 1024, 1),
            "cheapest-argon2id": _argon2(1, 8, 1),
            "owasp-pbkdf2-sha512": {"name": "pbkdf2-hmac-sha512", "iterations": 220_000},
            "cheapest-pbkdf2-sha512": {"name": "pbkdf2-hmac-sha512", "iterations": 1},
            "owasp-scrypt": {"name": "scrypt", "n": 131_072, "r": 8, "p": 1},
            "cheapest-scrypt": {"name": "scrypt", "n": 2, "r": 1, "p": 1},
        }.items()
    }


def _argon2(time: int, memory_kib: int, lanes: int) -> dict[str, object]:
    numbers = {"time": time, "memory_kib": memory_kib, "lanes": lanes, "version": 19}
    return {"name": "argon2id", **numbers}


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_can_be_chosen_and_afforded(name: str) -> None:
    """No profile is beyond the bounds that stored parameters are held to."""
    chosen = PROFILES[name]

    require_affordable(chosen)
    assert profile(kdfs.name_of(chosen), name) is chosen


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_profile_is_refused_with_those_there_are(name: str) -> None:
    """A profile of another algorithm is unknown, too, and the message lists the right ones."""
    other = next(each for each in PROFILES if kdfs.name_of(PROFILES[each]) != name)
    for wrong in ("fastest", other):
        with pytest.raises(InputError) as caught:
            profile(name, wrong)
        for each, kdf in PROFILES.items():
            assert (each in str(caught.value)) is (kdfs.name_of(kdf) == name)


def test_an_unknown_algorithm_is_refused_with_those_there_are() -> None:
    """The message lists the three names."""
    with pytest.raises(InputError, match="argon2id, pbkdf2-hmac-sha512, scrypt"):
        profile("bcrypt", "cheapest")


@pytest.mark.parametrize(
    "kdf",
    [
        argon2id(0, 64, 1), argon2id(101, 64, 1), argon2id(-1, 64, 1),
        argon2id(1, 2**22 + 1, 1), argon2id(1, 7, 1), argon2id(1, 31, 4), argon2id(1, 64, 0),
        argon2id(1, 2**20, 65),
        Pbkdf2HmacSha512(iterations=0, profile=""),
        Pbkdf2HmacSha512(iterations=10**8 + 1, profile=""),
        Scrypt(n=1, r=1, p=1, profile=""), Scrypt(n=0, r=1, p=1, profile=""),
        Scrypt(n=3, r=1, p=1, profile=""), Scrypt(n=-2, r=1, p=1, profile=""),
        Scrypt(n=2, r=0, p=1, profile=""), Scrypt(n=2, r=1, p=0, profile=""),
        Scrypt(n=2, r=1, p=65, profile=""), Scrypt(n=2**21, r=8, p=1, profile=""),
        Scrypt(n=2, r=2**30, p=1, profile=""),
    ],
    ids=str,
)  # fmt: skip
async def test_parameters_that_would_exhaust_the_machine_are_refused(
    stretcher: Stretcher, kdf: KdfParameters
) -> None:
    """A stored document cannot stop the service with one number; nothing is begun."""
    with pytest.raises(InputError, match="out of bounds"):
        await stretcher.stretch(epoch(kdf))
    with pytest.raises(InputError, match="out of bounds"):
        stretched(b"", salt=b"", kdf=kdf)


@pytest.mark.parametrize("kdf", [argon2id(100, 512, 64), Scrypt(n=2, r=1, p=64, profile="")])
def test_the_bounds_themselves_are_allowed(kdf: KdfParameters) -> None:
    """The most passes and lanes that are not refused do run."""
    assert len(stretched(bytes(32), salt=bytes(16), kdf=kdf)) == 32


@pytest.mark.parametrize("size", [0, 15, 17])
async def test_a_salt_of_another_size_is_refused(stretcher: Stretcher, size: int) -> None:
    """A salt that was cut off is found before anything is derived from it."""
    with pytest.raises(InputError, match="salt"):
        await stretcher.stretch(epoch(CHEAPEST, salt=bytes(size)))


def test_what_the_library_refuses_is_an_input_error() -> None:
    """A fault of Argon2 (here a salt too short for it) is told without the inputs."""
    with pytest.raises(InputError, match="cannot run"):
        stretched(b"CanaryMaster91c2", salt=b"short", kdf=argon2id(1, 8, 1))


def test_scrypt_without_memory_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL's refusal to allocate becomes one of our errors."""
    monkeypatch.setattr(derivation, "_scrypt_bytes", lambda _: 1)
    with pytest.raises(InputError, match="cannot run"):
        stretched(b"", salt=b"", kdf=PROFILES["owasp-scrypt"])


async def test_two_runs_never_overlap_even_if_the_first_is_cancelled(
    stretcher: Stretcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that gives up does not let the next run start beside its own."""
    running: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow(secret: bytes, *, salt: bytes, kdf: KdfParameters) -> bytes:
        running.append(f"+{salt[0]}")
        begun.set()
        go_on.wait(10)
        running.append(f"-{salt[0]}")
        return salt

    monkeypatch.setattr(derivation, "stretched", slow)
    first = asyncio.create_task(stretcher.stretch(epoch(CHEAPEST, salt=b"1" * 16)))
    assert await asyncio.to_thread(begun.wait, 10)
    second = asyncio.create_task(stretcher.stretch(epoch(CHEAPEST, salt=b"2" * 16)))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go_on.set()

    assert await second == b"2" * 16
    assert running == ["+49", "-49", "+50", "-50"]


async def test_the_loop_goes_on_while_a_key_is_stretched(stretcher: Stretcher) -> None:
    """Heartbeats are answered during the seconds that stretching may take."""
    run = asyncio.create_task(stretcher.stretch(epoch(PROFILES["owasp-scrypt"])))
    turns = 0
    while not run.done():
        await asyncio.sleep(0.001)
        turns += 1

    assert len(run.result()) == 32
    assert turns > 3


async def test_closing_twice_is_harmless(stretcher: Stretcher) -> None:
    """A shutdown that is repeated does nothing more."""
    await stretcher.stretch(epoch(CHEAPEST))
    stretcher.close()
    stretcher.close()


def test_showing_an_epoch_shows_neither_secret_nor_salt() -> None:
    """An epoch in a log line gives nothing to derive from."""
    shown = repr(epoch(CHEAPEST, salt=b"CanarySalt91c2.."))

    assert "CanarySalt" not in shown
    assert "MasterSecret(…)" in shown
