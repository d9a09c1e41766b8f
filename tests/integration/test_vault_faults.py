"""What can go wrong with OpenBao has a name each, and shows nothing."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import socket
import threading
import time
import traceback
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from rotator.adapters.secret_stores.registry import SecretStores, open_stores
from rotator.domain.cookie import Cookie
from rotator.domain.document import ClusterDocument, StoredVersion, staged
from rotator.domain.ids import VersionNumber
from rotator.domain.version import Origin
from rotator.errors import (
    ConfigurationError,
    EpochMissing,
    SecretStoreError,
    StoreBusy,
    StoreConflict,
    StoreForbidden,
    StoreKvVersion1,
    StoreMountMissing,
    StoreSealed,
    StoreUnreachable,
    StoreUnsafeSettings,
)
from rotator.testing.secret_stores import DEFAULT, FIRST, ORDERS, document, epoch, present, stamp
from tests.support import openbao

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Any

    from tests.support.openbao import OpenBao

CANARY = "CANARY-cookie-7c1f"
TOKEN = "CANARY-token-55aa"


def canary_document() -> ClusterDocument:
    """A document that must not be seen anywhere."""
    version = StoredVersion(
        number=VersionNumber(2), cookie=Cookie(CANARY), epoch=None, origin=Origin.IMPORTED
    )
    return staged(document(), version, stamp())


def shows(error: BaseException | None, *words: str) -> bool:
    """Whether an error, or anything that hangs on it, holds one of the words."""
    while error is not None:
        request = getattr(error, "request", None)
        text = "".join(traceback.format_exception(error)) + repr(vars(error))
        text += repr(getattr(request, "body", "")) + repr(getattr(request, "headers", ""))
        if any(word in text for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False


@pytest.fixture
def server() -> OpenBao:
    """The shared server."""
    return openbao.shared()


@pytest.fixture
def prefix() -> str:
    """A place for this test alone."""
    return f"t{secrets.token_hex(8)}"


@pytest.fixture
async def connect(server: OpenBao, prefix: str) -> AsyncIterator[Callable[..., SecretStores]]:
    """Opens stores on the shared server, and closes them."""
    opened: list[SecretStores] = []

    def open_(**settings: Any) -> SecretStores:
        token = settings.pop("token", server.root_token)
        plain = {"address": server.address, "auth": {"method": "token", "token": token}}
        opened.append(open_stores("vault", **{**plain, "prefix": prefix, **settings}))
        return opened[-1]

    yield open_
    for stores in opened:
        await stores.close()


@pytest.fixture
def kv1(server: OpenBao) -> str:
    """A mount of KV version 1."""
    mount = f"kv1-{secrets.token_hex(4)}"
    server.do("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "1"}})
    return mount


async def every_call(stores: SecretStores) -> list[SecretStoreError]:
    """What each method raises."""
    calls = [
        lambda: stores.cookies.read(ORDERS),
        lambda: stores.cookies.create(ORDERS, canary_document()),
        lambda: stores.cookies.replace(ORDERS, canary_document(), mark=1),
        stores.cookies.check,
        lambda: stores.masters.read(DEFAULT, FIRST),
        lambda: stores.masters.create(DEFAULT, FIRST, epoch()),
    ]
    errors = []
    for call in calls:
        with pytest.raises(SecretStoreError) as caught:
            await call()
        assert not shows(caught.value, CANARY, TOKEN)
        errors.append(caught.value)
    return errors


def classes(errors: list[SecretStoreError]) -> set[type[SecretStoreError]]:
    """The classes, exactly."""
    return {type(error) for error in errors}


async def test_kv_version_1_is_refused_by_name(
    server: OpenBao, connect: Callable[..., SecretStores], kv1: str
) -> None:
    """A mount of KV version 1 is named by every method, and nothing is written to it."""
    assert classes(await every_call(connect(mount=kv1))) == {StoreKvVersion1}
    assert server.ask("LIST", f"{kv1}/").status_code == 404


async def test_a_missing_mount_is_not_an_empty_one(connect: Callable[..., SecretStores]) -> None:
    """A mount that is not there is an error of its own, never a missing document."""
    assert classes(await every_call(connect(mount="nowhere"))) == {StoreMountMissing}


async def test_a_mount_that_goes_away_is_noticed(
    server: OpenBao, connect: Callable[..., SecretStores]
) -> None:
    """A mount removed while we run does not read as a cluster without cookies."""
    mount = f"kv2-{secrets.token_hex(4)}"
    server.do("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})
    stores = connect(mount=mount)
    await asyncio.sleep(1)  # OpenBao upgrades a new mount for a moment
    assert await stores.cookies.read(ORDERS) is None
    server.do("DELETE", f"sys/mounts/{mount}")
    for error in await every_call(stores):
        assert isinstance(error, StoreMountMissing)


async def test_an_engine_that_is_not_kv_is_named(connect: Callable[..., SecretStores]) -> None:
    """Another kind of engine at the mount is named before anything is asked of it."""
    assert classes(await every_call(connect(mount="cubbyhole"))) == {StoreMountMissing}


async def test_a_sealed_server_is_named_and_passes() -> None:
    """Sealed is a transient error of its own, and all is there again after unsealing."""
    server = await asyncio.to_thread(openbao.start_durable)
    auth = {"method": "token", "token": server.root_token}
    # Sealed is what it says at once; only a machine without a moment to spare takes longer.
    stores = open_stores("vault", address=server.address, auth=auth, timeout=timedelta(seconds=60))
    try:
        await stores.cookies.create(ORDERS, document())
        await asyncio.to_thread(server.seal)
        errors = await every_call(stores)
        assert classes(errors) == {StoreSealed}
        assert all(error.is_transient for error in errors)
        await asyncio.to_thread(server.unseal)
        assert (await present(stores.cookies)).document == document()
    finally:
        await stores.close()
        server.stop()


async def test_nobody_listening_is_unreachable(connect: Callable[..., SecretStores]) -> None:
    """A refused connection is a transient error of its own."""
    address = f"http://127.0.0.1:{openbao.free_port()}"
    errors = await every_call(connect(address=address, token=TOKEN))
    assert classes(errors) == {StoreUnreachable}


async def test_a_server_that_never_answers_is_given_up_in_time(
    connect: Callable[..., SecretStores],
) -> None:
    """A black hole holds no call longer than its bound, whatever the number of calls."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as hole:
        address = f"http://127.0.0.1:{hole.getsockname()[1]}"
        stores = connect(address=address, token=TOKEN, timeout=timedelta(seconds=0.5))
        began = time.monotonic()
        results = await asyncio.gather(
            *(stores.cookies.read(ORDERS) for _ in range(30)), return_exceptions=True
        )
        assert time.monotonic() - began < 2
        assert {type(result) for result in results} == {StoreUnreachable}
        await stores.close()


HTML = b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>"
JSON = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], str]]:
    """Starts a server with one answer to everything; gives its address."""
    listeners: list[socket.socket] = []

    def serve(listener: socket.socket, answer: bytes) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as request:
                # Closing on unread bytes would reset the connection, and the answer with it.
                head = b"".join(iter(request.readline, b"\r\n"))
                request.read(int((re.search(rb"(?i)content-length: (\d+)", head) or [0, 0])[1]))
                # Nor may the client ask again on a connection that is about to be closed.
                connection.sendall(answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))

    def start(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        HTML % b"200 OK",
        HTML % b"403 Forbidden",
        HTML % b"404 Not Found",
        HTML % b"502 Bad Gateway",
        JSON % (b"200 OK", 9, b'{"data": '),
        JSON % (b"200 OK", 90, b'{"data": '),
        JSON % (b"200 OK", 2, b"[]"),
        JSON % (b"200 OK", 200_000, b"[" * 200_000),
        JSON % (b"429 Too Many Requests", 2, b"{}"),
        JSON % (b"500 Internal Server Error", 13, b'{"errors":[]}'),
        JSON % (b"504 Gateway Timeout", 2, b"{}"),
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /v1/x\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_an_answer_that_makes_no_sense_is_transient(
    connect: Callable[..., SecretStores], answering: Callable[[bytes], str], answer: bytes
) -> None:
    """HTML, halves of JSON, overload and redirects never read as a missing document."""
    errors = await every_call(connect(address=answering(answer), token=TOKEN))
    assert classes(errors) == {StoreBusy}


async def test_a_redirect_gets_neither_token_nor_cookies(
    server: OpenBao, connect: Callable[..., SecretStores], answering: Callable[[bytes], str]
) -> None:
    """An answer cannot send a write on to another server."""
    answer = (
        f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {server.address}/v1/sys/health\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    with pytest.raises(StoreBusy):
        await connect(address=answering(answer.encode())).cookies.check()


async def test_missing_rights_name_the_path(
    server: OpenBao, connect: Callable[..., SecretStores]
) -> None:
    """A valid token without rights is told which path it lacks, and is not taken for expired."""
    errors = await every_call(connect(token=server.token("default")))
    assert classes(errors) == {StoreForbidden}
    assert "clusters/orders" in str(errors[0])


async def test_a_foreign_write_is_a_conflict(
    server: OpenBao, connect: Callable[..., SecretStores], prefix: str
) -> None:
    """What somebody else wrote meanwhile is not written over."""
    stores = connect()
    await stores.cookies.create(ORDERS, document())
    before = await present(stores.cookies)
    path = f"secret/data/{prefix}/clusters/orders"
    server.do("POST", path, {"data": {"theirs": 1}, "options": {"cas": before.mark}})
    with pytest.raises(StoreConflict) as caught:
        await stores.cookies.replace(ORDERS, canary_document(), mark=before.mark)
    assert caught.value.is_transient
    assert server.do("GET", path)["data"]["data"] == {"theirs": 1}


@pytest.mark.parametrize("how", ["delete", "destroy"])
async def test_a_deleted_document_reads_as_none_and_can_be_made_again(
    server: OpenBao, connect: Callable[..., SecretStores], prefix: str, how: str
) -> None:
    """After a deletion by hand the place is empty, and a create fills it."""
    stores = connect()
    await stores.cookies.create(ORDERS, document(1))
    server.do("POST", f"secret/{how}/{prefix}/clusters/orders", {"versions": [1]})
    assert await stores.cookies.read(ORDERS) is None
    await stores.cookies.create(ORDERS, document(2))
    assert (await present(stores.cookies)).document == document(2)


async def test_a_deleted_epoch_is_missing_and_is_not_made_again(
    server: OpenBao, connect: Callable[..., SecretStores], prefix: str
) -> None:
    """An epoch from which cookies came is never silently replaced by another."""
    stores = connect()
    await stores.masters.create(DEFAULT, FIRST, epoch(1))
    path = f"{prefix}/masters/default/1"
    server.do("DELETE", f"secret/data/{path}")
    with pytest.raises(EpochMissing):
        await stores.masters.read(DEFAULT, FIRST)
    with pytest.raises(EpochMissing):
        await stores.masters.create(DEFAULT, FIRST, epoch(2))
    server.do("POST", f"secret/undelete/{path}", {"versions": [1]})
    assert await stores.masters.read(DEFAULT, FIRST) == epoch(1)


async def test_a_history_that_somebody_switched_on_is_switched_off_by_the_next_write(
    server: OpenBao, connect: Callable[..., SecretStores], prefix: str
) -> None:
    """Loosened settings are set right before a write, which removes every older version."""
    stores = connect()
    path = f"{prefix}/clusters/orders"
    await stores.cookies.create(ORDERS, document(1))
    server.do("POST", f"secret/metadata/{path}", {"max_versions": 10, "cas_required": False})
    for _ in range(3):
        server.do("POST", f"secret/data/{path}", {"data": {"old": CANARY}})
    await stores.cookies.replace(ORDERS, document(2), mark=4)
    served = [
        n for n in range(1, 9) if server.ask("GET", f"secret/data/{path}", version=n).is_success
    ]
    assert served == [5]
    settings = server.do("GET", f"secret/metadata/{path}")["data"]
    assert (settings["max_versions"], settings["cas_required"]) == (1, True)


async def test_debug_logs_of_every_library_hold_no_secret(
    connect: Callable[..., SecretStores], caplog: pytest.LogCaptureFixture, server: OpenBao
) -> None:
    """With everything logged at DEBUG neither cookies nor masters nor tokens are in the log."""
    with caplog.at_level(logging.DEBUG):
        stores = connect()
        await stores.cookies.create(ORDERS, canary_document())
        await present(stores.cookies)
        await stores.masters.create(DEFAULT, FIRST, epoch())
    assert "urllib3" in {record.name.split(".")[0] for record in caplog.records}
    for secret in (CANARY, server.root_token, "AAECAwQF"):
        assert secret not in caplog.text


async def test_proxies_of_the_environment_are_not_used(
    connect: Callable[..., SecretStores], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cookies do not travel through a proxy that happens to be set."""
    dead = f"http://127.0.0.1:{openbao.free_port()}"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, dead)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    await connect().cookies.check()


@pytest.mark.parametrize(
    "settings",
    [
        {"address": "127.0.0.1:8200"},
        {"address": f"http://user:{TOKEN}@127.0.0.1:8200"},
        {"auth": {"method": "guess", "token": TOKEN}},
        {"auth": {"method": "token"}},
        {"auth": {"method": "approle", "token": TOKEN}},
        {"colour": TOKEN},
        {"ca_cert": "/nowhere/ca.pem"},
    ],
)
def test_settings_that_do_not_fit_are_refused_without_showing_them(
    settings: dict[str, Any],
) -> None:
    """What cannot be used is refused when the stores are opened, and no value is repeated."""
    plain = {"address": "http://127.0.0.1:8200", "auth": {"method": "token", "token": TOKEN}}
    with pytest.raises(ConfigurationError) as caught:
        open_stores("vault", **{**plain, **settings})
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


async def test_a_mount_that_forgets_is_refused(
    server: OpenBao, connect: Callable[..., SecretStores]
) -> None:
    """A mount that deletes documents after a while is named at the first write."""
    mount = f"kv2-{secrets.token_hex(4)}"
    server.do("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})
    await asyncio.sleep(1)
    server.do("POST", f"{mount}/config", {"delete_version_after": "1h"})
    with pytest.raises(StoreUnsafeSettings):
        await connect(mount=mount).cookies.create(ORDERS, document())
