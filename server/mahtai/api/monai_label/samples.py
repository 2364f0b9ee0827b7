"""The next image to label, from the same work list that everybody uses."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from mahtai.api.acting import Acting
from mahtai.api.gate import MONAI_LABEL
from mahtai.api.monai_label.datastore import sample_of
from mahtai.api.monai_label.people import person_of
from mahtai.api.services import Called
from mahtai.cases.monai_label import description
from mahtai.cases.strategies import UnknownStrategy

router = APIRouter(prefix=f"{MONAI_LABEL}/activelearning")


@router.post("/{strategy}")
def next_sample(
    strategy: str, services: Called, acting: Acting, params: Annotated[dict[str, Any] | None, Body()] = None
) -> dict[str, Any]:
    """An image that is held for this client for some minutes, so that nobody else gets it; ``{}`` if none is left."""
    if strategy not in description.STRATEGIES:
        raise UnknownStrategy(
            f"There is no strategy {strategy[:50]!r}.", f"There are: {', '.join(description.STRATEGIES)}."
        )
    person = person_of(params or {}, acting)
    wanted = description.STRATEGIES[strategy].id
    for task in description.tasks(services.catalogue):
        offer = services.next_case.offer(person, wanted, task=task)
        if offer is not None:
            return {**sample_of(services, services.images.shown(offer.case).id, person), "why": offer.why}
    return {}
