"""What is told when a database fails."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from mahtai.errors import MahtaiError
from mahtai.volumes.store import StorageFull

_DISK_FULL = "53100"

_OUT_OF_ORDER = ("08", "53", "55P03", "57P", "58", "25006", "25P03")
"""PostgreSQL's states (their beginnings) of a connection or server that is not fit for work: lost, out of memory or
connections, a lock not had in time, shut down, disk trouble, a replica that cannot be written, a session cut off."""


class DatabaseUnavailable(MahtaiError):
    """The database does not answer or cannot be written."""

    kind = "database"
    title = "The database does not answer"
    status = 503


class DoesNotFit(MahtaiError):
    """A value that the tables have no room for."""

    kind = "does-not-fit"
    title = "A value cannot be stored"
    status = 422


def explain(error: DBAPIError) -> MahtaiError | None:
    """The reader's words for a failure of the machinery; None for a mistake in a statement."""
    message = str(error.orig)
    state = getattr(error.orig, "sqlstate", None) or ""
    kinds = {kind.__name__ for kind in type(error.orig).__mro__}
    if "database or disk is full" in message or state == _DISK_FULL:
        return StorageFull(
            "The server's disk is full, so this could not be saved. What was saved before is untouched.",
            "Free some space on the server's disk, then try again.",
        )
    if error.connection_invalidated or "OperationalError" in kinds or state.startswith(_OUT_OF_ORDER):
        return DatabaseUnavailable(
            "The server's database does not answer at the moment. Nothing was changed.",
            "Try again in a few seconds. If it stays like this, tell the person who runs the server.",
        )
    if "ProgrammingError" in kinds and "connection option" in message:
        return DatabaseUnavailable(
            "The address of the server's database has an option that there is not. Nothing was changed.",
            "Look at what stands behind the question mark in MAHTAI_DATABASE_URL.",
        )
    if "DataError" in kinds:
        return DoesNotFit(
            "A text or number is too long for the server's database. Nothing was changed.",
            "Make it shorter and save again.",
        )
    if type(error.orig).__name__ == "DatabaseError":  # SQLite's word for a file that is none of its own
        return DatabaseUnavailable(
            "The server's database file is damaged. It was not changed.",
            "Restore it from a backup, or give the server another data folder with MAHTAI_DATA_DIR.",
        )
    return None
