"""What a server and a worker have in common: the tables, the blobs, the models, the jobs."""

from __future__ import annotations

from dataclasses import dataclass

from mahtai.cases.intake import Intake
from mahtai.db.engine import Database, DatabaseUnavailable
from mahtai.db.migrate import RestoreUnfinished, upgrade
from mahtai.jobs.service import Jobs
from mahtai.models.catalogue import Catalogue
from mahtai.security.at_rest.columns import Columns
from mahtai.security.at_rest.keyring import Keyring, open_keyring
from mahtai.settings import Settings
from mahtai.volumes.store import BlobStore

MARKER = "restoring"
"""File in a data folder while a backup is being restored into it."""

DONE = "restored"
"""What the marker becomes when all is there but the tables' last transaction."""

DAY_S = 86_400.0
"""Where servers share the blobs, a partial file so old is nobody's any more."""


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


def open_tables(settings: Settings, keyring: Keyring | None = None) -> Database:
    """The tables, brought up to date.

    Args:
        keyring: of the data folder, if it has one; opened here if it is not given.

    Raises:
        MahtaiError: they, or the key, cannot be used.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (settings.data_dir / MARKER).exists():
        raise RestoreUnfinished
    keyring = open_keyring(settings) if keyring is None else keyring
    database = Database(settings.database_url, None if keyring is None else Columns(keyring))
    _require_answer(database)
    upgrade(database)
    (settings.data_dir / DONE).unlink(missing_ok=True)
    return database


def _require_answer(database: Database) -> None:
    """Tell whoever starts the server what a shared database has against it; readers are told less."""
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
