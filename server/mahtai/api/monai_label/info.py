"""What the server is: models, strategies, no log-in of its own, no training by this protocol."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from mahtai.api.acting import Acting
from mahtai.api.gate import MONAI_LABEL
from mahtai.api.services import Called
from mahtai.cases.monai_label import description
from mahtai.errors import MahtaiError

router = APIRouter(prefix=MONAI_LABEL)


class NotByThisProtocol(MahtaiError):
    """Something that clients of MONAI Label may ask for and cannot have here."""

    kind = "not-by-this-protocol"
    title = "Not possible by the protocol of MONAI Label"
    status = 422


class NoTraining(NotByThisProtocol):
    """Nothing is trained by this protocol, so nothing of it runs."""

    title = "No training is under way"
    status = 404


@router.get("/auth/")
def auth() -> dict[str, bool]:
    """Clients ask before every call; the token stands in the address instead."""
    return {"enabled": False}


@router.get("/info/")
def info(services: Called, acting: Acting) -> dict[str, Any]:
    """Models, strategies, and how many images there are."""
    return description.info(services.catalogue, services.images.all(acting))


@router.get("/train/")
def training() -> None:
    """Clients take 404 for: nothing is being trained."""
    raise NoTraining("Nothing is being trained by this protocol.", "See GET /v1/trainings.")


@router.post("/train/")
@router.post("/train/{model}")
@router.delete("/train/")
def train() -> None:
    """Models learn elsewhere, where no test patient gets in."""
    raise NotByThisProtocol(
        "Models are not trained by this protocol: the split of the patients and the test before a model is used "
        "would be passed by. Nothing was changed.",
        "On the server: mahtai train --from-cases, or POST /v1/trainings.",
    )
