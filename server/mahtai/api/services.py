"""What the routers call: made by ``mahtai.app``, handed to each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from mahtai.cases.intake import Intake
from mahtai.cases.labels import Labels
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
    check_database: Callable[[], None]


def services(request: Request) -> Services:
    """The services of the server that a request came to."""
    return cast(Services, request.app.state.services)


Called = Annotated[Services, Depends(services)]
