"""The first schema. Frozen when it is released: it must not follow `tables`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _string(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "clusters",
        sa.Column("name", _string(64), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("touched", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("uid", _string(32)),
        sa.Column("is_initialised", sa.Boolean(), nullable=False),
        sa.Column("is_declared", sa.Boolean(), nullable=False),
        sa.Column("master", _string(64)),
        sa.Column("first_epoch", sa.BigInteger()),
        sa.Column("last_writer", _string(64)),
        sa.Column("recent_starts", sa.JSON(), nullable=False),
        sa.Column("last_emergency_at", _string(32)),
        sa.Column("last_claim_token", sa.BigInteger(), nullable=False),
        sa.Column("blockers", sa.JSON(), nullable=False),
        sa.Column("schedule", sa.JSON()),
        sa.Column("recovered_from", sa.JSON()),
        sa.Column("ahead", sa.JSON()),
        sa.Column("facts_seq", sa.BigInteger(), nullable=False),
        sa.Column("facts_hash", _string(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_clusters")),
        sa.UniqueConstraint("uid", name=op.f("uq_clusters_uid")),
    )
    op.create_table(
        "emergencies",
        sa.Column("id", _string(64), nullable=False),
        sa.Column("at", _string(32), nullable=False),
        sa.Column("by", _string(255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("rows", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_emergencies")),
    )
    op.create_table(
        "epochs",
        sa.Column("master", _string(64), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("opened_for", _string(255), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("opened_at", _string(32)),
        sa.PrimaryKeyConstraint("master", "number", name=op.f("pk_epochs")),
        sa.UniqueConstraint("master", "opened_for", name=op.f("uq_epochs_master_opened_for")),
    )
    op.create_table(
        "facts",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chain", _string(64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", _string(64), nullable=False),
        sa.Column("rotation", _string(64)),
        sa.Column("once_key", _string(255)),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("hash", _string(64), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_facts")),
        sa.UniqueConstraint("chain", "seq", name=op.f("uq_facts_chain_seq")),
        sa.UniqueConstraint("chain", "once_key", name=op.f("uq_facts_chain_once_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_facts_rotation"), "facts", ["rotation"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("principal", _string(255), nullable=False),
        sa.Column("key", _string(255), nullable=False),
        sa.Column("request_hash", _string(64), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at", _string(32), nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_at"), "idempotency_keys", ["at"], unique=False)
    op.create_table(
        "lease",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("holder", _string(255)),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", _string(64), nullable=False),
        sa.Column("digest", _string(64), nullable=False),
        sa.Column("role", _string(32), nullable=False),
        sa.Column("clusters", sa.JSON(), nullable=False),
        sa.Column("nodes", _string(255), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", _string(32), nullable=False),
        sa.Column("created_by", _string(255), nullable=False),
        sa.Column("expires_at", _string(32), nullable=False),
        sa.Column("revoked_at", _string(32)),
        sa.Column("last_used_at", _string(32)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
    )
    op.create_table(
        "claims",
        sa.Column("cluster", _string(64), nullable=False),
        sa.Column("id", _string(64), nullable=False),
        sa.Column("node", _string(255), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("rotation", _string(64), nullable=False),
        sa.Column("state", _string(16), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("holder", _string(255), nullable=False),
        sa.Column("step", _string(16), nullable=False),
        sa.Column("claimed_at", _string(32), nullable=False),
        sa.Column("expires_at", _string(32), nullable=False),
        sa.Column("restarting_at", _string(32)),
        sa.Column("back_at", _string(32)),
        sa.Column("ended_at", _string(32)),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("links", sa.JSON(), nullable=False),
        sa.Column("up", sa.Integer(), nullable=False),
        sa.Column("is_forgiven", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "id", name=op.f("pk_claims")),
        sa.UniqueConstraint("cluster", "token", name=op.f("uq_claims_cluster_token")),
        sa.ForeignKeyConstraint(["cluster"], ["clusters.name"], name=op.f("fk_claims_cluster")),
    )
    op.create_index(
        "one_open_claim_per_node",
        "claims",
        ["cluster", "node"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "members",
        sa.Column("cluster", _string(64), nullable=False),
        sa.Column("name", _string(255), nullable=False),
        sa.Column("joined_at", _string(32), nullable=False),
        sa.Column("last_seen", _string(32), nullable=False),
        sa.Column("is_admitted", sa.Boolean(), nullable=False),
        sa.Column("has_left", sa.Boolean(), nullable=False),
        sa.Column("is_excused", sa.Boolean(), nullable=False),
        sa.Column("is_shut_out", sa.Boolean(), nullable=False),
        sa.Column("attestation", sa.JSON()),
        sa.Column("asked_generation", sa.BigInteger()),
        sa.Column("drift", _string(64)),
        sa.ForeignKeyConstraint(["cluster"], ["clusters.name"], name=op.f("fk_members_cluster")),
        sa.PrimaryKeyConstraint("cluster", "name", name=op.f("pk_members")),
    )
    op.create_table(
        "rotations",
        sa.Column("id", _string(64), nullable=False),
        sa.Column("cluster", _string(64), nullable=False),
        sa.Column("kind", _string(16), nullable=False),
        sa.Column("phase", _string(16), nullable=False),
        sa.Column("started_at", _string(32), nullable=False),
        sa.Column("finished_at", _string(32)),
        sa.Column("emergency_id", _string(64)),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["cluster"], ["clusters.name"], name=op.f("fk_rotations_cluster")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rotations")),
    )
    op.create_index(
        "ix_rotations_cluster_started_at", "rotations", ["cluster", "started_at"], unique=False
    )
    op.create_index(op.f("ix_rotations_emergency_id"), "rotations", ["emergency_id"], unique=False)
    op.create_index(
        "one_unfinished_rotation_per_cluster",
        "rotations",
        ["cluster"],
        unique=True,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "versions",
        sa.Column("cluster", _string(64), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stage", _string(16), nullable=False),
        sa.Column("origin", _string(16), nullable=False),
        sa.Column("epoch", sa.BigInteger()),
        sa.Column("created_at", _string(32), nullable=False),
        sa.Column("fingerprint", _string(64)),
        sa.ForeignKeyConstraint(["cluster"], ["clusters.name"], name=op.f("fk_versions_cluster")),
        sa.PrimaryKeyConstraint("cluster", "number", name=op.f("pk_versions")),
    )
