"""The tables. Instants are text, so that they are equal, and sort alike, in every database."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
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
from sqlalchemy.types import TypeEngine

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _string(length: int) -> TypeEngine[str]:
    """Text that sorts by code points in every database."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


_NAME: Final = _string(64)
_NODE: Final = _string(255)
_HASH: Final = _string(64)  #: SHA-256 in hex
_INSTANT: Final = _string(32)  #: RFC 3339 in UTC with microseconds
_JSON: Final = JSON(none_as_null=True)
#: SQLite gives numbers by itself only to what it calls an INTEGER.
_POSITION: Final = BigInteger().with_variant(Integer(), "sqlite")

clusters: Final = Table(
    "clusters",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("touched", BigInteger, nullable=False),  #: grows with what changes no revision
    Column("generation", BigInteger, nullable=False),
    Column("uid", _string(32), unique=True),
    Column("is_initialised", Boolean, nullable=False),
    Column("is_declared", Boolean, nullable=False),
    Column("master", _NAME),
    Column("first_epoch", BigInteger),
    Column("last_writer", _NAME),
    Column("recent_starts", _JSON, nullable=False),
    Column("last_emergency_at", _INSTANT),
    Column("last_claim_token", BigInteger, nullable=False),
    Column("blockers", _JSON, nullable=False),
    Column("schedule", _JSON),
    Column("recovered_from", _JSON),
    Column("ahead", _JSON),
    Column("facts_seq", BigInteger, nullable=False),
    Column("facts_hash", _HASH, nullable=False),
)
versions: Final = Table(
    "versions",
    metadata,
    Column("cluster", _NAME, ForeignKey("clusters.name"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("stage", _string(16), nullable=False),
    Column("origin", _string(16), nullable=False),
    Column("epoch", BigInteger),
    Column("created_at", _INSTANT, nullable=False),
    Column("fingerprint", _string(64)),
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
    Column("is_shut_out", Boolean, nullable=False),
    Column("attestation", _JSON),
    Column("asked_generation", BigInteger),
    Column("drift", _string(64)),
)
claims: Final = Table(
    "claims",
    metadata,
    Column("cluster", _NAME, ForeignKey("clusters.name"), primary_key=True),
    Column("id", _NAME, primary_key=True),
    Column("node", _NODE, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("rotation", _NAME, nullable=False),
    Column("state", _string(16), nullable=False),
    Column("token", BigInteger, nullable=False),  #: fencing token
    Column("holder", _string(255), nullable=False),
    Column("step", _string(16), nullable=False),
    Column("claimed_at", _INSTANT, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Column("restarting_at", _INSTANT),
    Column("back_at", _INSTANT),
    Column("ended_at", _INSTANT),
    Column("detail", Text, nullable=False),
    Column("links", _JSON, nullable=False),
    Column("up", Integer, nullable=False),
    Column("is_forgiven", Boolean, nullable=False),
    UniqueConstraint("cluster", "token"),
    Index(
        "one_open_claim_per_node",
        "cluster",
        "node",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)
rotations: Final = Table(
    "rotations",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("cluster", _NAME, ForeignKey("clusters.name"), nullable=False),
    Column("kind", _string(16), nullable=False),
    Column("phase", _string(16), nullable=False),
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
    Column("position", _POSITION, primary_key=True),
    Column("chain", _NAME, nullable=False),  #: the cluster; empty: the whole service
    Column("seq", BigInteger, nullable=False),
    Column("kind", _string(64), nullable=False),
    Column("rotation", _NAME, index=True),
    Column("once_key", _string(255)),
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
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("opened_for", _string(255), nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("opened_at", _INSTANT),
    UniqueConstraint("master", "opened_for"),
)
tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("digest", _HASH, nullable=False),
    Column("role", _string(32), nullable=False),
    Column("clusters", _JSON, nullable=False),
    Column("nodes", _string(255), nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", _string(255), nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Column("revoked_at", _INSTANT),
    Column("last_used_at", _INSTANT),
)
emergencies: Final = Table(
    "emergencies",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("at", _INSTANT, nullable=False),
    Column("by", _string(255), nullable=False),
    Column("reason", Text, nullable=False),
    Column("rows", _JSON, nullable=False),
)
idempotency_keys: Final = Table(
    "idempotency_keys",
    metadata,
    Column("principal", _string(255), primary_key=True),
    Column("key", _string(255), primary_key=True),
    Column("request_hash", _HASH, nullable=False),
    Column("status", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", _INSTANT, nullable=False, index=True),
)
lease: Final = Table(
    "lease",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  #: always 1
    Column("fence", BigInteger, nullable=False),
    # Where replicas share the database; both empty when nobody holds it.
    Column("holder", _string(255)),
    Column("expires_at", DateTime(timezone=True)),  #: by the database's clock
)
