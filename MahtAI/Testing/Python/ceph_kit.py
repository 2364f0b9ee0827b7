"""A made-up cephalogram for the tests of the panel: an image, landmarks with known places, a server that knows them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from kit.event_loop import spin
from panel_kit import Reader
from scene_kit import add_volume
from stand_in_server import TOKEN, Handler, StandIn

from MahtAILib.cephalometry import landmark_set
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.markups import LandmarkFile, LandmarkPoint, encode_markups

WIDTH, HEIGHT, SPACING = 640, 760, 0.3

FACE = {
    "S": (80, 95), "N": (146, 88), "Or": (133, 115), "Po": (58, 118), "A": (141, 150), "B": (137, 186),
    "Pog": (139, 203), "Me": (130, 211), "Gn": (136, 209), "Go": (66, 174), "L1": (146, 169), "U1": (149, 171),
    "UL": (161, 158), "LL": (159, 177), "Sn": (153, 145), "Pog'": (152, 203), "PNS": (91, 140), "ANS": (147, 142),
    "Ar": (63, 130),
}  # fmt: skip
"""Landmark → (x, y) in units of the image, a face that looks right."""

DOUBTFUL = {"Go": 0.3, "Po": 0.4}
"""Landmark → confidence, of those of which the model is unsure."""

GRIDS = {
    "as Slicer loads it": np.diag([-SPACING, -SPACING, 1.0, 1.0]),
    "turned": np.array([[0, 0, 1.0, 12], [SPACING, 0, 0, -90], [0, -SPACING, 0, 110], [0, 0, 0, 1]]),
}


def pixels() -> np.ndarray:
    """[column, row, 1] uint8: brighter to the right and downward, a bright square at each landmark."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT), indexing="ij")
    grey = 20 + 60 * x / WIDTH + 60 * y / HEIGHT
    for across, down in FACE.values():
        i, j = round(across / SPACING), round(down / SPACING)
        grey[i - 1 : i + 2, j - 1 : j + 2] = 220
    return np.asarray(grey, np.uint8)[:, :, None]


def add_image(scene: Any, name: str = "Cephalogram", ijk_to_ras: Any = None, array: np.ndarray | None = None) -> Any:
    """A volume node with one slice."""
    matrix = GRIDS["as Slicer loads it"] if ijk_to_ras is None else np.asarray(ijk_to_ras, float)
    voxels = pixels() if array is None else array
    return add_volume(scene, Geometry(voxels.shape[:3], matrix), name, voxels)


def proposal(
    points: Mapping[str, Any] = FACE,
    missing: tuple[str, ...] = (),
    ijk_to_ras: Any = None,
    mm_per_unit: float | None = 1.0,
) -> LandmarkFile:
    """What a model might say of the image."""
    matrix = GRIDS["as Slicer loads it"] if ijk_to_ras is None else np.asarray(ijk_to_ras, float)
    listed = []
    for one in landmark_set("isbi19").landmarks:
        if one.id in missing:
            listed.append(LandmarkPoint(one.id, one.name, None, "missing", description=one.definition))
            continue
        across, down = points[one.id]
        right, anterior, superior = (matrix @ [across / SPACING, down / SPACING, 0, 1])[:3]
        confidence = DOUBTFUL.get(one.id, 0.9)
        flag = "the model found two places" if one.id in DOUBTFUL else ""
        listed.append(
            LandmarkPoint(
                one.id, one.name, (-right, -anterior, superior), "ai", confidence, 1.5, 0.6, flag, one.definition
            )
        )
    return LandmarkFile(tuple(listed), "isbi19", mm_per_unit, {"Model": "toy 1"})


class CephServer(StandIn):
    """A stand-in server with a model for cephalograms.

    Attributes:
        file: the landmarks that it answers with.
        reasons: why its result is indeterminate; empty where it is not.
        asked: bodies of the inferences that were asked for.
        holds: whether jobs stay queued.
    """

    def __init__(self, file: LandmarkFile | None = None) -> None:
        super().__init__()
        self.file = file or proposal()
        self.reasons: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.holds = False
        self.misbehaviour = self._answer

    def _answer(self, handler: Handler) -> bool:
        parts = urlsplit(handler.path).path.strip("/").split("/")[1:]
        match [handler.command, *parts]:
            case ["GET", "models"]:
                model = {"id": "toy", "name": "Toy", "version": "1", "task": "cephalometry", "state": "ready"}
                handler.send(200, {"models": [{**model, "intended_use": "tests"}]})
            case ["POST", "inferences"]:
                self.asked.append(json.loads(handler.body()))
                handler.start_job(self.asked[-1])
                if not self.holds:
                    self.state.change(list(self.state.jobs)[-1], state="succeeded")
            case ["GET", "inferences", _, "result"]:
                data = self.state.parts["landmarks"] = encode_markups(self.file)
                described = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "media_type": "x"}
                handler.send(200, {"landmarks": described, "summary": self._summary()})
            case _:
                return False
        return True

    def _summary(self) -> dict[str, Any]:
        return {
            "task": "cephalometry",
            "model": {"id": "toy", "version": "1", "sha256": "0" * 64},
            "indeterminate": bool(self.reasons),
            "reasons": self.reasons,
            "warnings": ["made up"],
            "image": {"facing": "right"},
            "timings_s": {"total": 0.5},
        }


def connect(reader: Reader, server: CephServer) -> None:
    """Press Connect."""
    reader.connect(server.url, TOKEN)


def open_image(reader: Reader, **options: Any) -> Any:
    """Load the image and wait until the panel has it."""
    node = add_image(reader.scene, **options)
    spin(lambda: reader.panel.ceph.image.node is node, 10, "the image to be chosen")
    spin(lambda: not reader.panel.ceph.landmarks_section.show_image_soon.active, 10, "the image to be shown")
    return node


def place(reader: Reader) -> Any:
    """Press Place landmarks and wait; the landmarks' node."""
    reader.ui("ai").runButton.click()
    reader.wait_for_run()
    said = reader.said("ai", "runStateLabel")
    assert said.startswith("Done"), said
    return reader.panel.ceph.landmarks.node


def drag(node: Any, landmark_id: str, to_ras: Any) -> None:
    """As Slicer's markups do under the mouse."""
    from MahtAILib.scene.landmarks import index_of

    index = index_of(node, landmark_id)
    node.InvokeEvent(node.PointStartInteractionEvent, index)
    node.SetNthControlPointPositionWorld(index, *(float(value) for value in to_ras))
    node.InvokeEvent(node.PointEndInteractionEvent, index)
