"""What the routers call: made by ``mahtai.app``, handed to each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from mahtai.api.rates import Rates
from mahtai.cases.drafts import Drafts
from mahtai.cases.feedback import Feedback
from mahtai.cases.intake import Intake
from mahtai.cases.labels import Labels
from mahtai.cases.leases import Leases
from mahtai.cases.merging import Merging
from mahtai.cases.monai_label.images import Images
from mahtai.cases.next_case import NextCase
from mahtai.cases.reviews import Reviews
from mahtai.cases.scores import Scores
from mahtai.cases.studies import Cases
from mahtai.cases.visibility import Visibility
from mahtai.jobs.service import Jobs
from mahtai.models.catalogue import Catalogue
from mahtai.models.versions import ModelVersions
from mahtai.security.people import People
from mahtai.settings import Settings
from mahtai.training.processes import Trainings
from mahtai.training.trials import Trials

if TYPE_CHECKING:
    from mahtai.security.audit.trail import AuditTrail


@dataclass(frozen=True)
class Services:
    """The services of a running server.

    Attributes:
        people: how requests show who they come from; the services of accounts among them are for the calls that
            manage those, and without use where nobody signs in.
        rates, address_rates: how many requests come, by account and by address.
        audit: the record of who did what; None where none is kept.
        check_database: raises ``DatabaseUnavailable`` when there is no answer.
    """

    settings: Settings
    people: People
    visibility: Visibility
    rates: Rates
    address_rates: Rates
    catalogue: Catalogue
    intake: Intake
    jobs: Jobs
    cases: Cases
    labels: Labels
    images: Images
    merging: Merging
    drafts: Drafts
    leases: Leases
    next_case: NextCase
    reviews: Reviews
    scores: Scores
    feedback: Callable[[], list[Feedback]]
    versions: ModelVersions
    trainings: Trainings
    trials: Trials
    check_database: Callable[[], None]
    audit: AuditTrail | None = None


def services(request: Request) -> Services:
    """The services of the server that a request came to."""
    return cast(Services, request.app.state.services)


Called = Annotated[Services, Depends(services)]
