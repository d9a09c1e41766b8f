"""Labels are moved from anywhere to where they belong, and a document survives its two parts."""

from __future__ import annotations

import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.adapters.secret_stores.aws import labels, layout
from rotator.adapters.secret_stores.aws.labels import CURRENT, PENDING, PREVIOUS, Move
from rotator.domain.document import promoted, revoked, staged
from rotator.errors import StoreDocumentInvalid
from rotator.testing.secret_stores import document, stamp, version

PLACES = st.dictionaries(
    st.sampled_from([PREVIOUS, PENDING, labels.NEXT]), st.sampled_from("abcd")
).flatmap(lambda some: st.sampled_from("abcd").map(lambda one: {**some, CURRENT: one}))


@given(PLACES, PLACES)
def test_from_anywhere_each_label_gets_where_it_belongs(
    found: dict[str, str], wanted: dict[str, str]
) -> None:
    """In at most four moves, each off where the label is by then; AWSCURRENT is never gone."""
    places: labels.Labels = found
    moves = list(labels.missing(found, wanted))
    for move in moves:
        assert places.get(move.label) == move.off
        places = labels.after(places, move)
        assert CURRENT in places
    assert labels.are_settled(places, wanted)
    assert len(moves) <= 3
    assert places.get(labels.NEXT) == found.get(labels.NEXT)
    assert list(labels.missing(places, wanted)) == []


def test_a_revoked_version_loses_previous_before_anything_else_is_done() -> None:
    """AWS itself labels what an emergency revokes; that is taken off with the very next call."""
    found = {CURRENT: "leaked", PREVIOUS: "old", PENDING: "next"}
    assert list(labels.missing(found, {CURRENT: "new"})) == [
        Move(label=CURRENT, off="leaked", to="new"),
        Move(label=PREVIOUS, off="leaked", to=None),
        Move(label=PENDING, off="next", to=None),
    ]


def test_what_is_misplaced_is_said_with_both_places() -> None:
    """An operator needs the version that has the label, and the one that should."""
    said = labels.misplaced({CURRENT: "a"}, {CURRENT: "a", PENDING: "b"})
    assert said == "AWSPENDING is on no version and belongs on b"
    assert labels.misplaced({CURRENT: "a"}, {CURRENT: "b"}) == "AWSCURRENT is on a and belongs on b"


def test_a_document_in_two_parts_comes_back_and_meta_has_no_cookie() -> None:
    """Every field survives; what is not to be handed to nodes has nothing that they could use."""
    full = staged(promoted(staged(document(), version(2), stamp()), stamp()), version(3), stamp())
    parts = layout.written(full, write=17)
    meta = layout.read_meta(parts.meta.text())
    assert meta == parts.meta
    assert layout.assembled(meta, parts.cookies) == full
    assert len(parts.cookies) == 3
    for one in full.versions():
        assert one.cookie.reveal() not in parts.meta.text()
    assert "cookie" not in repr(parts)


def test_the_same_version_has_the_same_id_in_every_document() -> None:
    """A repeat puts the same value under the same token; another cookie is another version."""
    before, after = (
        document(),
        revoked(staged(document(), version(2), stamp()), version(3), stamp()),
    )
    ids = {slot: layout.written(before, write=1).meta.versions[slot] for slot in ("current",)}
    staged_ids = layout.written(staged(before, version(2), stamp()), write=9).meta.versions
    assert staged_ids["current"] == ids["current"]
    other = layout.written(revoked(before, version(3, "d"), stamp()), write=1).meta.versions
    assert other["current"] != layout.written(after, write=1).meta.versions["current"]


@pytest.mark.parametrize(
    "change",
    [
        {"write": 0},
        {"write": True},
        {"write": "1"},
        {"current": {"number": 1, "version": "CANARY"}},
        {"current": "CANARY"},
        {"pending": 3},
    ],
)
def test_a_meta_that_is_not_ours_is_named_and_not_shown(change: dict[str, object]) -> None:
    """Whatever it holds, no part of it is repeated."""
    raw = json.loads(layout.written(document(), write=1).meta.text())
    with pytest.raises(StoreDocumentInvalid) as caught:
        layout.read_meta(json.dumps(raw | change))
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("change", [{"cluster_uid": "f" * 32}, {"number": 2}, {"cookie": ""}])
def test_a_cookie_of_another_cluster_or_number_is_refused(change: dict[str, object]) -> None:
    """A value that was copied from elsewhere is no version of this cluster."""
    parts = layout.written(document(), write=1)
    [(found, text)] = parts.cookies.items()
    with pytest.raises(StoreDocumentInvalid):
        layout.assembled(parts.meta, {found: json.dumps(json.loads(text) | change)})
    with pytest.raises(StoreDocumentInvalid):
        layout.assembled(parts.meta, {found: "[" * 10})
