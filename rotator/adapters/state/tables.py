"""The tables. What is searched for is a column; the rest of a value is one JSON column."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata: Final = MetaData()
_NAME = String(64)
_INSTANT = String(32)  #: RFC 3339 in UTC with microseconds: sorts as text, equal in every database

clusters: Final = Table(
    "clusters",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("body", JSON, nullable=False),  #: see mapping.cluster_to_json
    Column("blockers", JSON, nullable=False),
    Column("facts_seq", Integer, nullable=False),
    Column("facts_hash", String(64), nullable=False),
)
versions: Final = Table(
    "versions",
    metadata,
    Column("cluster", _NAME, ForeignKey("clusters.name"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("stage", String(16), nullable=False),
    Column("body", JSON, nullable=False),
)
members: Final = Table(
    "members",
    metadata,
    Column("cluster", _NAME, ForeignKey("clusters.name"), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("last_seen", _INSTANT, nullable=False),
    Column("body", JSON, nullable=False),
)
rotations: Final = Table(
    "rotations",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("cluster", _NAME, ForeignKey("clusters.name"), nullable=False, index=True),
    Column("phase", String(16), nullable=False),
    Column("emergency_id", _NAME, index=True),
    Column("finished_at", _INSTANT),
    Column("body", JSON, nullable=False),
)
Index(
    "one_unfinished_rotation_per_cluster",
    rotations.c.cluster,
    unique=True,
    sqlite_where=text("finished_at IS NULL"),
    postgresql_where=text("finished_at IS NULL"),
)
facts: Final = Table(
    "facts",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("chain", _NAME, nullable=False),  #: the cluster; empty: the whole service
    Column("seq", Integer, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("rotation", _NAME, index=True),
    Column("once_key", String(255)),
    Column("body", Text, nullable=False),  #: canonical JSON: what the hash is made of
    Column("hash", String(64), nullable=False),
    UniqueConstraint("chain", "seq"),
    UniqueConstraint("chain", "once_key"),
    sqlite_autoincrement=True,
)
epochs: Final = Table(
    "epochs",
    metadata,
    Column("master", _NAME, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("opened_for", String(255), nullable=False),
    Column("is_open", Integer, nullable=False),
    UniqueConstraint("master", "opened_for"),
)
tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("revoked_at", _INSTANT),
    Column("last_used_at", _INSTANT),
    Column("body", JSON, nullable=False),
)
emergencies: Final = Table(
    "emergencies",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("body", JSON, nullable=False),
)
idempotency_keys: Final = Table(
    "idempotency_keys",
    metadata,
    Column("principal", String(128), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", _INSTANT, nullable=False, index=True),
)
lease: Final = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("fence", Integer, nullable=False),
)
