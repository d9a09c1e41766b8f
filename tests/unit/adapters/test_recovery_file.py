from __future__ import annotations

import base64
import hashlib
import json

import pytest
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rotator.adapters.derivation import Stretcher, profile
from rotator.adapters.secret_stores import recovery_file
from rotator.domain.cookie import Cookie
from rotator.domain.ids import ClusterName, EpochNumber, MasterName, VersionNumber
from rotator.domain.kdf import Argon2id
from rotator.domain.master import MasterSecret
from rotator.errors import InputError
from rotator.ports.master_store import Epoch
from rotator.ports.recovery_kit import KeptCluster, RecoveryKit
from rotator.testing.factories import KEY, NOW, UID

PHRASE = "eine lange Passphrase mit Ümläuten"
CHEAP = Argon2id(time=1, memory_kib=64, lanes=1, profile="test")
EPOCH = Epoch(
    secret=MasterSecret(bytes(range(32))),
    salt=bytes(16),
    kdf=profile("argon2id", "cheapest-argon2id"),
    opened_for="first",
)
ORDERS = KeptCluster(
    name=ClusterName("orders"),
    uid=UID,
    master=MasterName("default"),
    fingerprint_key=KEY,
    imported={VersionNumber(1): Cookie("IMPORTED")},
)
KIT = RecoveryKit(
    made_at=NOW,
    epochs={(MasterName("default"), EpochNumber(1)): EPOCH},
    clusters={ORDERS.name: ORDERS},
)


@pytest.fixture
def stretcher():
    """One that is closed."""
    made = Stretcher()
    yield made
    made.close()


async def _sealed(stretcher, phrase: str = PHRASE) -> bytes:
    secret = recovery_file.passphrase(phrase)
    return await recovery_file.seal(KIT, secret, stretcher=stretcher, stretching=CHEAP)


async def _unsealed(stretcher, content: bytes, phrase: str = PHRASE) -> RecoveryKit:
    return await recovery_file.unseal(
        content, recovery_file.passphrase(phrase), stretcher=stretcher
    )


async def test_a_kit_comes_back_as_it_was_sealed(stretcher) -> None:
    """Masters, uids, fingerprint keys and imported cookies survive; a line break at the end is none."""
    content = await _sealed(stretcher)
    assert await _unsealed(stretcher, content, PHRASE + "\n") == KIT
    for secret in (b"IMPORTED", EPOCH.secret.reveal(), KEY, base64.b64encode(KEY)):
        assert secret not in content


async def test_a_file_is_opened_by_the_documented_lines_alone(stretcher) -> None:
    """docs/reference/recovery-file.md is all that another program needs."""
    raw = json.loads(await _sealed(stretcher))
    sealed = base64.b64decode(raw.pop("sealed"))
    kdf = raw["kdf"]
    key = hash_secret_raw(
        hashlib.sha512(PHRASE.encode()).digest(),
        base64.b64decode(raw["salt"]),
        time_cost=kdf["time"],
        memory_cost=kdf["memory_kib"],
        parallelism=kdf["lanes"],
        hash_len=32,
        type=Type.ID,
        version=19,
    )
    header = json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()
    content = json.loads(AESGCM(key).decrypt(base64.b64decode(raw["nonce"]), sealed, header))
    assert content["clusters"][0]["imported"] == {"1": "IMPORTED"}
    assert base64.b64decode(content["epochs"][0]["secret"]) == EPOCH.secret.reveal()


async def test_what_every_export_makes_anew_is_new(stretcher) -> None:
    """Salt and nonce are random, so no key seals twice."""
    one, two = json.loads(await _sealed(stretcher)), json.loads(await _sealed(stretcher))
    assert one["salt"] != two["salt"]
    assert one["nonce"] != two["nonce"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version"),
        ({"cipher": "none"}, "version"),
        ({"format": "zip"}, "no recovery file"),
        ({"made_at": "2020-01-01T00:00:00+00:00"}, "passphrase"),
        ({"sealed": base64.b64encode(b"x" * 64).decode()}, "passphrase"),
        ({"sealed": 7}, "damaged"),
        ({"salt": None}, "damaged"),
        ({"nonce": "AAAA"}, "passphrase"),
        ({"kdf": {"name": "argon2id"}}, "not complete"),
        ({"kdf": "x"}, "not an object"),
    ],
)
async def test_a_changed_file_is_refused(stretcher, change, says: str) -> None:
    """Header and content are bound to each other, and nothing of either is repeated."""
    raw = json.loads(await _sealed(stretcher)) | change
    with pytest.raises(InputError, match=says):
        await _unsealed(stretcher, json.dumps(raw).encode())


async def test_costs_come_from_the_file_within_bounds(stretcher) -> None:
    """A header that would exhaust the machine is refused before anything is computed."""
    raw = json.loads(await _sealed(stretcher))
    raw["kdf"]["memory_kib"] = 2**40
    with pytest.raises(InputError, match="out of bounds"):
        await _unsealed(stretcher, json.dumps(raw).encode())
    raw["kdf"] = {"name": "scrypt", "n": 16, "r": 8, "p": 1, "profile": "x", "hash_len": 32}
    with pytest.raises(InputError, match="Argon2id"):
        await _unsealed(stretcher, json.dumps(raw).encode())


async def test_another_passphrase_opens_nothing(stretcher) -> None:
    """It is told from a damaged file by nobody, and is not repeated."""
    with pytest.raises(InputError, match="passphrase") as raised:
        await _unsealed(stretcher, await _sealed(stretcher), "another long passphrase")
    assert "another" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b"x" * 100])
async def test_what_is_no_recovery_file_is_refused(stretcher, content: bytes) -> None:
    """Whatever a file holds, it ends in one sentence."""
    with pytest.raises(InputError):
        await _unsealed(stretcher, content)


async def test_content_of_another_program_is_refused(stretcher, monkeypatch) -> None:
    """A file that is sealed well and holds something else is refused without repeating it."""
    monkeypatch.setattr(recovery_file, "_to_json", lambda _: {"epochs": [{"secret": "s3cret"}]})
    content = await _sealed(stretcher)
    monkeypatch.undo()
    with pytest.raises(InputError, match="not one that this program wrote") as raised:
        await _unsealed(stretcher, content)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("text", ["", "fifteen letters", "short\n"])
def test_a_short_passphrase_is_refused(text: str) -> None:
    """Sixteen characters are the least."""
    with pytest.raises(InputError, match="at least 16"):
        recovery_file.passphrase(text)
