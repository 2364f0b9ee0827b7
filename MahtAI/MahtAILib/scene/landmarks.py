"""Landmarks in the scene: one vtkMRMLMarkupsFiducialNode, what is known of each point kept beside it.

A control point's label is the landmark's short name, its description the definition. Confidence, radius and
state are in an attribute of the node as JSON, so that they are saved with the scene. A landmark that is
missing is a control point without a position.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import vtk
from numpy.typing import NDArray

from MahtAILib.cephalometry import landmark, landmark_set, landmark_sets
from MahtAILib.client.markups import LandmarkFile, LandmarkPoint
from MahtAILib.scene.alignment import CONTENT_ATTRIBUTE

LANDMARKS = "landmarks"
POINTS_ATTRIBUTE = "MahtAI.Landmarks"
SET_ATTRIBUTE = "MahtAI.LandmarkSet"
IMAGE_ROLE = "MahtAI.Image"

DOUBTFUL_BELOW = 0.5
"""A point of a lower confidence is doubtful, even where the model gave no other reason."""

STATES = ("ai", "moved", "confirmed", "manual", "missing")

_CERTAIN_RGB = (0.35, 0.9, 0.55)
_DOUBTFUL_RGB = (1.0, 0.55, 0.1)


@dataclass(frozen=True)
class PointInfo:
    """What is known of a landmark beside its position; see ``client.markups.LandmarkPoint``."""

    state: str = "missing"
    confidence: float | None = None
    radius: float | None = None
    expected_error: float | None = None
    flag: str = ""

    @property
    def is_doubtful(self) -> bool:
        """Whether a reader should look at it: the model's own point, and it was unsure."""
        unsure = self.confidence is not None and self.confidence < DOUBTFUL_BELOW
        return self.state == "ai" and bool(self.flag or unsure)


def new_landmarks(scene: Any, name: str, image: Any) -> Any:
    """An empty node for the landmarks of an image."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", scene.GenerateUniqueName(name))
    node.SetAttribute(CONTENT_ATTRIBUTE, LANDMARKS)
    node.SetControlPointLabelFormat("%N-%d")
    if image is not None:
        node.SetNodeReferenceID(IMAGE_ROLE, image.GetID())
    draw_as_landmarks(node)
    return node


def draw_as_landmarks(node: Any) -> None:
    """Small crosses with short names; green where the model was sure or a reader vouches, orange where not."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    modifying = display.StartModify()
    display.SetGlyphTypeFromString("CrossDot2D")
    display.SetGlyphScale(2.0)
    display.SetTextScale(2.4)
    display.SetPointLabelsVisibility(True)
    display.SetPropertiesLabelVisibility(False)
    display.SetSelectedColor(*_CERTAIN_RGB)
    display.SetColor(*_DOUBTFUL_RGB)
    display.SetActiveColor(1.0, 1.0, 0.2)
    display.SetSnapMode(display.SnapModeUnconstrained)
    display.SetSliceProjection(False)
    display.EndModify(modifying)


def all_landmark_nodes(scene: Any) -> list[Any]:
    """The landmarks of all images, the newest last."""
    nodes = scene.GetNodesByClass("vtkMRMLMarkupsFiducialNode")
    nodes.UnRegister(None)
    return [node for node in nodes if is_landmarks(node)]


def landmark_nodes(scene: Any, image: Any) -> list[Any]:
    """The landmarks of an image, the newest last."""
    return [node for node in all_landmark_nodes(scene) if node.GetNodeReference(IMAGE_ROLE) is image]


def is_landmarks(node: Any) -> bool:
    """Whether a node holds the landmarks of a cephalogram."""
    return node is not None and node.GetAttribute(CONTENT_ATTRIBUTE) == LANDMARKS


def put_points(node: Any, file: LandmarkFile) -> None:
    """Replace all landmarks of a node by those of a file."""
    modifying = node.StartModify()
    node.SetFixedNumberOfControlPoints(False)
    node.RemoveAllControlPoints()
    for point in file.points:
        known = landmark(point.id)
        description = f"{known.name}: {known.definition}" if known else point.description
        ras = None if point.position is None else (-point.position[0], -point.position[1], point.position[2])
        put_control_point(node, point.id, description, ras)
    node.SetAttribute(SET_ATTRIBUTE, file.landmark_set or "isbi19")
    write_info(
        node,
        {
            point.id: PointInfo(point.state, point.confidence, point.radius, point.expected_error, point.flag)
            for point in file.points
        },
    )
    node.EndModify(modifying)


def take_points(node: Any, mm_per_unit: float | None, provenance: Mapping[str, str]) -> LandmarkFile:
    """The landmarks of a node as a file; each landmark of its set is in it once, the missing ones as such."""
    positions, info = positions_ras(node), read_info(node)
    points = []
    for landmark_id in wanted_ids(node):
        known, about = landmark(landmark_id), info.get(landmark_id, PointInfo())
        ras = positions.get(landmark_id)
        state = "missing" if ras is None else about.state if about.state != "missing" else "manual"
        points.append(
            LandmarkPoint(
                id=landmark_id,
                name=known.name if known else landmark_id,
                position=None if ras is None else (-float(ras[0]), -float(ras[1]), float(ras[2])),
                state=state,  # type: ignore[arg-type]
                confidence=about.confidence,
                radius=about.radius,
                expected_error=about.expected_error,
                flag=about.flag,
                description=known.definition if known else "",
            )
        )
    return LandmarkFile(tuple(points), set_of(node), mm_per_unit, dict(provenance))


def set_of(node: Any) -> str:
    """Id of the landmark set of a node."""
    chosen = "" if node is None else node.GetAttribute(SET_ATTRIBUTE) or ""
    return chosen if chosen in landmark_sets() else "isbi19"


def wanted_ids(node: Any) -> tuple[str, ...]:
    """The landmarks of the node's set, then others that are placed."""
    of_set = landmark_set(set_of(node)).ids
    others = [label for label in dict.fromkeys(_labels(node)) if label not in of_set and landmark(label) is not None]
    return (*of_set, *others)


def choose_set(node: Any, set_id: str) -> None:
    """Work with another landmark set; points that are placed stay."""
    node.SetAttribute(SET_ATTRIBUTE, set_id)
    for landmark_id in landmark_set(set_id).ids:
        index_of(node, landmark_id, make=True)


def positions_ras(node: Any) -> dict[str, NDArray[np.float64]]:
    """Landmark id → RAS, of the points that have a position that is a number."""
    found: dict[str, NDArray[np.float64]] = {}
    if node is None:
        return found
    for index in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(index) == node.PositionDefined:
            position = np.array(node.GetNthControlPointPositionWorld(index))
            if np.isfinite(position).all():
                found.setdefault(node.GetNthControlPointLabel(index), position)
    return found


def index_of(node: Any, landmark_id: str, make: bool = False) -> int:
    """Index of the control point of a landmark; -1 where there is none and none is to be made."""
    for index, label in enumerate(_labels(node)):
        if label == landmark_id:
            return index
    if not make:
        return -1
    known = landmark(landmark_id)
    return put_control_point(node, landmark_id, f"{known.name}: {known.definition}" if known else "", None)


def read_info(node: Any) -> dict[str, PointInfo]:
    """Landmark id → what is known of it."""
    try:
        document = json.loads("{}" if node is None else node.GetAttribute(POINTS_ATTRIBUTE) or "{}")
        return {key: PointInfo(**value) for key, value in document.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def write_info(node: Any, info: Mapping[str, PointInfo]) -> None:
    """Keep what is known of the landmarks; doubtful ones are drawn in another colour."""
    text = json.dumps({key: asdict(value) for key, value in info.items()})
    if node.GetAttribute(POINTS_ATTRIBUTE) != text:
        node.SetAttribute(POINTS_ATTRIBUTE, text)
    for index, label in enumerate(_labels(node)):
        selected = not (label in info and info[label].is_doubtful)
        if bool(node.GetNthControlPointSelected(index)) != selected:
            node.SetNthControlPointSelected(index, selected)


def set_state(node: Any, landmark_ids: Iterable[str], state: str) -> None:
    """Note who vouches for these landmarks now."""
    info = read_info(node)
    for landmark_id in landmark_ids:
        info[landmark_id] = replace(info.get(landmark_id, PointInfo()), state=state)
    write_info(node, info)


def unset(node: Any, landmark_id: str) -> None:
    """Take a landmark's position away: it is missing from now on."""
    index = index_of(node, landmark_id)
    if index >= 0 and node.GetNthControlPointPositionStatus(index) != node.PositionUndefined:
        node.UnsetNthControlPointPosition(index)
    set_state(node, [landmark_id], "missing")


def points_fingerprint(node: Any) -> str:
    """The same for the same points in the same states, whatever else is changed on the node."""
    positions = positions_ras(node)
    states = {key: about.state for key, about in read_info(node).items() if about.state != "missing"}
    text = repr([(key, np.round(positions[key], 4).tolist(), states.get(key)) for key in sorted(positions)])
    return f"{zlib.crc32(text.encode()):08x}"


def _labels(node: Any) -> list[str]:
    count = 0 if node is None else node.GetNumberOfControlPoints()
    return [node.GetNthControlPointLabel(index) for index in range(count)]


def put_control_point(node: Any, landmark_id: str, description: str, ras: tuple[float, float, float] | None) -> int:
    """Add a control point; without a position it is undefined. Returns its index."""
    index = int(node.AddControlPoint(vtk.vtkVector3d(*(ras or (0.0, 0.0, 0.0))), landmark_id))
    node.SetNthControlPointDescription(index, description)
    if ras is None:
        node.UnsetNthControlPointPosition(index)
    else:
        node.SetNthControlPointPositionWorld(index, *ras)
    return index
