"""Landmarks as Slicer stores them: ``.mrk.json``, a list of control points in LPS.

The keys are those of Slicer's ``vtkMRMLMarkupsJsonStorageNode`` (markups schema 1.0). A control point's
label is the landmark's short name, its description the definition. What stock Slicer does not know
(state, confidence, radius, calibration, provenance) stands in objects named ``mahtai``, which Slicer
passes over on loading and drops on saving. A landmark that was not found has no position at all: its
control point is ``undefined``. Doubtful points are unselected, so that stock Slicer shows them in another colour.

Lengths are units of the volume's physical space: true millimetres only where ``mm_per_unit`` is 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from MahtAILib.errors import ExplainedError

State = Literal["ai", "moved", "confirmed", "manual", "missing"]
"""Who vouches for a point: placed by the model, moved or confirmed by the reader, placed by hand, or not there."""

Position = tuple[float, float, float]

SUFFIX = ".mrk.json"
MAX_BYTES = 4 << 20
MAX_POINTS = 1000
FARTHEST = 1e6
"""No image reaches farther than this from the origin, in units."""

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_OWN = "mahtai"
_CERTAIN_RGB = [0.2, 0.85, 0.35]
_DOUBTFUL_RGB = [1.0, 0.6, 0.1]
_FINITE_FROM_ZERO = ("radius", "expected_error")
_SIGNS = {"LPS": (1.0, 1.0), "1": (1.0, 1.0), "RAS": (-1.0, -1.0), "0": (-1.0, -1.0)}
_SAVE_AGAIN = "Save the points again in Slicer (File, Save Data, .mrk.json) and use that file."


class MarkupsError(ExplainedError):
    """A file of points that cannot be read, or points that cannot be written."""


@dataclass(frozen=True)
class LandmarkPoint:
    """A landmark and where it lies.

    Attributes:
        id: the landmark's short name, such as ``S`` or ``Pog'``.
        name: for the reader, such as ``Sella``.
        position: LPS in units, or None if the point is missing.
        state: who vouches for it; ``missing`` exactly where there is no position.
        confidence: 0 to 1, None where no model said one.
        radius: of the circle that holds the true point in 90 % of cases, in units.
        expected_error: expected radial error in units.
        flag: why the point is doubtful; empty if it is not.
        description: the landmark's definition in words.

    Raises:
        ValueError: a value that no point has; NaN and infinity among them.
    """

    id: str
    name: str
    position: Position | None
    state: State
    confidence: float | None = None
    radius: float | None = None
    expected_error: float | None = None
    flag: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a landmark has no name")
        if self.state not in get_args(State):
            raise ValueError(f"the landmark {self.id} has the state {self.state!r}")
        if (self.position is None) != (self.state == "missing"):
            raise ValueError(f"the landmark {self.id} is {self.state} and has {self.position or 'no position'}")
        if self.position is not None:
            object.__setattr__(self, "position", _position(self.id, self.position))
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise ValueError(f"the confidence of the landmark {self.id} is {self.confidence}, not 0 to 1")
        for name in _FINITE_FROM_ZERO:
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"the {name.replace('_', ' ')} of the landmark {self.id} is {value}")

    @property
    def is_doubtful(self) -> bool:
        """Whether the model is unsure of it and no reader has looked at it yet."""
        return self.state == "ai" and bool(self.flag)


@dataclass(frozen=True)
class LandmarkFile:
    """The landmarks of one image.

    Attributes:
        points: in the landmark set's order; missing ones are among them.
        landmark_set: id of the set, such as ``isbi19``; empty if the file does not say.
        mm_per_unit: true millimetres per unit, or None where the image is not calibrated.
        provenance: where the points come from, such as ``Model`` and ``Options``.

    Raises:
        ValueError: a landmark is there twice, or the calibration is no length.
    """

    points: tuple[LandmarkPoint, ...]
    landmark_set: str
    mm_per_unit: float | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple(self.points))
        seen: set[str] = set()
        for point in self.points:
            if point.id in seen:
                raise ValueError(f"the landmark {point.id} is there twice")
            seen.add(point.id)
        if self.mm_per_unit is not None and not 0 < self.mm_per_unit < math.inf:
            raise ValueError(f"the calibration is {self.mm_per_unit} mm a unit")

    @property
    def indeterminate(self) -> str:
        """Why the model's result as a whole cannot be trusted; empty once a reader has seen to every point of it."""
        unseen = any(point.state == "ai" for point in self.points)
        return self.provenance.get("Indeterminate", "") if unseen else ""

    @property
    def by_id(self) -> dict[str, LandmarkPoint]:
        """Landmark id → point, the missing ones among them."""
        return {point.id: point for point in self.points}

    @property
    def positions(self) -> dict[str, Position]:
        """Landmark id → LPS position in units, of the points that are there."""
        return {point.id: point.position for point in self.points if point.position is not None}


def encode_markups(file: LandmarkFile) -> bytes:
    """Write ``.mrk.json``; the same content gives the same bytes.

    Raises:
        MarkupsError: more points than any landmark set has.
    """
    if len(file.points) > MAX_POINTS:
        raise MarkupsError(f"{len(file.points):,} points are too many; {MAX_POINTS:,} can be saved.")
    own = {"landmark_set": file.landmark_set, "mm_per_unit": file.mm_per_unit, "provenance": dict(file.provenance)}
    markups = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(file.points),
        "controlPoints": [_control_point(number, point) for number, point in enumerate(file.points, 1)],
        "measurements": [],
        "display": {
            "visibility": True,
            "color": _DOUBTFUL_RGB,
            "selectedColor": _CERTAIN_RGB,
            "pointLabelsVisibility": True,
            "glyphType": "CrossDot2D",
        },
        _OWN: own,
    }
    text = json.dumps({"@schema": _SCHEMA, "markups": [markups]}, ensure_ascii=False, allow_nan=False, indent=1)
    return text.encode("utf-8")


def decode_markups(data: bytes) -> LandmarkFile:
    """Read a ``.mrk.json`` of Slicer's or ours; RAS coordinates are turned into LPS.

    A point that says nothing of its state (saved by stock Slicer) was placed by hand, or is missing.

    Raises:
        MarkupsError: damaged, no list of points, or points that cannot be.
    """
    markups = _only_point_list(_document(data))
    signs = _SIGNS.get(str(markups.get("coordinateSystem", "LPS")))
    if signs is None:
        raise MarkupsError(f"The points are in {markups['coordinateSystem']!r}, neither LPS nor RAS.", _SAVE_AGAIN)
    if markups.get("coordinateUnits", "mm") not in ("mm", "", ["mm", "UCUM", "millimeter"]):
        raise MarkupsError(f"The points are in {markups['coordinateUnits']!r}, not in mm.", _SAVE_AGAIN)
    items = markups.get("controlPoints")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise MarkupsError("The file does not list its control points.", _SAVE_AGAIN)
    if len(items) > MAX_POINTS:
        raise MarkupsError(
            f"The file has {len(items):,} points; no landmark set has more than {MAX_POINTS:,}.",
            "Choose the file with the landmarks.",
        )
    own = _own(markups)
    try:
        points = tuple(_point(item, number, signs) for number, item in enumerate(items, 1))
        provenance = _own(own, "provenance")
        return LandmarkFile(
            points,
            _text(own, "landmark_set"),
            _number(own, "mm_per_unit"),
            {key: str(value) for key, value in provenance.items()},
        )
    except ValueError as error:
        raise MarkupsError(f"The file cannot be used: {error}.", _SAVE_AGAIN) from error


def _control_point(number: int, point: LandmarkPoint) -> dict[str, Any]:
    return {
        "id": str(number),
        "label": point.id,
        "description": point.description,
        "associatedNodeID": "",
        # what Slicer itself writes for a point without a position
        "position": list(point.position) if point.position is not None else "",
        "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
        "selected": not point.is_doubtful,
        "locked": False,
        "visibility": True,
        "positionStatus": "undefined" if point.position is None else "defined",
        _OWN: {
            "id": point.id,
            "name": point.name,
            "state": point.state,
            "confidence": point.confidence,
            "radius": point.radius,
            "expected_error": point.expected_error,
            "flag": point.flag,
        },
    }


def _document(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise MarkupsError(
            f"The file has {len(data):,} bytes: far more than any list of landmarks.",
            "Choose the .mrk.json file with the landmarks.",
        )
    try:
        document = json.loads(data.decode("utf-8-sig"), parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise MarkupsError("The file is no text: no list of points.", "Choose a .mrk.json file.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError):
            reason = f"The file is no JSON, or is cut off or damaged (line {error.lineno})."
        else:
            reason = f"The file cannot be read: {error}."
        raise MarkupsError(reason, _SAVE_AGAIN) from error
    if not isinstance(document, dict):
        raise MarkupsError("The file is JSON, but holds no markups of Slicer's.", "Choose a .mrk.json file.")
    return document


def _no_number(token: str) -> float:
    raise ValueError(f"it holds {token}, which is no number")


def _only_point_list(document: Mapping[str, Any]) -> dict[str, Any]:
    listed = document.get("markups")
    if not isinstance(listed, list) or not listed or not all(isinstance(item, dict) for item in listed):
        raise MarkupsError("The file is JSON, but holds no markups of Slicer's.", "Choose a .mrk.json file.")
    lists = [item for item in listed if item.get("type") == "Fiducial"]
    if not lists:
        kinds = ", ".join(sorted({str(item.get("type", "of no type"))[:40] for item in listed}))
        raise MarkupsError(f"The file holds no list of points ({kinds}).", "Choose the file with the landmarks.")
    if len(lists) > 1:
        raise MarkupsError(f"The file holds {len(lists)} lists of points; one is expected.", _SAVE_AGAIN)
    return dict(lists[0])


def _point(item: Mapping[str, Any], number: int, signs: tuple[float, float]) -> LandmarkPoint:
    own = _own(item)
    label = _text(item, "label") or _text(item, "id") or str(number)
    landmark = _text(own, "id") or label
    position = None
    if item.get("positionStatus", "defined") == "defined":
        left, posterior, superior = _position(landmark, item.get("position"))
        position = (signs[0] * left, signs[1] * posterior, superior)
    state = _text(own, "state") or "manual"
    if position is None or state == "missing":
        # a reader may have set a missing point, or unset one, in stock Slicer
        state = "missing" if position is None else "manual"
    return LandmarkPoint(
        id=landmark,
        name=_text(own, "name") or label,
        position=position,
        state=state,  # type: ignore[arg-type]  # checked by LandmarkPoint
        confidence=_number(own, "confidence"),
        radius=_number(own, "radius"),
        expected_error=_number(own, "expected_error"),
        flag=_text(own, "flag"),
        description=_text(item, "description"),
    )


def _own(item: Mapping[str, Any], key: str = _OWN) -> dict[str, Any]:
    value = item.get(key)
    if value is not None and not isinstance(value, dict):
        raise MarkupsError(f"What MahtAI keeps under {key!r} is damaged.", _SAVE_AGAIN)
    return dict(value or {})


def _text(item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key!r} is {value!r}, no text")
    return value or ""


def _number(item: Mapping[str, Any], key: str) -> float | None:
    value = item.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key!r} is {value!r}, no number")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{key!r} is larger than any number that can be") from error


def _position(landmark: str, value: Any) -> Position:
    if value is None or value == "":
        raise ValueError(f"the landmark {landmark} has no position, yet does not say that it is undefined")
    try:
        numbers = [] if any(isinstance(number, str | bool) for number in value) else [float(n) for n in value]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if len(numbers) != 3:
        raise ValueError(f"the position of the landmark {landmark} is not three numbers")
    if not all(abs(number) <= FARTHEST for number in numbers):
        raise ValueError(f"the position of the landmark {landmark} is {numbers}: outside any image")
    return numbers[0], numbers[1], numbers[2]
