"""Brings the tables to the form that this version of the program needs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, MetaData, inspect, text

from mahtai.db.engine import Database
from mahtai.errors import MahtaiError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0011"
"""Newest revision below ``migrations/versions``; known here so that a start without news need not load Alembic."""

MIGRATIONS_FOLDER = Path(__file__).with_name("migrations")

VERSION_TABLE = "alembic_version"

RESTORING = "restoring"
"""Stands for the revision while the tables are filled from a backup, so that no program uses them."""


class NewerDatabase(MahtaiError):
    """The tables were made by a newer version of the program."""

    kind = "newer-database"
    title = "The database is newer than this server"
    status = 500


class RestoreUnfinished(MahtaiError):
    """The data are being restored from a backup, or that was broken off."""

    kind = "restore-unfinished"
    title = "The data are not all there"
    status = 500

    def __init__(self) -> None:
        super().__init__(
            "These data are being restored from a backup, or that was broken off before its end. Nothing was changed.",
            "Run `mahtai restore` again; it begins anew. The backup itself is as it was.",
        )


def upgrade(database: Database) -> None:
    """Run the missing migrations, in one transaction where the database can.

    Raises:
        NewerDatabase: a newer version has been here; nothing was changed.
        RestoreUnfinished: they are being filled from a backup.
    """
    revision = current_revision(database)
    if revision == HEAD:
        return
    if revision == RESTORING:
        raise RestoreUnfinished
    from alembic.util import CommandError

    with database.connect() as connection:
        try:
            _migrate(connection, "head")
        except CommandError as error:
            raise NewerDatabase(
                f"The database has the form {revision}, which this version of MahtAI does not know.",
                "Install the newer version again, or give this one another data folder with MAHTAI_DATA_DIR.",
            ) from error


def make_for_restoring(database: Database, revision: str, tables: Collection[str]) -> None:
    """Make empty tables of a revision, for nobody but who fills them.

    Args:
        tables: names of those that a restoring which was broken off may have left, or that are there and hold nothing;
            they are dropped.
    """
    is_left = current_revision(database) is not None
    with database.connect() as connection:
        if is_left:
            left = MetaData()
            left.reflect(connection, only=lambda name, _: name in {VERSION_TABLE, *tables})
            left.drop_all(connection)
        _migrate(connection, revision)
        connection.execute(text("UPDATE alembic_version SET version_num = :form"), {"form": RESTORING})


def end_restoring(connection: Connection, revision: str) -> None:
    """Bring the tables, which were filled in the form of ``revision``, up to date, for everybody."""
    connection.execute(text("UPDATE alembic_version SET version_num = :form"), {"form": revision})
    _migrate(connection, "head")


def knows(revision: str) -> bool:
    """Whether a revision is among the migrations of this program."""
    from alembic.script import ScriptDirectory

    return any(script.revision == revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions())


def current_revision(database: Database) -> str | None:
    """The revision that the tables have; None for an empty database."""
    with database.read() as session:
        if not inspect(session.connection()).has_table(VERSION_TABLE):
            return None
        return session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _migrate(connection: Connection, revision: str) -> None:
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def table_names(database: Database) -> list[str]:
    """Of all tables that there are, also those of other programs."""
    with database.read() as session:
        return inspect(session.connection()).get_table_names()


def alembic_config() -> Config:
    """Alembic's configuration, made here instead of read from an ini file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER).replace("%", "%%"))
    return config
