"""Opens the services of a server, over what it has in common with a worker."""

from __future__ import annotations

from collections.abc import Callable

from mahtai.api.rates import Rates
from mahtai.api.services import Services
from mahtai.cases.drafts import Drafts
from mahtai.cases.feedback import feedback
from mahtai.cases.labels import Labels
from mahtai.cases.leases import Leases
from mahtai.cases.merging import Merging
from mahtai.cases.monai_label.images import Images
from mahtai.cases.next_case import NextCase
from mahtai.cases.patients import Patients
from mahtai.cases.reviews import Reviews
from mahtai.cases.scores import MOST_AT_ONCE, Scores
from mahtai.cases.studies import Cases
from mahtai.cases.visibility import Visibility
from mahtai.foundation import open_foundation
from mahtai.gone import require_patients_key
from mahtai.jobs.orders import OrderDesk
from mahtai.models.versions import ModelVersions
from mahtai.security.at_rest.secret_file import load_or_create
from mahtai.security.audit.lifetime import close_record, open_record
from mahtai.security.people import SESSION_KEY, open_people
from mahtai.settings import Settings
from mahtai.training.processes import Trainings
from mahtai.training.trials import Trials

ADDRESSES_SHARE = 10
"""Accounts whose requests may come from one address, as from a ward behind a router."""


def open_services(settings: Settings) -> tuple[Services, Callable[[], None]]:
    """Open the databases, bring them up to date, take up unfinished jobs; the data folder must be held.

    Returns:
        the services, and what closes them.

    Raises:
        MahtaiError: the token, the database or the disk cannot be used.
    """
    base = open_foundation(settings)
    require_patients_key(settings, base.database)
    database, store, intake = base.database, base.store, base.intake
    people = open_people(settings, database, load_or_create(settings.secrets_dir / SESSION_KEY, base.keyring))
    record = open_record(settings, database, base.keyring)
    labels = Labels(database, store)
    cases = Cases(database, intake, Patients(store, settings.data_dir))
    leases = Leases(database, settings.lease_s)
    desk = OrderDesk(database, store, base.catalogue)
    at_once = min(MOST_AT_ONCE, max(1, settings.jobs_per_user // 2))  # the rest of their share is for what they read
    scores = Scores(database, store, base.catalogue, base.jobs, cases, desk, at_once)
    trainings = Trainings(settings, base.catalogue)
    trials = Trials(database, store, base.catalogue, base.jobs.submit_unattended)
    services = Services(
        settings=settings,
        people=people,
        visibility=Visibility(database),
        rates=Rates(settings.requests_per_s),
        address_rates=Rates(ADDRESSES_SHARE * settings.requests_per_s),
        catalogue=base.catalogue,
        intake=intake,
        jobs=base.jobs,
        cases=cases,
        labels=labels,
        images=Images(database, cases, intake),
        merging=Merging(labels, intake),
        drafts=Drafts(database),
        leases=leases,
        next_case=NextCase(database, leases, scores.rank),
        scores=scores,
        reviews=Reviews(database, settings.second_reader),
        feedback=lambda: feedback(database),
        versions=ModelVersions(base.catalogue, settings.versions_dir),
        trainings=trainings,
        trials=trials,
        check_database=database.check,
        audit=record,
    )
    trials.start()

    def close() -> None:
        trials.stop()
        trainings.stop()
        close_record(record)
        base.close()

    return services, close
