"""A stand-in for the server's local correction: each stroke takes in the voxels near it, by distance alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from stand_in_server import Handler, StandIn

from MahtAILib.client import nrrd
from MahtAILib.client import segmentation as files
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segmentation

REACH_VOXELS = 3.0
JOB = "11111111-2222-3333-4444-555555555555"


@dataclass
class Corrector:
    """Put it into ``StandIn.misbehaviour``.

    Attributes:
        asked: (labels, strokes, geometry) of each correction that was asked for.
        answer: what is answered, made from those.
        respond: sends something else instead; True when it has.
        may_answer: while it is not set, answers are held back.
    """

    asked: list[tuple[NDArray[Any], NDArray[Any], Geometry]] = field(default_factory=list)
    answer: Callable[[NDArray[Any], NDArray[Any], Geometry], bytes] = field(default=lambda *asked: encoded(*asked))
    respond: Callable[[Handler], bool] = lambda handler: False
    may_answer: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    def __call__(self, handler: Handler) -> bool:
        if handler.command != "POST" or not handler.path.endswith("/corrections"):
            return False
        body = handler.body()
        assert handler.headers["Content-Type"] == "application/x-nrrd"
        if self.respond(handler):
            return True
        if handler.path.split("/")[-2] not in handler.state.jobs:
            handler.problem(404, "unknown-inference", "There is no inference of this id.")
            return True
        volume = nrrd.decode(body)
        labels, strokes = volume.array
        self.asked.append((labels, strokes, Geometry(labels.shape, volume.ijk_to_ras)))
        self.may_answer.wait(20)
        handler.send(200, self.answer(*self.asked[-1]), "application/x-nrrd")
        return True


def serve(server: StandIn, proposal: Segmentation) -> Corrector:
    """Have a stand-in server know the job ``JOB`` with this result, and correct it."""
    server.state.jobs[JOB] = {"id": JOB, "state": "succeeded", "number": 0}
    server.state.parts["segmentation"] = files.encode(proposal)
    corrector = Corrector()
    server.misbehaviour = corrector
    return corrector


def spread(labels: NDArray[Any], strokes: NDArray[Any]) -> NDArray[Any]:
    """What the stand-in answers: each voxel near a stroke has the label of the nearest stroke."""
    distance, nearest = ndimage.distance_transform_edt(strokes == 0, return_indices=True)
    return np.where(distance <= REACH_VOXELS, strokes[tuple(nearest)] - 1, labels).astype(np.uint8)


def encoded(labels: NDArray[Any], strokes: NDArray[Any], geometry: Geometry) -> bytes:
    """The answer as it travels."""
    after = spread(labels, strokes)
    changed = int(np.count_nonzero(after != labels))
    fields = {"MahtAI_Seconds": "0.25", "MahtAI_Changed": str(changed)}
    return nrrd.encode(after, geometry.ijk_to_ras, fields, "gzip")
