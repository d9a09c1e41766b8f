"""The first schema. Frozen when it is released: it must not follow `tables`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "clusters",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("touched", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("uid", sa.String(length=32)),
        sa.Column("is_initialised", sa.Boolean(), nullable=False),
        sa.Column("is_declared", sa.Boolean(), nullable=False),
        sa.Column("master", sa.String(length=64)),
        sa.Column("first_epoch", sa.Integer()),
        sa.Column("last_writer", sa.String(length=64)),
        sa.Column("recent_starts", sa.JSON(), nullable=False),
        sa.Column("last_emergency_at", sa.String(length=32)),
        sa.Column("blockers", sa.JSON(), nullable=False),
        sa.Column("schedule", sa.JSON()),
        sa.Column("facts_seq", sa.Integer(), nullable=False),
        sa.Column("facts_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_clusters")),
        sa.UniqueConstraint("uid", name=op.f("uq_clusters_uid")),
    )
    op.create_table(
        "emergencies",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("by", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("rows", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_emergencies")),
    )
    op.create_table(
        "epochs",
        sa.Column("master", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("opened_for", sa.String(length=255), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("opened_at", sa.String(length=32)),
        sa.PrimaryKeyConstraint("master", "number", name=op.f("pk_epochs")),
        sa.UniqueConstraint("master", "opened_for", name=op.f("uq_epochs_master_opened_for")),
    )
    op.create_table(
        "facts",
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("chain", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("rotation", sa.String(length=64)),
        sa.Column("once_key", sa.String(length=255)),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_facts")),
        sa.UniqueConstraint("chain", "seq", name=op.f("uq_facts_chain_seq")),
        sa.UniqueConstraint("chain", "once_key", name=op.f("uq_facts_chain_once_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_facts_rotation"), "facts", ["rotation"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("principal", sa.String(length=255), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_at"), "idempotency_keys", ["at"], unique=False)
    op.create_table(
        "lease",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("clusters", sa.JSON(), nullable=False),
        sa.Column("nodes", sa.String(length=255), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("expires_at", sa.String(length=32), nullable=False),
        sa.Column("revoked_at", sa.String(length=32)),
        sa.Column("last_used_at", sa.String(length=32)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
    )
    op.create_table(
        "members",
        sa.Column("cluster", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("joined_at", sa.String(length=32), nullable=False),
        sa.Column("last_seen", sa.String(length=32), nullable=False),
        sa.Column("is_admitted", sa.Boolean(), nullable=False),
        sa.Column("has_left", sa.Boolean(), nullable=False),
        sa.Column("is_excused", sa.Boolean(), nullable=False),
        sa.Column("attestation", sa.JSON()),
        sa.Column("asked_generation", sa.Integer()),
        sa.Column("drift", sa.String(length=64)),
        sa.ForeignKeyConstraint(["cluster"], ["clusters.name"], name=op.f("fk_members_cluster")),
        sa.PrimaryKeyConstraint("cluster", "name", name=op.f("pk_members")),
    )
    op.create_table(
        "rotations",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("cluster", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.String(length=32), nullable=False),
        sa.Column("finished_at", sa.String(length=32)),
        sa.Column("emergency_id", sa.String(length=64)),
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
        sa.Column("cluster", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("epoch", sa.Integer()),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("fingerprint", sa.String(length=64)),
        sa.ForeignKeyConstraint(["cluster"], ["clusters.name"], name=op.f("fk_versions_cluster")),
        sa.PrimaryKeyConstraint("cluster", "number", name=op.f("pk_versions")),
    )
