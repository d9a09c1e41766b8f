"""The tables. Instants are text, so that they are equal, and sort alike, in every database."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    Boolean,
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

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)
_NAME: Final = String(64)
_NODE: Final = String(255)
_HASH: Final = String(64)  #: SHA-256 in hex
_INSTANT: Final = String(32)  #: RFC 3339 in UTC with microseconds
_JSON: Final = JSON(none_as_null=True)

clusters: Final = Table(
    "clusters",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("touched", Integer, nullable=False),  #: grows with what changes no revision
    Column("generation", Integer, nullable=False),
    Column("uid", String(32), unique=True),
    Column("is_initialised", Boolean, nullable=False),
    Column("is_declared", Boolean, nullable=False),
    Column("master", _NAME),
    Column("first_epoch", Integer),
    Column("last_writer", _NAME),
    Column("recent_starts", _JSON, nullable=False),
    Column("last_emergency_at", _INSTANT),
    Column("blockers", _JSON, nullable=False),
    Column("facts_seq", Integer, nullable=False),
    Column("facts_hash", _HASH, nullable=False),
    Column("recovered_from", _JSON),
    Column("ahead", _JSON),
)
versions: Final = Table(
    "versions",
    metadata,
    Column("cluster", _NAME, ForeignKey("clusters.name"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("stage", String(16), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("epoch", Integer),
    Column("created_at", _INSTANT, nullable=False),
    Column("fingerprint", String(64)),
)
members: Final = Table(
    "members",
    metadata,
    Column("cluster", _NAME, ForeignKey("clusters.name"), primary_key=True),
    Column("name", _NODE, primary_key=True),
    Column("joined_at", _INSTANT, nullable=False),
    Column("last_seen", _INSTANT, nullable=False),
    Column("is_admitted", Boolean, nullable=False),
    Column("has_left", Boolean, nullable=False),
    Column("is_excused", Boolean, nullable=False),
    Column("attestation", _JSON),
    Column("asked_generation", Integer),
    Column("drift", String(64)),
)
rotations: Final = Table(
    "rotations",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("cluster", _NAME, ForeignKey("clusters.name"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("phase", String(16), nullable=False),
    Column("started_at", _INSTANT, nullable=False),
    Column("finished_at", _INSTANT),
    Column("emergency_id", _NAME, index=True),
    Column("body", _JSON, nullable=False),  #: the whole rotation; the columns are for searching
    Index("ix_rotations_cluster_started_at", "cluster", "started_at"),
    Index(
        "one_unfinished_rotation_per_cluster",
        "cluster",
        unique=True,
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
)
facts: Final = Table(
    "facts",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("chain", _NAME, nullable=False),  #: the cluster; empty: the whole service
    Column("seq", Integer, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("rotation", _NAME, index=True),
    Column("once_key", String(255)),
    Column("body", Text, nullable=False),  #: canonical JSON: what the hash is made of
    Column("hash", _HASH, nullable=False),
    UniqueConstraint("chain", "seq"),
    UniqueConstraint("chain", "once_key"),
    sqlite_autoincrement=True,  # a position is a cursor: it must not come back after a deletion
)
epochs: Final = Table(
    "epochs",
    metadata,
    Column("master", _NAME, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("opened_for", String(255), nullable=False),
    Column("is_open", Boolean, nullable=False),
    UniqueConstraint("master", "opened_for"),
)
tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("digest", _HASH, nullable=False),
    Column("role", String(32), nullable=False),
    Column("clusters", _JSON, nullable=False),
    Column("nodes", String(255), nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", String(255), nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Column("revoked_at", _INSTANT),
    Column("last_used_at", _INSTANT),
)
emergencies: Final = Table(
    "emergencies",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("at", _INSTANT, nullable=False),
    Column("by", String(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("rows", _JSON, nullable=False),
)
idempotency_keys: Final = Table(
    "idempotency_keys",
    metadata,
    Column("principal", String(255), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request_hash", _HASH, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", _INSTANT, nullable=False, index=True),
)
lease: Final = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  #: always 1
    Column("fence", Integer, nullable=False),
)
