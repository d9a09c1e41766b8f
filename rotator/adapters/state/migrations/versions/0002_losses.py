"""What a cluster knows of losses: the document it was recovered from, nodes that know more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add two columns, empty for every cluster that there is."""
    op.add_column("clusters", sa.Column("recovered_from", sa.JSON()))
    op.add_column("clusters", sa.Column("ahead", sa.JSON()))
