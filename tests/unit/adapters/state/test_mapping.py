"""Domain values survive their way through JSON and columns."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.adapters.state import rows, tables
from rotator.adapters.state.chain import canonical, link
from rotator.adapters.state.mapping import from_json, instant_to_text, to_json
from rotator.domain.cluster import (
    Attestation,
    Blocker,
    Cluster,
    Member,
    Proof,
    ReadFrom,
    Standing,
)
from rotator.domain.facts import Fact, FactKind
from rotator.domain.rotation import Kind, Phase, Rotation
from rotator.domain.version import Origin, Stage, Version
from rotator.ports.state_store import EmergencyRow, EpochRow, Receipt, TokenRow
from rotator.testing.state.values import full_cluster, full_rotation

names = st.text(max_size=20)
numbers = st.integers(min_value=0, max_value=2**63 - 1)
instants = st.datetimes(
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
    min_value=datetime(1, 1, 2),
    max_value=datetime(9999, 12, 30),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The value, or None."""
    return st.none() | strategy


def tuples(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A few of them."""
    return st.lists(strategy, max_size=3).map(tuple)


def mappings(keys: Any, values: Any) -> st.SearchStrategy[Any]:
    """A small mapping."""
    return st.dictionaries(keys, values, max_size=3)


attestations = st.builds(
    Attestation,
    generation=numbers,
    at=instants,
    read_from=st.sampled_from(ReadFrom),
    holds=mappings(numbers, names),
    uses=maybe(numbers),
    own=maybe(names),
    file=maybe(names),
    pins=mappings(names, names),
    boot_pins=mappings(names, names),
    refuses=mappings(numbers, st.sampled_from(Proof)),
    accepts=mappings(numbers, st.sampled_from(Proof)),
    locked_round=maybe(numbers),
    foreign_links=tuples(names),
    links=mappings(names, st.booleans()),
    otp_release=names,
    agent=names,
    preflight=tuples(names),
)
members = st.builds(
    Member,
    name=names,
    joined_at=instants,
    last_seen=instants,
    attestation=maybe(attestations),
    is_admitted=st.booleans(),
    has_left=st.booleans(),
    is_excused=st.booleans(),
)
rotations = st.builds(
    Rotation,
    id=names,
    cluster=names,
    kind=st.sampled_from(Kind),
    phase=st.sampled_from(Phase),
    from_version=numbers,
    to_version=numbers,
    epoch=numbers,
    reason=names,
    by=names,
    started_at=instants,
    entered_at=instants,
    entered_generation=numbers,
    ends_at=maybe(instants),
    finished_at=maybe(instants),
    is_held=st.booleans(),
    abort_requested=st.booleans(),
    is_rollback=st.booleans(),
    lock_round=numbers,
    may_have_been_read=tuples(names),
    revokes=tuples(numbers),
    supersedes=maybe(names),
    excludes=tuples(names),
    emergency_id=maybe(names),
)
versions = st.builds(
    Version,
    number=numbers,
    stage=st.sampled_from(Stage),
    origin=st.sampled_from(Origin),
    epoch=maybe(numbers),
    created_at=instants,
    fingerprint=maybe(names),
)
standings = st.builds(
    Standing, blocker=st.builds(Blocker, code=names, subject=names, detail=names), since=instants
)
facts = st.builds(
    Fact,
    kind=st.sampled_from(FactKind),
    at=instants,
    by=names,
    reason=names,
    rotation=maybe(names),
    version=maybe(numbers),
    details=mappings(names, json_values),
)


@given(value=st.one_of(attestations, members, rotations, versions, standings, facts))
def test_each_value_survives_json(value: Any) -> None:
    """Whatever a field holds, the value that was written is the value that is read."""
    assert from_json(type(value), json.loads(json.dumps(to_json(value)))) == value


@given(earlier=instants, later=instants)
def test_instants_sort_as_text(earlier: datetime, later: datetime) -> None:
    """Text order is time order, whatever the time zones were."""
    assert (earlier < later) == (instant_to_text(earlier) < instant_to_text(later))


@given(fact=facts)
def test_a_fact_is_hashed_as_one_and_the_same_text(fact: Fact) -> None:
    """What is read and written again has the same hash, so a chain can be verified elsewhere."""
    text = canonical(fact, chain="orders", seq=1)
    again = from_json(Fact, json.loads(text))
    assert canonical(again, chain="orders", seq=1) == text
    assert text.isascii()


def test_the_chain_can_be_verified_by_hand() -> None:
    """A link is SHA-256 over the link before, a line feed, and the text: a published recipe."""
    fact = Fact(kind=FactKind.EPOCH_OPENED, at=datetime(2026, 11, 23, tzinfo=UTC), by="local")
    text = canonical(fact, chain="orders", seq=1)
    assert text == (
        '{"at":"2026-11-23T00:00:00.000000+00:00","by":"local","chain":"orders","details":{},'
        '"kind":"EpochOpened","reason":"","rotation":null,"seq":1,"version":null}'
    )
    # printf '%064d\n%s' 0 "$text" | sha256sum
    expected = "ada831bf4a5cfeecfa6ce2e2b7c90c324ff1411c2752d00ab29e8c0a3124e53a"
    assert link("0" * 64, text) == expected


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (Version, tables.versions),
        (Member, tables.members),
        (TokenRow, tables.tokens),
        (EmergencyRow, tables.emergencies),
        (EpochRow, tables.epochs),
        (Receipt, tables.idempotency_keys),
    ],
)
def test_each_field_has_its_column(kind: Any, table: Any) -> None:
    """A field that is added to a value must get a column, or it would not be stored."""
    columns = {column.name for column in table.columns} - {"cluster"}
    assert columns == {field.name for field in fields(kind)}


def test_each_field_of_a_cluster_has_its_column() -> None:
    """What is not in a table of its own is a column of the cluster's row."""
    head = {"revision", "touched", "facts_seq", "facts_hash"}
    columns = {column.name for column in tables.clusters.columns}
    assert columns - head == set(rows.cluster_columns(Cluster(name="orders")))  # type: ignore[arg-type]


def test_the_contract_writes_every_field() -> None:
    """The suite's full values leave no field at its default, so that a new one is noticed."""
    full = full_cluster(Cluster(name="orders"))  # type: ignore[arg-type]
    plain = Cluster(name="orders")  # type: ignore[arg-type]
    same = {f.name for f in fields(full) if getattr(full, f.name) == getattr(plain, f.name)}
    assert same == {"name", "revision", "facts_head"}
    rotation, defaults = full_rotation(), {f.name: f.default for f in fields(Rotation)}
    kept = {name for name, default in defaults.items() if getattr(rotation, name) == default}
    assert kept == {"finished_at"}
