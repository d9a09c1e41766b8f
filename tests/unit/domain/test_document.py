from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.domain import document as documents
from rotator.domain.cookie import Cookie
from rotator.domain.document import ClusterDocument, FactsHead, Stamp, StoredVersion
from rotator.domain.ids import (
    ClusterUid,
    EpochNumber,
    Fence,
    Generation,
    RotationId,
    VersionNumber,
)
from rotator.domain.version import Origin
from rotator.errors import InvariantViolated, StoreDocumentInvalid

CANARY = "CanaryCookie7f3a9b"
UID = ClusterUid("000102030405060708090a0b0c0d0e0f")


def version(number: int, text: str = "") -> StoredVersion:
    """A derived version with a cookie of its own."""
    return StoredVersion(
        number=VersionNumber(number),
        cookie=Cookie(text or f"cookie{number}"),
        epoch=EpochNumber(1),
        origin=Origin.DERIVED,
    )


def stamp(generation: int = 1) -> Stamp:
    """What one writer carries."""
    return Stamp(
        fence=Fence(7),
        generation=Generation(generation),
        facts_head=FactsHead(seq=generation, hash="ab" * 32),
        rotation=RotationId("r-1"),
    )


def document(
    current: int, *, previous: int | None = None, pending: int | None = None, last: int = 0
) -> ClusterDocument:
    """A document with versions of these numbers in these slots."""
    present = [number for number in (current, previous, pending) if number is not None]
    return ClusterDocument(
        cluster_uid=UID,
        last_version=VersionNumber(max(last, *present)),
        fingerprint_key=bytes(range(32)),
        stamp=stamp(),
        current=version(current),
        previous=None if previous is None else version(previous),
        pending=None if pending is None else version(pending),
    )


def stored() -> dict[str, Any]:
    """A document with all three slots filled, as it is stored."""
    return documents.to_json(document(2, previous=1, pending=3))


versions = st.builds(
    StoredVersion,
    number=st.just(VersionNumber(1)),
    cookie=st.from_regex(r"[!-~]{1,255}", fullmatch=True).map(Cookie),
    epoch=st.none() | st.integers(1, 2**31).map(EpochNumber),
    origin=st.sampled_from(Origin),
)
whole = st.integers(0, 2**53)
stamps = st.builds(
    Stamp,
    fence=whole.map(Fence),
    generation=whole.map(Generation),
    facts_head=st.builds(FactsHead, seq=whole, hash=st.text()),
    rotation=st.none() | st.text().map(RotationId),
)


@st.composite
def any_documents(draw: st.DrawFn) -> ClusterDocument:
    """Every document that this program could have written."""
    order = draw(st.permutations([1, 2, 3]))
    slots = [
        StoredVersion(number=VersionNumber(n), cookie=v.cookie, epoch=v.epoch, origin=v.origin)
        for n, v in zip(order, draw(st.tuples(versions, versions, versions)), strict=True)
    ]
    return ClusterDocument(
        cluster_uid=ClusterUid(draw(st.binary(min_size=16, max_size=16)).hex()),
        last_version=VersionNumber(draw(st.integers(3, 2**53))),
        fingerprint_key=draw(st.binary(min_size=32, max_size=32)),
        stamp=draw(stamps),
        current=slots[0],
        previous=draw(st.sampled_from([None, slots[1]])),
        pending=draw(st.sampled_from([None, slots[2]])),
    )


@given(any_documents())
def test_a_document_survives_the_store(value: ClusterDocument) -> None:
    """Through JSON text and back, nothing of a document is lost or changed."""
    assert documents.from_json(json.loads(json.dumps(documents.to_json(value)))) == value


def test_the_stored_form_never_changes() -> None:
    """A document written by the first release is read by every later one."""
    head = {"seq": 1, "hash": "ab" * 32}
    written = {"epoch": 1, "origin": "derived"}
    assert stored() == {
        "schema": 1,
        "cluster_uid": UID,
        "generation": 1,
        "last_version": 3,
        "fence": 7,
        "rotation": "r-1",
        "fingerprint_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "facts_head": head,
        "current": {"number": 2, "cookie": "cookie2", **written},
        "previous": {"number": 1, "cookie": "cookie1", **written},
        "pending": {"number": 3, "cookie": "cookie3", **written},
    }


@pytest.mark.parametrize("name", sorted(stored()))
@pytest.mark.parametrize("value", [True, -1, 1.5, CANARY + " ", [CANARY], {CANARY: CANARY}, ...])
def test_a_damaged_document_is_refused_without_repeating_it(name: str, value: object) -> None:
    """Whatever field is missing or wrong, the error holds nothing of what was read."""
    raw = stored()
    raw[name] = value
    if value is ...:
        del raw[name]
    if name == "rotation" and isinstance(value, str):
        raw[name] = 1

    with pytest.raises(StoreDocumentInvalid) as caught:
        documents.from_json(raw)

    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.parametrize("slot", ["current", "previous", "pending"])
@pytest.mark.parametrize("name", ["number", "epoch"])
@pytest.mark.parametrize("absurd", [2**53 + 1, 2**63, 10**400])
def test_an_absurd_number_is_refused_on_reading(slot: str, name: str, absurd: int) -> None:
    """No number gets in that a database, or another reader of JSON, would not hold."""
    raw = stored()
    raw[slot][name] = absurd
    raw["last_version"] = 2**53
    with pytest.raises(StoreDocumentInvalid, match=f"'{name}'"):
        documents.from_json(raw)


@pytest.mark.parametrize("name", ["last_version", "fence", "generation"])
def test_an_absurd_count_is_refused_on_reading(name: str) -> None:
    """The largest that is read is one that every reader of JSON still counts exactly."""
    documents.from_json(stored() | {name: 2**53})
    with pytest.raises(StoreDocumentInvalid, match=f"'{name}'"):
        documents.from_json(stored() | {name: 2**53 + 1})


@pytest.mark.parametrize("name", ["number", "cookie", "epoch", "origin"])
@pytest.mark.parametrize("value", [True, 0, -1, 2**64, CANARY + " ", [CANARY, "b"], ...])
def test_a_damaged_version_is_refused_without_repeating_it(name: str, value: object) -> None:
    """A cookie in the wrong place, or a list of letters for one, is not read and not shown."""
    raw = stored()
    raw["previous"][name] = value
    if value is ...:
        del raw["previous"][name]

    with pytest.raises(StoreDocumentInvalid) as caught:
        documents.from_json(raw)

    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"schema": 2}, "schema"),
        ({"current": None}, "no current"),
        ({"cluster_uid": "AB" * 16}, "cluster_uid"),
        ({"cluster_uid": "00 " * 16}, "cluster_uid"),
        ({"cluster_uid": "00" * 15}, "cluster_uid"),
        ({"fingerprint_key": "AAAA"}, "fingerprint key"),
        ({"last_version": 2}, "last_version"),
        ({"last_version": 2**53 + 1}, "last_version"),
        ({"last_version": 2**64}, "last_version"),
        ({"facts_head": {"seq": 1, "hash": 5}}, "hash"),
        ({"rotation": 5}, "rotation"),
        ({"pending": stored()["previous"]}, "twice"),
    ],
)
def test_a_contradicting_document_is_refused_with_the_reason(
    changed: dict[str, Any], reason: str
) -> None:
    """What no release writes was written by hand, and is named."""
    with pytest.raises(StoreDocumentInvalid, match=reason):
        documents.from_json({**stored(), **changed})


@pytest.mark.parametrize("raw", [None, [], "text", 1, {}])
def test_what_is_no_document_is_refused(raw: Any) -> None:
    """Another shape is an invalid document, not a crash."""
    with pytest.raises(StoreDocumentInvalid):
        documents.from_json(raw)


def test_showing_a_document_shows_no_secret() -> None:
    """Its repr holds neither a cookie nor the fingerprint key."""
    shown = repr(document(2, previous=1, pending=3))

    assert "cookie2" not in shown
    assert "fingerprint_key" not in shown


def test_a_version_is_found_by_its_number_whatever_its_slot() -> None:
    """Readers ask for a number, so a move between slots does not mislead them."""
    three = document(2, previous=1, pending=3)

    assert {three.find(VersionNumber(n)) for n in (1, 2, 3)} == set(three.versions())
    assert three.find(VersionNumber(4)) is None
    assert set(document(2).versions()) == {version(2)}


def test_fingerprints_are_by_number_and_under_the_clusters_key() -> None:
    """Each version present has the fingerprint of its own cookie."""
    two = document(2, previous=1)

    assert two.fingerprints() == {
        n: Cookie(f"cookie{n}").fingerprint(bytes(range(32)), UID) for n in (1, 2)
    }


STEPS: dict[str, tuple[ClusterDocument, Callable[[ClusterDocument, Stamp], ClusterDocument]]] = {
    "K1": (document(1), lambda d, s: documents.staged(d, version(2), s)),
    "K3": (document(2, previous=1), documents.retired),
    "KA": (document(1, pending=2), lambda d, s: documents.discarded(d, VersionNumber(2), s)),
    "KR1": (document(2, previous=1), documents.rolled_back),
    "KE2": (
        document(2, previous=1, pending=3),
        lambda d, s: documents.revoked(d, version(4), s),
    ),
}


@pytest.mark.parametrize("line", STEPS)
def test_repeating_a_write_changes_nothing(line: str) -> None:
    """A retry of a write that had succeeded gives the same document."""
    before, step = STEPS[line]

    once = step(before, stamp(2))

    assert step(once, stamp(2)) == once
    assert step(step(once, stamp(2)), stamp(2)) == once


def test_repeating_a_promotion_is_refused() -> None:
    """K2 without a pending version swaps nothing."""
    once = documents.promoted(document(1, pending=2), stamp(2))

    with pytest.raises(StoreDocumentInvalid, match="pending"):
        documents.promoted(once, stamp(2))


@pytest.mark.parametrize("line", STEPS)
def test_every_write_carries_the_new_stamp_and_keeps_the_identity(line: str) -> None:
    """Fence, generation and head of the facts are those of the writer; uid and key stay."""
    before, step = STEPS[line]

    after = step(before, stamp(9))

    assert after.stamp == stamp(9)
    assert (after.cluster_uid, after.fingerprint_key) == (UID, before.fingerprint_key)
    assert after.last_version >= before.last_version


def test_a_rotation_goes_through_its_slots() -> None:
    """Staged, promoted, retired: what nodes read is right after each write."""
    staged = documents.staged(document(1), version(2), stamp())
    promoted = documents.promoted(staged, stamp())
    retired = documents.retired(promoted, stamp())

    assert (staged.current, staged.pending, staged.last_version) == (version(1), version(2), 2)
    assert (promoted.current, promoted.previous, promoted.pending) == (
        version(2),
        version(1),
        None,
    )
    assert retired.versions() == (version(2),)


def test_an_aborted_number_is_burned() -> None:
    """KA leaves no pending version, and a late K1 does not bring it back."""
    aborted = documents.discarded(document(1, pending=2), VersionNumber(2), stamp())
    assert (aborted.pending, aborted.last_version) == (None, 2)

    with pytest.raises(InvariantViolated):
        documents.staged(aborted, version(2), stamp())


def test_a_number_that_was_never_written_is_burned_too() -> None:
    """An abort before K1 burns the number that the state store had allocated."""
    assert documents.discarded(document(1), VersionNumber(5), stamp()).last_version == 5


def test_a_foreign_pending_version_is_left_alone() -> None:
    """Neither staging nor discarding takes away what somebody else staged."""
    foreign = document(1, pending=2)

    with pytest.raises(StoreDocumentInvalid, match="another version"):
        documents.staged(foreign, version(3), stamp())
    with pytest.raises(StoreDocumentInvalid, match="another version"):
        documents.discarded(foreign, VersionNumber(3), stamp())


def test_a_pending_cookie_is_not_overwritten_by_another_of_its_number() -> None:
    """A version is immutable: an edited cookie is named, not repaired."""
    edited = documents.staged(document(1), version(2, CANARY), stamp())

    with pytest.raises(StoreDocumentInvalid, match="changed") as caught:
        documents.staged(edited, version(2), stamp())
    assert CANARY not in str(caught.value)


def test_a_rollback_swaps_back_once() -> None:
    """The former version is current again, and the rejected one stays readable until retired."""
    rolled_back = documents.rolled_back(document(2, previous=1), stamp())

    assert (rolled_back.current, rolled_back.previous) == (version(1), version(2))
    assert rolled_back.last_version == 2
    assert documents.retired(rolled_back, stamp()).versions() == (version(1),)


def test_there_is_no_rollback_after_retirement() -> None:
    """Without a previous version there is nothing to go back to."""
    with pytest.raises(StoreDocumentInvalid, match="previous"):
        documents.rolled_back(document(2), stamp())


def test_an_emergency_leaves_nothing_but_the_new_version() -> None:
    """Current, previous and pending are revoked in one write."""
    revoked = documents.revoked(document(2, previous=1, pending=3), version(4), stamp())

    assert revoked.versions() == (version(4),)
    assert revoked.last_version == 4


def test_a_new_stamp_changes_no_version() -> None:
    """KL: the document of a recovered state store holds what it held, in another name."""
    before = document(2, previous=1, last=3)
    after = documents.restamped(before, stamp(9))
    assert after.stamp == stamp(9)
    assert (after.versions(), after.last_version) == (before.versions(), 3)
