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
from mahtai.cases.studies import Cases
from mahtai.jobs.service import Jobs
from mahtai.models.catalogue import Catalogue
from mahtai.settings import Settings


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
    feedback: Callable[[], list[Feedback]]
    check_database: Callable[[], None]


def services(request: Request) -> Services:
    """The services of the server that a request came to."""
    return cast(Services, request.app.state.services)


Called = Annotated[Services, Depends(services)]
