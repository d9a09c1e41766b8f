"""Every way in which AWS says no is named, and says what to do; nothing is half done in silence."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import secrets
import socket
import threading
import traceback
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from rotator.adapters.secret_stores.aws import connection as connections
from rotator.adapters.secret_stores.aws import secrets as places
from rotator.adapters.secret_stores.aws import store
from rotator.adapters.secret_stores.aws.connection import AwsConnection, Pace
from rotator.adapters.secret_stores.aws.masters import AwsMasterStore
from rotator.adapters.secret_stores.aws.store import AwsCookieStore
from rotator.adapters.secret_stores.deadline import Deadline
from rotator.domain.document import discarded, promoted, retired, revoked, staged
from rotator.domain.ids import VersionNumber
from rotator.errors import (
    RotatorError,
    SecretStoreError,
    StoreBusy,
    StoreConflict,
    StoreDeletionScheduled,
    StoreDocumentInvalid,
    StoreForbidden,
    StoreKeyUnusable,
    StoreLoginFailed,
    StoreQuotaReached,
    StoreStagesMoved,
    StoreTokenExpired,
    StoreUnreachable,
)
from rotator.testing.secret_stores import (
    DEFAULT,
    FIRST,
    ORDERS,
    document,
    epoch,
    present,
    stamp,
    version,
)
from tests.support import aws, canary

KMS = "Access to KMS is not allowed"


class Place:
    """A store below a prefix of its own, with the shipped service policy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.prefix = aws.start(), f"t{secrets.token_hex(8)}"
        self.key = self.server.identity("service", self.prefix)
        for name, value in self.server.environment(self.key).items():
            monkeypatch.setenv(name, value)
        self.root = self.server.client()
        self.name = f"{self.prefix}/clusters/{ORDERS}"
        self.connection = self.connect(self.server.address)
        self.masters = AwsMasterStore(self.connection, prefix=self.prefix, kms_key=None)
        self.store = self.open()

    @staticmethod
    def connect(address: str, seconds: float = 60) -> AwsConnection:
        """A connection with these bounds."""
        return AwsConnection(
            region=aws.REGION, endpoint=address, timeout=timedelta(seconds=seconds)
        )

    def open(self) -> AwsCookieStore:
        """As a process that was just started: nothing is known."""
        return AwsCookieStore(self.connection, prefix=self.prefix, kms_key=None)

    async def stage(self) -> Any:
        """Version 1 is current, version 2 pending."""
        await self.store.create(ORDERS, document(1))
        await self.next(lambda found: staged(found, version(2), stamp()))
        return await present(self.store)

    async def next(self, change: Any) -> None:
        """Replace the document by what *change* makes of it."""
        found = await present(self.store)
        await self.store.replace(ORDERS, change(found.document), mark=found.mark)

    def move(self, label: str, *, to: str | None) -> None:
        """Somebody else moves a label."""
        off = self.server.labels(self.name).get(label)
        where = {"RemoveFromVersionId": off, "MoveToVersionId": to}
        self.root.update_secret_version_stage(
            SecretId=self.name,
            VersionStage=label,
            **{name: version for name, version in where.items() if version},
        )


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    """A place, and an emulator of its own: faults hit whoever asks."""
    made = Place(monkeypatch)
    yield made
    await made.connection.close()


@pytest.mark.parametrize(
    ("code", "message", "status", "error"),
    [
        ("ThrottlingException", "Rate exceeded", 400, StoreBusy),
        ("InternalServiceError", "oops", 500, StoreBusy),
        ("ServiceUnavailable", "later", 503, StoreBusy),
        ("LimitExceededException", "too many versions", 400, StoreQuotaReached),
        ("ExpiredTokenException", "expired", 400, StoreTokenExpired),
        ("UnrecognizedClientException", "who?", 400, StoreLoginFailed),
        ("InvalidSignatureException", "clock?", 400, StoreLoginFailed),
        ("AccessDeniedException", "not authorized: secretsmanager:…", 400, StoreForbidden),
        ("AccessDeniedException", KMS, 400, StoreKeyUnusable),
        ("DecryptionFailure", "key is disabled", 400, StoreKeyUnusable),
        ("EncryptionFailure", "key is disabled", 400, StoreKeyUnusable),
        ("InvalidRequestException", "marked for deletion", 400, StoreDeletionScheduled),
        ("InvalidRequestException", "something else", 400, SecretStoreError),
        ("SomethingNew", "of next year", 400, SecretStoreError),
    ],
)
async def test_each_refusal_has_a_name_and_repeats_nothing(
    place: Place, code: str, message: str, status: int, error: type[SecretStoreError]
) -> None:
    """For a read, a put and a move alike; the document is as it was, and goes on afterwards."""
    found = await place.stage()
    wanted = promoted(found.document, stamp())
    how = {"message": f"{message} CANARY", "status": status, "times": 9}
    for operation in ("GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"):
        with place.server.fault(operation, code, **how), pytest.raises(error) as caught:
            await place.store.replace(ORDERS, wanted, mark=found.mark)
        assert type(caught.value) is error
        assert "CANARY" not in "".join(traceback.format_exception(caught.value))
        assert (await present(place.open())).document == found.document
    await place.store.replace(ORDERS, wanted, mark=found.mark)
    assert (await present(place.store)).document == wanted


async def test_an_answer_that_is_lost_may_have_been_a_write(place: Place) -> None:
    """Transient: whoever reads back finds it decided, and finishes it."""
    found = await place.stage()
    wanted = promoted(found.document, stamp())
    with place.server.fault("UpdateSecretVersionStage"), pytest.raises(StoreUnreachable) as caught:
        await place.store.replace(ORDERS, wanted, mark=found.mark)
    assert caught.value.is_transient
    there = await present(place.store)
    assert (there.document, there.is_settled) == (wanted, False)
    await place.store.replace(ORDERS, there.document, mark=there.mark)
    assert (await present(place.store)).is_settled


async def test_nothing_is_repeated_behind_the_callers_back(place: Place) -> None:
    """boto3's own retries are off: one throttled request is one request."""
    with place.server.fault("GetSecretValue", "ThrottlingException", times=9) as fault:
        with pytest.raises(StoreBusy):
            await place.store.read(ORDERS)
        assert fault.times == 8


async def test_newer_credentials_are_found_when_the_former_expired(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more try with what the default chain finds by then; without news it is named."""
    await place.store.create(ORDERS, document(1))
    place.server.expired.add(place.key)
    with pytest.raises(StoreTokenExpired):
        await place.store.read(ORDERS)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", place.server.identity("service", place.prefix))
    assert (await present(place.store)).document == document(1)


async def test_without_credentials_it_says_so(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """No guess, and nothing of the environment in the message."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreLoginFailed, match="credentials"):
        await place.store.check()


async def test_a_secret_scheduled_for_deletion_is_named_and_comes_back(place: Place) -> None:
    """Cookies, the rest, or a master: the message says how to restore it, and then it goes on."""
    found = await place.stage()
    await place.masters.create(DEFAULT, FIRST, epoch())
    master = f"{place.prefix}/masters/{DEFAULT}/{FIRST}"
    for name, call in (
        (place.name, lambda: place.store.read(ORDERS)),
        (f"{place.name}/meta", lambda: place.store.read(ORDERS)),
        (
            place.name,
            lambda: place.store.replace(ORDERS, promoted(found.document, stamp()), mark=found.mark),
        ),
        (master, lambda: place.masters.read(DEFAULT, FIRST)),
        (master, lambda: place.masters.create(DEFAULT, FIRST, epoch(1))),
    ):
        place.server.secrets[name].delete(1e10)
        with pytest.raises(StoreDeletionScheduled, match=f"restore-secret --secret-id {name}"):
            await call()
        place.server.secrets[name].restore()
    there = await present(place.store)
    assert there.document in (found.document, promoted(found.document, stamp()))
    assert await place.masters.read(DEFAULT, FIRST) == epoch()


@pytest.mark.parametrize("label", ["AWSCURRENT", "AWSPENDING"])
async def test_a_label_that_somebody_moved_is_named_and_says_where_it_belongs(
    place: Place, label: str
) -> None:
    """Readers by number are served on; nothing is written over it until it is moved back."""
    found = await place.stage()
    right = place.server.labels(place.name)
    other = right["AWSPENDING" if label == "AWSCURRENT" else "AWSCURRENT"]
    place.move(label, to=other)
    there = await present(place.open())
    assert (there.document, there.is_settled) == (found.document, False)
    moved = place.server.labels(place.name)
    with pytest.raises(StoreStagesMoved, match=f"{label} is on {other}") as caught:
        await place.store.replace(ORDERS, there.document, mark=there.mark)
    assert right[label] in str(caught.value)
    assert place.server.labels(place.name) == moved
    place.move(label, to=right[label])
    if label == "AWSCURRENT":
        place.move("AWSPREVIOUS", to=None)
    assert (await present(place.open())).is_settled


async def test_an_emergency_goes_over_labels_that_somebody_moved(place: Place) -> None:
    """Whatever was put in the way, afterwards a node reads the new cookie and no other."""
    found = await place.stage()
    foreign = json.dumps({"cookie": "FOREIGN"})
    place.root.put_secret_value(SecretId=place.name, SecretString=foreign)
    place.root.put_secret_value(
        SecretId=place.name, SecretString=foreign + " ", VersionStages=["AWSPENDING"]
    )
    there = await present(place.store)
    assert (there.document, there.is_settled) == (found.document, False)
    wanted = revoked(there.document, version(3), stamp())
    await place.store.replace(ORDERS, wanted, mark=there.mark)
    readable = place.server.readable(place.name)
    assert {label: value["number"] for label, value in readable.items()} == {"AWSCURRENT": 3}
    assert (await present(place.open())).is_settled


@pytest.mark.parametrize("text", ["", "{}", "not JSON", '{"cookie": "CANARY"}', "[" * 5000])
async def test_an_edited_meta_is_named_and_not_shown(place: Place, text: str) -> None:
    """Empty, foreign or broken: by name, and nothing of it is repeated."""
    await place.stage()
    meta = f"{place.name}/meta"
    label = {"VersionStages": ["AWSCURRENT"]}
    place.root.put_secret_value(SecretId=meta, SecretString=text or " ", **label)
    with pytest.raises(StoreDocumentInvalid) as caught:
        await place.store.read(ORDERS)
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


async def test_an_empty_version_is_not_a_cookie(place: Place) -> None:
    """What a foreign RotateSecret leaves: a pending version without a value."""
    await place.store.create(ORDERS, document(1))
    labels = place.server.labels(place.name)
    secret = place.server.secrets[place.name]
    secret.versions["e" * 36] = {"version_id": "e" * 36, "version_stages": ["AWSPENDING"]}
    there = await present(place.open())
    assert (there.document, there.is_settled) == (document(1), False)
    with pytest.raises(StoreStagesMoved, match="AWSPENDING is on eeee"):
        await place.store.replace(ORDERS, there.document, mark=there.mark)
    assert place.server.labels(place.name)["AWSCURRENT"] == labels["AWSCURRENT"]


async def test_a_cookie_that_was_lost_is_named(place: Place) -> None:
    """A version that the document names and AWS does not have."""
    await place.store.create(ORDERS, document(1))
    secret = place.server.secrets[place.name]
    ours = place.server.labels(place.name)["AWSCURRENT"]
    del secret.versions[ours]["secret_string"]
    with pytest.raises(StoreDocumentInvalid, match="lacks a version"):
        await place.open().read(ORDERS)


@pytest.mark.parametrize("lag", [1, 3])
async def test_answers_that_lag_behind_are_waited_for(place: Place, lag: int) -> None:
    """After every write some answers are older than it: each write is seen before it returns."""
    place.server.lag = lag
    await place.masters.create(DEFAULT, FIRST, epoch())
    assert await place.masters.read(DEFAULT, FIRST) == epoch()
    wanted = document(1)
    await place.store.create(ORDERS, wanted)
    for change in (
        lambda found: staged(found, version(2), stamp()),
        lambda found: promoted(found, stamp()),
        lambda found: retired(found, stamp()),
        lambda found: revoked(found, version(3), stamp()),
    ):
        found = await present(place.store)
        assert (found.document, found.is_settled) == (wanted, True)
        wanted = change(wanted)
        await place.store.replace(ORDERS, wanted, mark=found.mark)
    assert (await present(place.store)).document == wanted


async def test_an_old_answer_that_looks_right_leaves_no_label_behind(place: Place) -> None:
    """Before the version was pending the labels were as they are to be after it was given up."""
    await place.store.create(ORDERS, document(1))
    before = copy.deepcopy(place.server.secrets[place.name])
    await place.next(lambda found: staged(found, version(2), stamp()))
    found = await present(place.store)
    place.server.answer_with(before, times=2)
    given_up = discarded(found.document, VersionNumber(2), stamp())
    await place.store.replace(ORDERS, given_up, mark=found.mark)
    assert set(place.server.readable(place.name)) == {"AWSCURRENT"}
    assert (await present(place.open())).is_settled


async def test_what_was_just_seen_is_not_read_older(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that goes back in time may lag; one that stays old was put back, and is told."""
    found = await place.stage()
    meta = f"{place.name}/meta"
    labels = place.server.labels(meta)
    place.root.update_secret_version_stage(
        SecretId=meta,
        VersionStage="AWSCURRENT",
        RemoveFromVersionId=labels["AWSCURRENT"],
        MoveToVersionId=labels["AWSPREVIOUS"],
    )
    with pytest.raises(StoreBusy, match="older than write 2"):
        await place.store.read(ORDERS)
    with pytest.raises(StoreConflict):
        await place.store.replace(ORDERS, found.document, mark=found.mark)
    monkeypatch.setattr(store, "LAG", 0.0)
    old = await present(place.store)
    assert (old.document.pending, old.is_settled) == (None, False)


async def test_debug_logs_of_every_library_hold_no_secret(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Botocore logs whole requests at DEBUG, secrets included: it is kept from that."""
    with caplog.at_level(logging.DEBUG):
        await place.store.create(ORDERS, document(1))
        await place.masters.create(DEFAULT, FIRST, epoch())
        await present(place.store)
    assert {record.name.split(".")[0] for record in caplog.records} >= {"urllib3", "botocore"}
    secrets_of = {
        "cookie": document(1).current.cookie.reveal().encode(),
        "master": epoch().secret.reveal(),
        "fingerprint key": document(1).fingerprint_key,
    }
    logged = "\n".join(record.getMessage() for record in caplog.records).encode()
    assert canary.find(secrets_of, {"log": logged}) == []


async def test_a_document_over_the_limit_is_refused_whole(place: Place) -> None:
    """65,536 bytes are AWS's limit; nothing is changed."""
    found = await place.stage()
    large = retired(found.document, stamp(rotation="r" * 70_000))
    before = place.server.labels(f"{place.name}/meta")
    with pytest.raises(StoreDocumentInvalid, match="65,536"):
        await place.store.replace(ORDERS, large, mark=found.mark)
    assert place.server.labels(f"{place.name}/meta") == before


async def test_no_rotation_begins_near_the_quota_and_an_emergency_still_can(place: Place) -> None:
    """AWS takes about 100 versions a day; what runs is finished, what is urgent is done."""
    await place.store.create(ORDERS, document(1))
    meta = place.server.secrets[f"{place.name}/meta"]
    for number in range(places.MANY_VERSIONS):
        name = f"{number:032}"
        meta.versions[name] = {"version_id": name, "version_stages": [], "secret_string": "x"}
    found = await present(place.store)
    wanted = staged(found.document, version(2), stamp())
    with pytest.raises(StoreQuotaReached, match="rotate less often"):
        await place.store.replace(ORDERS, wanted, mark=found.mark)
    assert (await present(place.store)).document == document(1)
    assert "AWSPENDING" not in place.server.labels(place.name)
    await place.next(lambda there: revoked(there, version(3), stamp()))
    assert set(place.server.readable(place.name)) == {"AWSCURRENT"}


async def test_a_foreign_secret_is_never_taken_over(place: Place) -> None:
    """One of the same name that somebody else made stays as it is."""
    place.root.create_secret(Name=place.name, SecretString='{"password": "CANARY"}')
    assert await place.store.read(ORDERS) is None
    with pytest.raises(StoreDocumentInvalid, match="holds something else") as caught:
        await place.store.create(ORDERS, document(1))
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))
    assert place.server.readable(place.name) == {"AWSCURRENT": {"password": "CANARY"}}
    assert f"{place.name}/meta" not in place.server.secrets


async def test_a_foreign_master_is_never_derived_from(place: Place) -> None:
    """Only the version that this program wrote counts, whatever label others put where."""
    await place.masters.create(DEFAULT, FIRST, epoch(1))
    name = f"{place.prefix}/masters/{DEFAULT}/{FIRST}"
    place.root.put_secret_value(SecretId=name, SecretString="{}")
    assert await place.masters.read(DEFAULT, FIRST) == epoch(1)
    second = f"{place.prefix}/masters/{DEFAULT}/2"
    place.root.create_secret(Name=second, SecretString="{}")
    for call in (place.masters.read(DEFAULT, 2), place.masters.create(DEFAULT, 2, epoch(2))):
        with pytest.raises(StoreDocumentInvalid, match="no version that this program wrote"):
            await call


async def test_a_server_that_never_answers_is_bounded_in_time(place: Place) -> None:
    """The caller goes on in time, though a thread may still wait."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        connection = place.connect(f"http://127.0.0.1:{deaf.getsockname()[1]}", seconds=0.5)
        store = AwsCookieStore(connection, prefix="p", kms_key=None)
        async with asyncio.timeout(60):
            with pytest.raises(StoreUnreachable):
                await store.read(ORDERS)
        await connection.close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"<html>welcome</html>", StoreBusy),
        (200, b"{}", StoreBusy),
        (200, b"[]", SecretStoreError),
        (502, b"<html>bad gateway</html>", StoreBusy),
        (403, b"<html>no</html>", SecretStoreError),
        (302, b"", SecretStoreError),
    ],
)
async def test_an_answer_that_is_not_of_aws_is_named(
    place: Place, status: int, body: bytes, error: type[SecretStoreError]
) -> None:
    """A proxy's page is no document and no absence of one."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Odd(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """The same whatever is asked."""
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Nothing is printed."""

    with HTTPServer(("127.0.0.1", 0), Odd) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        connection = place.connect(f"http://127.0.0.1:{server.server_port}")
        store = AwsCookieStore(connection, prefix="p", kms_key=None)
        masters = AwsMasterStore(connection, prefix="p", kms_key=None)
        try:
            for call in (
                lambda: store.read(ORDERS),
                store.check,
                lambda: masters.read(DEFAULT, FIRST),
            ):
                with pytest.raises(error):
                    await call()
        finally:
            await connection.close()
            server.shutdown()
            thread.join()


async def test_a_closed_port_is_unreachable(place: Place) -> None:
    """Named as such, with nothing of the request."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        connection = place.connect(f"http://127.0.0.1:{probe.getsockname()[1]}", seconds=30)
        store = AwsCookieStore(connection, prefix="p", kms_key=None)
        with pytest.raises(StoreUnreachable, match="cannot be reached"):
            await store.create(ORDERS, document(1))
        await connection.close()


def test_writes_are_paced_below_the_quota() -> None:
    """However many threads ask at once, the n-th turn does not come before its time."""
    import time

    pace, turns, lock = Pace(1000.0), [], threading.Lock()
    deadline = Deadline(timedelta(seconds=60))
    began = time.monotonic()

    def ask() -> None:
        for _ in range(10):
            pace.wait(deadline)
            with lock:
                turns.append(time.monotonic() - began)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(turns) == 40
    assert max(turns) >= 39 / 1000
    assert connections.WRITES_PER_SECOND < 50


def test_a_turn_that_would_come_too_late_is_not_waited_for() -> None:
    """A queue longer than the deadline says so at once."""
    pace = Pace(0.01)
    pace.wait(Deadline(timedelta(seconds=5)))
    with pytest.raises(RotatorError):
        pace.wait(Deadline(timedelta(seconds=5)))
