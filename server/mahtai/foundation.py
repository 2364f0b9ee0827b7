"""What a server and a worker have in common: the tables, the blobs, the models, the jobs."""

from __future__ import annotations

from dataclasses import dataclass

from mahtai.cases.intake import Intake
from mahtai.db.engine import Database, DatabaseUnavailable
from mahtai.db.migrate import upgrade
from mahtai.jobs.service import Jobs
from mahtai.models.catalogue import Catalogue
from mahtai.settings import Settings
from mahtai.volumes.store import BlobStore

DAY_S = 86_400.0
"""Where servers share the blobs, a partial file so old is nobody's any more."""


@dataclass(frozen=True)
class Foundation:
    """Opened, and brought up to date."""

    database: Database
    store: BlobStore
    catalogue: Catalogue
    intake: Intake
    jobs: Jobs

    def close(self) -> None:
        """End the engine, leave unfinished jobs to the next start or the other servers, let go of the tables."""
        self.jobs.stop()
        self.database.close()


def open_foundation(settings: Settings) -> Foundation:
    """Open the tables, bring them up to date, take up unfinished jobs; the data folder must be held.

    Raises:
        MahtaiError: the database or the disk cannot be used.
    """
    database = Database(settings.database_url)
    _require_answer(database)
    upgrade(database)
    store = BlobStore(settings.blobs_dir)
    store.sweep_partials(0.0 if settings.is_sqlite else DAY_S)
    catalogue = Catalogue(settings.models_path, settings.versions_dir)
    intake = Intake(settings, database, store)
    jobs = Jobs(settings, database, store, intake, catalogue)
    jobs.start()
    return Foundation(database, store, catalogue, intake, jobs)


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
