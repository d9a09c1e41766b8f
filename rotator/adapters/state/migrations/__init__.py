"""Alembic migrations, run by the program itself when it opens a database."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config


def upgrade(database: Path) -> None:
    """Bring the SQLite file to the newest schema, in one transaction. Repeating it is harmless."""
    config = Config()
    # A per cent sign would be taken for the start of a substitution.
    place = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", place)
    config.set_main_option("path_separator", "newline")
    config.attributes["database"] = database
    command.upgrade(config, "head")
