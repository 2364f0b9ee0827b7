"""What the routers call: made by ``mahtai.app``, handed to each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

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
from mahtai.jobs.service import Jobs
from mahtai.models.catalogue import Catalogue
from mahtai.models.versions import ModelVersions
from mahtai.settings import Settings
from mahtai.training.processes import Trainings
from mahtai.training.trials import Trials


@dataclass(frozen=True)
class Services:
    """The services of a running server.

    Attributes:
        check_database: raises ``DatabaseUnavailable`` when there is no answer.
    """

    settings: Settings
    token: str
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


def services(request: Request) -> Services:
    """The services of the server that a request came to."""
    return cast(Services, request.app.state.services)


Called = Annotated[Services, Depends(services)]
