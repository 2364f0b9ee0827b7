"""Brings the tables to the form that this version of the program needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from mahtai.db.engine import Database
from mahtai.errors import MahtaiError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0007"
"""Newest revision below ``migrations/versions``; known here so that a start without news need not load Alembic."""

MIGRATIONS_FOLDER = Path(__file__).with_name("migrations")


class NewerDatabase(MahtaiError):
    """The tables were made by a newer version of the program."""

    kind = "newer-database"
    title = "The database is newer than this server"
    status = 500


def upgrade(database: Database) -> None:
    """Run the missing migrations, in one transaction where the database can.

    Raises:
        NewerDatabase: a newer version has been here; nothing was changed.
    """
    revision = current_revision(database)
    if revision == HEAD:
        return
    from alembic import command
    from alembic.util import CommandError

    config = alembic_config()
    with database.connect() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise NewerDatabase(
                f"The database has the form {revision}, which this version of MahtAI does not know.",
                "Install the newer version again, or give this one another data folder with MAHTAI_DATA_DIR.",
            ) from error


def current_revision(database: Database) -> str | None:
    """The revision that the tables have; None for an empty database."""
    with database.read() as session:
        if not inspect(session.connection()).has_table("alembic_version"):
            return None
        return session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def alembic_config() -> Config:
    """Alembic's configuration, made here instead of read from an ini file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER).replace("%", "%%"))
    return config
