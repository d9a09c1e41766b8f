"""What every secret store must do: a new backend subclasses both suites and gives the fixtures.

``cookie_store`` and ``master_store`` are the stores; ``readable_cookies`` is an async function
of a cluster's name that returns every cookie which the backend still serves for it, by version
too where a node's rights allow that; ``room`` is how long a text in a document may surely be;
``plant`` is a function that puts a JSON document where a cluster's document lies, going
around the store.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from rotator.domain.cookie import Cookie
from rotator.domain.document import (
    ClusterDocument,
    FactsHead,
    Stamp,
    StoredVersion,
    promoted,
    retired,
    revoked,
    staged,
)
from rotator.domain.ids import (
    ClusterName,
    ClusterUid,
    EpochNumber,
    Fence,
    Generation,
    MasterName,
    RotationId,
    VersionNumber,
)
from rotator.domain.kdf import Argon2id, KdfParameters, Pbkdf2HmacSha512, Scrypt
from rotator.domain.master import MasterSecret
from rotator.domain.version import Origin
from rotator.errors import InputError, StoreConflict, StoreDocumentInvalid
from rotator.ports.master_store import Epoch

if TYPE_CHECKING:
    from rotator.ports.cookie_store import CookieStore, Stored
    from rotator.ports.master_store import MasterStore

    ReadableCookies = Callable[[ClusterName], Awaitable[set[Cookie]]]
    Plant = Callable[[ClusterName, dict[str, Any]], None]

ORDERS = ClusterName("orders")
DEFAULT = MasterName("default")
FIRST = EpochNumber(1)
ODD_NAMES = ["0", "a..b", "a.-_.", "9" * 63, "data", "metadata", "lock"]
BAD_NAMES = ["", ".", "..", "../orders", "a/b", "a\\b", "a\n", "A", "a?version=1", "a%2fb", "a#"]
KDFS: list[KdfParameters] = [
    Argon2id(time=3, memory_kib=65536, lanes=4, profile="rfc9106-low-memory"),
    Pbkdf2HmacSha512(iterations=210_000, profile="owasp"),
    Scrypt(n=2**17, r=8, p=1, profile="owasp"),
]


def version(number: int, letter: str = "c") -> StoredVersion:
    """A version whose cookie tells its number, in full length."""
    return StoredVersion(
        number=VersionNumber(number),
        cookie=Cookie(f"{number}-{letter * 240}"),
        epoch=FIRST,
        origin=Origin.DERIVED,
    )


def stamp(*, generation: int = 1, rotation: str | None = "rotation-1") -> Stamp:
    """What a write carries."""
    return Stamp(
        fence=Fence(7),
        generation=Generation(generation),
        facts_head=FactsHead(seq=118, hash="ab" * 32),
        rotation=None if rotation is None else RotationId(rotation),
    )


def document(number: int = 1) -> ClusterDocument:
    """A cluster's first document."""
    return ClusterDocument(
        cluster_uid=ClusterUid("0123456789abcdef" * 2),
        last_version=VersionNumber(number),
        fingerprint_key=bytes(range(32)),
        stamp=stamp(),
        current=version(number),
    )


def epoch(first_byte: int = 0, kdf: KdfParameters = KDFS[0]) -> Epoch:
    """An epoch whose secret begins with this byte."""
    return Epoch(
        secret=MasterSecret(bytes(range(first_byte, first_byte + 64))),
        salt=bytes(range(16)),
        kdf=kdf,
        opened_for="rotation-1",
    )


async def present(store: CookieStore, cluster: ClusterName = ORDERS) -> Stored:
    """What is there, which must be something."""
    found = await store.read(cluster)
    assert found is not None
    return found


class CookieStoreContract:
    """A cluster's document is created once, replaced by compare-and-set, and leaves nothing."""

    async def test_nothing_is_read_before_the_first_write(self, cookie_store: CookieStore) -> None:
        """A cluster without a document reads as none, which is no error."""
        assert await cookie_store.read(ORDERS) is None
        await cookie_store.check()

    async def test_what_was_created_is_read_back_equal(self, cookie_store: CookieStore) -> None:
        """A document comes back equal, every field of it."""
        await cookie_store.create(ORDERS, document())
        assert (await present(cookie_store)).document == document()

    async def test_three_versions_of_full_length_come_back(self, cookie_store: CookieStore) -> None:
        """The largest document that can be comes back equal."""
        full = staged(
            promoted(staged(document(), version(2), stamp()), stamp()), version(3), stamp()
        )
        await cookie_store.create(ORDERS, full)
        assert (await present(cookie_store)).document == full

    async def test_a_very_long_rotation_id_comes_back(
        self, cookie_store: CookieStore, room: int
    ) -> None:
        """A document as large as the store takes is stored whole or not at all, and here whole."""
        large = retired(document(), stamp(rotation="r" * room))
        await cookie_store.create(ORDERS, large)
        assert (await present(cookie_store)).document == large

    async def test_a_second_create_conflicts(self, cookie_store: CookieStore) -> None:
        """A document that is there is never created over."""
        await cookie_store.create(ORDERS, document(1))
        with pytest.raises(StoreConflict):
            await cookie_store.create(ORDERS, document(2))
        assert (await present(cookie_store)).document == document(1)

    async def test_a_stale_mark_replaces_nothing(self, cookie_store: CookieStore) -> None:
        """Of two writers that read the same state the second is refused and changes nothing."""
        await cookie_store.create(ORDERS, document(1))
        mark = (await present(cookie_store)).mark
        await cookie_store.replace(ORDERS, document(2), mark=mark)
        with pytest.raises(StoreConflict):
            await cookie_store.replace(ORDERS, document(3), mark=mark)
        after = await present(cookie_store)
        assert after.document == document(2)
        assert after.mark != mark

    async def test_nothing_is_replaced_where_nothing_is(self, cookie_store: CookieStore) -> None:
        """A mark of a document that is gone conflicts instead of creating one."""
        with pytest.raises(StoreConflict):
            await cookie_store.replace(ORDERS, document(), mark=3)
        assert await cookie_store.read(ORDERS) is None

    async def test_one_of_twenty_creates_wins(self, cookie_store: CookieStore) -> None:
        """Twenty creates at once leave exactly the document of the one that succeeded."""
        results = await asyncio.gather(
            *(cookie_store.create(ORDERS, document(n)) for n in range(1, 21)),
            return_exceptions=True,
        )
        [winner] = [n for n, result in enumerate(results, start=1) if result is None]
        assert all(isinstance(r, StoreConflict) for r in results if r is not None)
        assert (await present(cookie_store)).document == document(winner)

    async def test_one_of_twenty_replacements_wins(self, cookie_store: CookieStore) -> None:
        """Twenty replacements of one state leave exactly the document of the one that succeeded."""
        await cookie_store.create(ORDERS, document(1))
        mark = (await present(cookie_store)).mark
        results = await asyncio.gather(
            *(cookie_store.replace(ORDERS, document(n), mark=mark) for n in range(2, 22)),
            return_exceptions=True,
        )
        [winner] = [n for n, result in enumerate(results, start=2) if result is None]
        assert all(isinstance(r, StoreConflict) for r in results if r is not None)
        assert (await present(cookie_store)).document == document(winner)

    async def test_no_retired_cookie_can_be_read(
        self, cookie_store: CookieStore, readable_cookies: ReadableCookies
    ) -> None:
        """After each write only the cookies in the document can be read, by version too."""
        await cookie_store.create(ORDERS, document(1))
        changes: tuple[Callable[[ClusterDocument], ClusterDocument], ...] = (
            lambda d: staged(d, version(2), stamp()),
            lambda d: promoted(d, stamp()),
            lambda d: retired(d, stamp()),
            lambda d: revoked(d, version(3), stamp()),
        )
        for change in changes:
            before = await present(cookie_store)
            after = change(before.document)
            await cookie_store.replace(ORDERS, after, mark=before.mark)
            assert await readable_cookies(ORDERS) == {v.cookie for v in after.versions()}

    @pytest.mark.parametrize("name", ODD_NAMES)
    async def test_an_odd_name_is_a_name(self, cookie_store: CookieStore, name: str) -> None:
        """Each legal name has a document of its own."""
        await cookie_store.create(ClusterName(name), document())
        assert (await present(cookie_store, ClusterName(name))).document == document()
        assert await cookie_store.read(ORDERS) is None

    @pytest.mark.parametrize("name", BAD_NAMES)
    async def test_a_name_is_no_path(self, cookie_store: CookieStore, name: str) -> None:
        """A name that is not one plain step is refused for reading and writing alike."""
        with pytest.raises(InputError):
            await cookie_store.read(ClusterName(name))
        with pytest.raises(InputError):
            await cookie_store.create(ClusterName(name), document())

    @pytest.mark.parametrize("foreign", [{}, {"schema": 2}, {"schema": 1, "current": "CANARY"}])
    async def test_a_foreign_document_is_named_and_not_shown(
        self, cookie_store: CookieStore, plant: Plant, foreign: dict[str, Any]
    ) -> None:
        """A document that is not ours is refused, and nothing of it is repeated."""
        plant(ORDERS, {**foreign, "password": "CANARY"})
        with pytest.raises(StoreDocumentInvalid) as caught:
            await cookie_store.read(ORDERS)
        assert "CANARY" not in "".join(traceback.format_exception(caught.value))


class MasterStoreContract:
    """An epoch is written once."""

    async def test_an_unwritten_epoch_reads_as_none(self, master_store: MasterStore) -> None:
        """An epoch that nobody wrote is none, which is no error."""
        assert await master_store.read(DEFAULT, FIRST) is None

    @pytest.mark.parametrize("kdf", KDFS, ids=lambda kdf: type(kdf).__name__)
    async def test_an_epoch_comes_back_with_every_parameter(
        self, master_store: MasterStore, kdf: KdfParameters
    ) -> None:
        """Secret, salt and every number that changes the output come back equal."""
        assert await master_store.create(DEFAULT, FIRST, epoch(kdf=kdf)) == epoch(kdf=kdf)
        assert await master_store.read(DEFAULT, FIRST) == epoch(kdf=kdf)

    async def test_the_first_epoch_stays(self, master_store: MasterStore) -> None:
        """A second create returns the first epoch and changes nothing."""
        await master_store.create(DEFAULT, FIRST, epoch(1))
        assert await master_store.create(DEFAULT, FIRST, epoch(2)) == epoch(1)
        assert await master_store.read(DEFAULT, FIRST) == epoch(1)

    async def test_all_of_ten_creates_return_the_same(self, master_store: MasterStore) -> None:
        """Ten creates at once all return the one epoch that is there."""
        results = await asyncio.gather(
            *(master_store.create(DEFAULT, FIRST, epoch(n)) for n in range(10))
        )
        there = await master_store.read(DEFAULT, FIRST)
        assert all(result == there for result in results)

    async def test_epochs_and_masters_are_apart(self, master_store: MasterStore) -> None:
        """Each epoch of each master is a document of its own."""
        places = [(name, number) for name in ("a", "b-1.x") for number in (1, 2, 11)]
        for first_byte, (name, number) in enumerate(places):
            await master_store.create(MasterName(name), EpochNumber(number), epoch(first_byte))
        for first_byte, (name, number) in enumerate(places):
            found = await master_store.read(MasterName(name), EpochNumber(number))
            assert found == epoch(first_byte)

    @pytest.mark.parametrize("name", BAD_NAMES)
    async def test_a_name_is_no_path(self, master_store: MasterStore, name: str) -> None:
        """A name that is not one plain step is refused."""
        with pytest.raises(InputError):
            await master_store.create(MasterName(name), FIRST, epoch())
