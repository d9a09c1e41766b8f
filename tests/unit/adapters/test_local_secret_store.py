"""The local store's files show nothing, and damage is named."""

from __future__ import annotations

import asyncio
import fcntl
import stat
from typing import TYPE_CHECKING

import pytest

from rotator.adapters.secret_stores.local import LocalCookieStore, LocalMasterStore, files
from rotator.domain.ids import ClusterName
from rotator.errors import StoreBusy, StoreDocumentInvalid, StoreUnsafeSettings
from rotator.testing.secret_stores import DEFAULT, FIRST, ORDERS, document, epoch, present

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
async def store(tmp_path: Path) -> LocalCookieStore:
    """A store with one document."""
    store = LocalCookieStore(tmp_path)
    await store.create(ORDERS, document())
    return store


async def test_files_are_for_their_owner_and_show_nothing(
    store: LocalCookieStore, tmp_path: Path
) -> None:
    """Every file is 0600, every directory 0700, and no file holds a cookie."""
    await LocalMasterStore(tmp_path).create(DEFAULT, FIRST, epoch())
    made = list(tmp_path.rglob("*"))
    for path in made:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    content = b"".join(path.read_bytes() for path in made if path.is_file())
    assert document().current.cookie.reveal().encode() not in content
    assert epoch().secret.reveal() not in content


async def test_nothing_is_left_beside_a_document(store: LocalCookieStore, tmp_path: Path) -> None:
    """After a write there is one file, also where a crash had left half of one."""
    (tmp_path / "clusters" / ".orders.0123").write_bytes(b"half")
    await store.replace(ORDERS, document(2), mark=(await present(store)).mark)
    assert [path.name for path in (tmp_path / "clusters").iterdir()] == ["orders"]


async def test_a_key_that_others_may_read_is_refused(
    store: LocalCookieStore, tmp_path: Path
) -> None:
    """A key file open to the group is named by every call until its mode is mended."""
    (tmp_path / "key").chmod(0o640)
    for call in (store.read(ORDERS), store.check(), store.create(ClusterName("b"), document())):
        with pytest.raises(StoreUnsafeSettings):
            await call
    (tmp_path / "key").chmod(0o600)
    assert (await present(store)).document == document()


async def test_another_key_opens_nothing(store: LocalCookieStore, tmp_path: Path) -> None:
    """A document of another key is refused by name instead of being read as missing."""
    (tmp_path / "key").write_bytes(bytes(32))
    with pytest.raises(StoreDocumentInvalid):
        await store.read(ORDERS)


async def test_a_lost_key_is_never_made_anew(store: LocalCookieStore, tmp_path: Path) -> None:
    """Where documents lie without their key, neither reading nor writing makes a new one."""
    (tmp_path / "key").unlink()
    with pytest.raises(StoreDocumentInvalid):
        await store.read(ORDERS)
    with pytest.raises(StoreDocumentInvalid):
        await store.create(ClusterName("b"), document())
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("length", [0, 5, 12, 40])
async def test_a_cut_off_file_is_named(
    store: LocalCookieStore, tmp_path: Path, length: int
) -> None:
    """A damaged file is an error and never an absent document."""
    path = tmp_path / "clusters" / "orders"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(StoreDocumentInvalid):
        await store.read(ORDERS)


async def test_one_document_cannot_pass_for_another(
    store: LocalCookieStore, tmp_path: Path
) -> None:
    """A file copied to another cluster's place does not open there."""
    (tmp_path / "clusters" / "b").write_bytes((tmp_path / "clusters" / "orders").read_bytes())
    with pytest.raises(StoreDocumentInvalid):
        await store.read(ClusterName("b"))


async def test_a_lock_that_is_held_is_given_up_in_time(
    store: LocalCookieStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that hangs elsewhere makes ours busy by name, while reading goes on."""
    monkeypatch.setattr(files, "_LOCK_TIMEOUT", files.timedelta(seconds=0.05))
    with (tmp_path / "lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy):
            await store.replace(ORDERS, document(2), mark=1)
        assert (await present(store)).document == document()


async def test_first_writers_agree_on_one_key(tmp_path: Path) -> None:
    """Stores that begin at once in one directory all open what the others wrote."""
    names = [ClusterName(f"c{number}") for number in range(10)]
    await asyncio.gather(*(LocalCookieStore(tmp_path).create(name, document()) for name in names))
    for name in names:
        assert (await present(LocalCookieStore(tmp_path), name)).document == document()
