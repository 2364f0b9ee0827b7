"""What a server and a worker have in common: the tables, the blobs, the models, the jobs."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from mahtai.cases.intake import Intake
from mahtai.db.engine import Database, DatabaseUnavailable, sqlite_file
from mahtai.db.migrate import HEAD, RESTORING, RestoreUnfinished, current_revision, upgrade
from mahtai.errors import MahtaiError
from mahtai.gone import require_tables
from mahtai.jobs.service import Jobs
from mahtai.models.catalogue import Catalogue
from mahtai.security.at_rest.columns import Columns
from mahtai.security.at_rest.keyring import Keyring, open_existing_keyring, open_keyring
from mahtai.settings import Settings
from mahtai.volumes.store import BlobStore

MARKER = "restoring"
"""File in a data folder while a backup is being restored into it."""

DONE = "restored"
"""What the marker becomes when all is there but the tables' last transaction."""

DAY_S = 86_400.0
"""Where servers share the blobs, a partial file so old is nobody's any more."""


class NoData(MahtaiError):
    """Nothing of a server is where a command looks for it."""

    kind = "no-data"
    title = "There are no data here"
    status = 404


@dataclass(frozen=True)
class Foundation:
    """Opened, and brought up to date; ``keyring`` is None where nothing is encrypted."""

    keyring: Keyring | None
    database: Database
    store: BlobStore
    catalogue: Catalogue
    intake: Intake
    jobs: Jobs

    def close(self) -> None:
        """End the engine, leave unfinished jobs to the next start or the other servers, let go of the tables."""
        self.jobs.stop()
        self.database.close()
        if self.keyring is not None:
            self.keyring.close()


def open_foundation(settings: Settings) -> Foundation:
    """Open the tables, bring them up to date, take up unfinished jobs; the data folder must be held.

    Raises:
        MahtaiError: the key, the database or the disk cannot be used.
    """
    keyring = open_keyring(settings)
    if keyring is not None:
        keyring.watch()
    database = open_tables(settings, keyring)
    store = BlobStore(settings.blobs_dir, keyring)
    store.sweep_partials(0.0 if settings.is_sqlite else DAY_S)
    catalogue = Catalogue(settings.models_path, settings.versions_dir)
    intake = Intake(settings, database, store)
    jobs = Jobs(settings, database, store, intake, catalogue)
    jobs.start()
    return Foundation(keyring, database, store, catalogue, intake, jobs)


def open_tables(settings: Settings, keyring: Keyring | None) -> Database:
    """The tables, brought up to date.

    Args:
        keyring: of the data folder; None where nothing is encrypted.

    Raises:
        MahtaiError: they cannot be used.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (settings.data_dir / MARKER).exists():
        raise RestoreUnfinished
    file = sqlite_file(settings.database_url)
    if file is not None and not file.is_file():  # asking the database would make it
        require_tables(settings)
    database = Database(settings.database_url, None if keyring is None else Columns(keyring))
    try:
        require_answer(database)
        if current_revision(database) is None:
            require_tables(settings)
        upgrade(database)
    except BaseException:
        database.close()
        raise
    (settings.data_dir / DONE).unlink(missing_ok=True)
    return database


def open_to_read(settings: Settings) -> tuple[Keyring | None, Database]:
    """The key and the tables for a command that only reads: neither is made where there is none.

    Raises:
        NoData: no server has been here, or one of another version; nothing was made.
        MahtaiError: they cannot be used.
    """
    revision = require_data(settings)
    if revision == RESTORING or (settings.data_dir / MARKER).exists():
        raise RestoreUnfinished
    if revision != HEAD:
        raise NoData(
            f"The tables have the form {revision}; this version of MahtAI reads the form {HEAD}. Nothing was changed.",
            "Use the version that the server has, or start this version's server once.",
        )
    keyring = open_existing_keyring(settings)
    return keyring, Database(settings.database_url, None if keyring is None else Columns(keyring))


def require_data(settings: Settings) -> str:
    """Make sure that a server has been here, so that a mistyped folder is told and not filled.

    Returns:
        the revision of the tables.

    Raises:
        NoData: none has; nothing was made.
        DatabaseUnavailable: the database does not answer.
    """
    file = sqlite_file(settings.database_url)
    if settings.data_dir.is_dir() and (file is None or file.is_file()):
        with closing(Database(settings.database_url)) as database:
            require_answer(database)
            revision = current_revision(database)
        if revision is not None:
            return revision
    where = "" if settings.is_sqlite else ", or in the database that MAHTAI_DATABASE_URL names"
    raise NoData(
        f"There are no MahtAI data in {settings.data_dir}{where}. Nothing was made.",
        "Set MAHTAI_DATA_DIR and MAHTAI_DATABASE_URL as the server has them.",
    )


def require_answer(database: Database) -> None:
    """Tell whoever starts the server, or a command, what a shared database has against it; readers are told less.

    Raises:
        DatabaseUnavailable: it does not answer.
    """
    if database.is_sqlite:
        return
    try:
        database.check()
    except DatabaseUnavailable as error:
        said = str(getattr(error.__cause__, "orig", "")).strip().splitlines() or ["no answer"]
        raise DatabaseUnavailable(
            f"The database cannot be used: {said[0][:300]}",
            "Check MAHTAI_DATABASE_URL, that the database exists, runs, and lets this user in.",
        ) from error
