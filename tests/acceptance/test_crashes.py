"""Killed at any write it goes on by itself: same number, same cookie, one fact each, no copy."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rotator.adapters.derivation import Stretcher, profile
from rotator.domain.actions import Line
from rotator.domain.derivation import derive_cookie, derive_fingerprint_key
from rotator.domain.ids import ClusterName, EpochNumber, MasterName, VersionNumber
from rotator.domain.master import MasterSecret
from rotator.ports.master_store import Epoch
from rotator.testing.factories import KEY, UID, a_document
from tests.support import canary, postgres
from tests.support.service import Service

CLUSTER = "orders"
CLUSTERS = {
    "init": {"grace_window": "0", "members": {"expect": "none"}},
    "import": {"grace_window": "0", "members": {"expect": "none"}},
    "manual": {"grace_window": "0", "members": {"expect": "none"}},
    "abort": {"grace_window": "0", "members": {"expect": 1}},
    "roll back": {"grace_window": "10m", "members": {"expect": "none"}},
    "emergency": {"grace_window": "0", "members": {"expect": "none"}},
}
LINES = {
    "init": ("I1", "KI1", "KI2", "I2"),
    "import": ("I1", "KI1", "KI2", "I2"),
    "manual": ("S1", "K1", "S2", "S3", "K2", "S4", "S5", "S6", "K3", "S7"),
    "abort": ("A1", "KA", "A2"),
    "roll back": ("R1", "KR1", "R2", "R3", "KR2", "R4"),
    "emergency": ("E1", "E2", "KE1", "KE2", "E3", "E4", "E5"),
}
#: One write to AWS is several calls, and each is a failpoint too, met once: here at KI2, at K1
#: to K3 and at KE2. Every call of every line: tests/integration/test_aws_crashes.py.
CALLS = {
    "init": ("AwsCreateEpoch", "AwsCreate", "AwsCreateMeta", "AwsSettle"),
    "manual": ("AwsPut", "AwsPutMeta", "AwsDecide", "AwsPending", "AwsCurrent", "AwsPrevious"),
    "emergency": ("AwsPut", "AwsPutMeta", "AwsDecide", "AwsCurrent", "AwsPrevious"),
}
#: Which stores with which; the whole product by `make soak`.
STORES = [("local", "sqlite"), ("vault", "sqlite"), ("aws", "sqlite"), ("local", "postgresql")]
IS_FULL = os.environ.get("ROTATOR_TESTS") == "full"
if IS_FULL:
    STORES += [("vault", "postgresql"), ("aws", "postgresql")]
IMPORTED = "IMPORTEDCOOKIEABCDEF"


def test_every_line_of_the_order_of_writes_is_among_the_cases() -> None:
    """No write is left out of the crash tests, but for those of a loss or a schedule, which have their own."""
    elsewhere = {Line.L1, Line.KL, Line.KD, Line.T1, Line.T2}
    cases = {line for lines in LINES.values() for line in lines}
    assert cases == {str(line) for line in set(Line) - elsewhere}


#: Killed after a write is killed before the next one but for what lies between the two, which is
#: the same for every store: two pairs show it.
WHENS = {("aws", "sqlite"): ("before", "lost"), ("local", "postgresql"): ("before", "lost")}
CASES = [
    pytest.param(stores, when, id="-".join((*stores, when)))
    for stores in STORES
    for when in ("before", "after", "lost")
    if IS_FULL or when in WHENS.get(stores, (when,))
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", LINES)
@pytest.mark.parametrize(("stores", "when"), CASES)
def test_a_crash_at_each_write_in_turn_loses_nothing(
    stores: tuple[str, str], scenario: str, when: str, tmp_path: Path, secret_stores: Any
) -> None:
    """Killed before or after every write, or left without its answer, it finishes by itself."""
    store, state = stores
    place = secret_stores(store, tmp_path)
    more: dict[str, Any] = {"log": {"level": "debug", "format": "json"}}
    database = postgres.new_database() if state == "postgresql" else None
    if database is not None:
        # The lease of who was killed runs out; on SQLite it is free at once.
        more["state_store"] = {**database.settings, "lease": "2s"}
    service = Service(tmp_path, place.settings, {CLUSTER: CLUSTERS[scenario]}, more)
    how = "raise" if when == "lost" else "kill"
    # Killed after one call is killed before the next; a lost answer has a test of its own.
    calls = CALLS.get(scenario, ()) if store == "aws" and when == "before" else ()
    points = {f"{one}:{when}:{how}" for one in LINES[scenario] + calls}
    try:
        crash_at(service, place, scenario, points, database=database)
    finally:
        if database is not None:
            postgres.drop(database)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", CALLS)
def test_a_lost_answer_to_each_call_of_a_write_to_aws_loses_nothing(
    scenario: str, tmp_path: Path, secret_stores: Any
) -> None:
    """Left in the middle of a write without an answer, it reads back and does what is missing."""
    place = secret_stores("aws", tmp_path)
    debug = {"log": {"level": "debug", "format": "json"}}
    service = Service(tmp_path, place.settings, {CLUSTER: CLUSTERS[scenario]}, debug)
    crash_at(service, place, scenario, {f"{call}:lost:raise" for call in CALLS[scenario]})


def crash_at(
    service: Service,
    place: Any,
    scenario: str,
    points: set[str],
    *,
    database: postgres.Database | None = None,
) -> None:
    """Run the scenario to its end over all of these; each of them is met."""
    kills = sum(point.endswith(":kill") for point in points)
    try:
        service.start(*points)
        end = SCENARIOS[scenario](service)
        assert service.hits() == points
        assert service.starts == 1 + kills
        check(service, place, **end)
        assert_no_leak(service, place, database)
    finally:
        service.stop()


async def test_a_cookie_that_was_removed_is_searched_for_too(
    tmp_path: Path, secret_stores: Any
) -> None:
    """What is looked for is every cookie that was ever made, not what is stored at the end."""
    place = secret_stores("local", tmp_path)
    stretcher = Stretcher()
    value = Epoch(
        secret=MasterSecret(bytes(range(32))),
        salt=bytes(16),
        kdf=profile("argon2id", "cheapest-argon2id"),
        opened_for="test",
    )
    stores = place.open()
    try:
        await stores.masters.create(MasterName("default"), EpochNumber(1), value)
        await stores.cookies.create(ClusterName(CLUSTER), a_document(3))
        key = await stretcher.stretch(value)
    finally:
        stretcher.close()
        await stores.close()
    made = [(1, None, "imported"), (2, 1, "derived"), (3, 1, "derived")]
    versions = [{"number": n, "epoch": epoch, "origin": origin} for n, epoch, origin in made]
    found = await secrets_of(place, {"uid": UID, "versions": versions})
    removed = derive_cookie(key, uid=UID, number=VersionNumber(2))
    assert found["version 1"] == IMPORTED.encode()
    assert found["version 2"] == removed.reveal().encode()
    assert found["stretched 1"] == key
    assert found["fingerprint key 1"] == derive_fingerprint_key(key, uid=UID)
    assert found["fingerprint key"] == KEY


def initialise(service: Service) -> dict[str, Any]:
    """A cluster gets version 1."""
    service.initialise(CLUSTER)
    return {"numbers": [1], "current": 1, "epochs": 1}


def import_one(service: Service) -> dict[str, Any]:
    """A cluster's own cookie becomes version 1."""
    body = {"cookie": IMPORTED, "reason": "test"}
    service.command(f"clusters/{CLUSTER}/import", body, role="admin")
    service.until_stable(CLUSTER)
    return {"numbers": [1], "current": 1, "epochs": 1, "imported": IMPORTED}


def rotate(service: Service) -> dict[str, Any]:
    """A manual rotation runs to its end."""
    service.initialise(CLUSTER)
    rotation = start(service, "manual")
    service.until_phase(CLUSTER, rotation, "completed")
    return {"numbers": [1, 2], "current": 2, "epochs": 1, "rotation": rotation, "facts": 7}


def abort(service: Service) -> dict[str, Any]:
    """A rotation is given up while it waits for members."""
    service.initialise(CLUSTER)
    rotation = start(service, "manual")
    service.until_phase(CLUSTER, rotation, "installing")
    service.command(f"clusters/{CLUSTER}/rotations/{rotation}/abort", {"reason": "test"})
    service.until_phase(CLUSTER, rotation, "aborted")
    return {"numbers": [1, 2], "current": 1, "epochs": 1, "rotation": rotation, "facts": 4}


def roll_back(service: Service) -> dict[str, Any]:
    """A rotation is taken back in its grace window."""
    service.initialise(CLUSTER)
    rotation = start(service, "manual")
    service.until_phase(CLUSTER, rotation, "grace")
    service.command(f"clusters/{CLUSTER}/rotations/{rotation}/rollback", {"reason": "test"})
    service.until_phase(CLUSTER, rotation, "rolled_back")
    return {"numbers": [1, 2], "current": 1, "epochs": 1, "rotation": rotation, "facts": 9}


def emergency(service: Service) -> dict[str, Any]:
    """An emergency runs to its end."""
    service.initialise(CLUSTER)
    rotation = start(service, "emergency")
    service.until_phase(CLUSTER, rotation, "completed")
    return {"numbers": [1, 2], "current": 2, "epochs": 2, "rotation": rotation, "facts": 5}


SCENARIOS = {
    "init": initialise,
    "import": import_one,
    "manual": rotate,
    "abort": abort,
    "roll back": roll_back,
    "emergency": emergency,
}


def start(service: Service, kind: str) -> str:
    """The id of the one rotation that was begun."""
    body = {"kind": kind, "reason": "test"}
    begun = service.command(f"clusters/{CLUSTER}/rotations", body)
    assert begun is not None, "the repeated command met its own rotation"
    return str(begun["id"])


def check(
    service: Service,
    place: Any,
    *,
    numbers: list[int],
    current: int,
    epochs: int,
    rotation: str | None = None,
    facts: int = 0,
    imported: str | None = None,
) -> None:
    """What must hold at the end, and what must not have happened."""
    shown = service.get(f"clusters/{CLUSTER}")
    assert sorted(version["number"] for version in shown["versions"]) == numbers
    assert shown["current"] == current
    rotations = service.get(f"clusters/{CLUSTER}/rotations")["rotations"]
    assert [row["id"] for row in rotations] == ([rotation] if rotation else [])
    all_facts = service.get(f"facts?cluster={CLUSTER}&limit=200", role="auditor")["facts"]
    kinds = Counter((fact["rotation"], fact["kind"]) for fact in all_facts)
    assert set(kinds.values()) == {1}, kinds
    assert sum(1 for fact in all_facts if fact["rotation"] == rotation and rotation) == facts
    assert_chained(all_facts)
    cookies = asyncio.run(stored_cookies(place, epochs))
    assert list(cookies) == [current], "another cookie is still stored"
    if imported is None:
        assert cookies[current] == asyncio.run(derived(place, shown, current))
    else:
        assert cookies[current] == imported
    place.assert_single_copy(CLUSTER)


def assert_no_leak(service: Service, place: Any, database: postgres.Database | None) -> None:
    """No secret is in a log, a database, an argument or an environment, wherever it is by now.

    What the API answers to nodes is not searched: it hands out cookies.
    """
    assert service.process is not None
    where = canary.files_below(service.directory, leaving_out=[service.directory / "secrets"])
    where |= canary.process(service.process.pid)
    if database is not None:
        where |= database.content()
    assert any(name.endswith((".sqlite", " facts")) for name in where)
    shown = service.get(f"clusters/{CLUSTER}")
    assert canary.find(asyncio.run(secrets_of(place, shown)), where) == []


async def secrets_of(place: Any, shown: dict[str, Any]) -> dict[str, bytes]:
    """Every secret there ever was, stored to this day or not.

    The cookie of each version is derived afresh, so those that were removed are among them.
    """
    stores, stretcher = place.open(), Stretcher()
    try:
        stored = await stores.cookies.read(ClusterName(CLUSTER))
        found = {"fingerprint key": stored.document.fingerprint_key}
        found |= {
            f"stored {v.number}": v.cookie.reveal().encode() for v in stored.document.versions()
        }
        keys: dict[int, bytes] = {}
        for number in range(1, 6):
            epoch = await stores.masters.read(MasterName("default"), EpochNumber(number))
            if epoch is not None:
                keys[number] = await stretcher.stretch(epoch)
                found[f"master {number}"] = epoch.secret.reveal()
                found[f"stretched {number}"] = keys[number]
                key = derive_fingerprint_key(keys[number], uid=shown["uid"])
                found[f"fingerprint key {number}"] = key
        for version in shown["versions"]:
            number, epoch = version["number"], version["epoch"]
            cookie = (
                IMPORTED
                if version["origin"] == "imported"
                else derive_cookie(keys[epoch], uid=shown["uid"], number=number).reveal()
            )
            found[f"version {number}"] = cookie.encode()
        return found
    finally:
        stretcher.close()
        await stores.close()


def assert_chained(facts: list[dict[str, Any]]) -> None:
    """The facts are numbered without a gap."""
    assert [fact["seq"] for fact in facts] == list(range(1, len(facts) + 1))
    assert len({fact["hash"] for fact in facts}) == len(facts)
    assert all(len(fact["hash"]) == hashlib.sha256().digest_size * 2 for fact in facts)


async def stored_cookies(place: Any, epochs: int) -> dict[int, str]:
    """Every cookie in the cluster's document; the number of epochs is checked on the way."""
    stores = place.open()
    try:
        stored = await stores.cookies.read(ClusterName(CLUSTER))
        assert stored is not None
        # A request that died before it was written down has burned a number, and no more.
        found = [
            await stores.masters.read(MasterName("default"), EpochNumber(number))
            for number in range(1, epochs + 4)
        ]
        assert sum(epoch is not None for epoch in found) == epochs
        return {v.number: v.cookie.reveal() for v in stored.document.versions()}
    finally:
        await stores.close()


async def derived(place: Any, shown: dict[str, Any], number: int) -> str:
    """The cookie derived afresh from the master secret, as only one version can have it."""
    (version,) = (v for v in shown["versions"] if v["number"] == number)
    stores, stretcher = place.open(), Stretcher()
    try:
        epoch = await stores.masters.read(MasterName("default"), EpochNumber(version["epoch"]))
        assert epoch is not None
        stretched = await stretcher.stretch(epoch)
        return derive_cookie(stretched, uid=shown["uid"], number=number).reveal()
    finally:
        stretcher.close()
        await stores.close()
