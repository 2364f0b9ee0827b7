"""The tracing over a cephalogram: outlines, planes, angles, circles of uncertainty, an earlier tracing.

Two model nodes hold all lines, the thin and the thick ones, each line in its colour. They are hidden from Slicer's
lists, made anew after a scene is loaded, and drawn as projections, so that lines are seen whole in the slice in
which they lie. Labels are points without a cross that cannot be moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import vtk
from numpy.typing import ArrayLike, NDArray
from vtk.util import numpy_support

from MahtAILib.cephalometry import Curve, Tracing
from MahtAILib.scene.alignment import CONTENT_ATTRIBUTE
from MahtAILib.scene.flat_images import Plane
from MahtAILib.scene.landmarks import PointInfo

Line = NDArray[np.float64]
"""[n, 2] in plane units."""

Text = tuple[str, ArrayLike, bool]
"""What is written, the middle of its place in plane units, whether it is of an angle."""

_COLOR = "color"
_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 37)), np.sin(np.linspace(0, 2 * np.pi, 37))], axis=1)


RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """How a kind of lines is drawn; it is one entry of the colour table that all lines share."""

    rgb: RGB
    is_thick: bool = True


StyledLine = tuple[Style, Line]

SOFT = Style((255, 180, 130))
BONE = Style((245, 233, 210))
ESTIMATED = Style((190, 180, 162), is_thick=False)
PLANES = Style((115, 204, 255), is_thick=False)
ARCS = Style((255, 242, 90))
EARLIER = Style((255, 90, 192))
OWN = Style((150, 190, 255))
"""The circle of a point that a reader moved or placed."""

_STEPS = 8
SURE, *_BETWEEN, DOUBTFUL = (
    Style((round(90 + 165 * share), round(220 - 80 * share), round(130 - 100 * share)))
    for share in np.linspace(0, 1, _STEPS)
)
"""Circles of the model's points, from sure to doubtful."""

_BY_DOUBT = (SURE, *_BETWEEN, DOUBTFUL)
_STYLES = (SOFT, BONE, ESTIMATED, PLANES, ARCS, EARLIER, OWN, *_BY_DOUBT)
_INDEX = {style: number for number, style in enumerate(_STYLES)}

THIN, THICK, LABELS = "MahtAI tracing, thin lines", "MahtAI tracing", "MahtAI tracing labels"
COLORS = "MahtAI tracing colors"
_PIXELS = {THIN: 1, THICK: 2}


class TracingNodes:
    """Draws and redraws the tracing in a scene; quick enough to be called at each move of the mouse."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._nodes: dict[str, Any] = {}

    def draw(self, plane: Plane, lines: Sequence[tuple[Style, Line]], texts: Sequence[Text]) -> None:
        """Replace what is drawn.

        Args:
            lines: each with how it is drawn.
            texts: labels.
        """
        usable = [(style, line) for style, line in lines if len(line) > 1 and np.isfinite(line).all()]
        for name in (THIN, THICK):
            self._draw_lines(self._node(name), plane, [one for one in usable if one[0].is_thick == (name == THICK)])
        self._write(self._node(LABELS), plane, texts)

    def clear(self) -> None:
        """Take everything away."""
        for node in self._nodes.values():
            if self._scene.IsNodePresent(node):
                self._scene.RemoveNode(node)
        self._nodes = {}

    def _node(self, name: str) -> Any:
        node = self._nodes.get(name)
        if node is None or not self._scene.IsNodePresent(node):
            node = self._nodes[name] = _new_labels(self._scene) if name == LABELS else _new_model(self._scene, name)
        return node

    def _draw_lines(self, node: Any, plane: Plane, lines: Sequence[tuple[Style, Line]]) -> None:
        data = node.GetPolyData()
        ras = plane.ras_of(np.concatenate([line for _style, line in lines])) if lines else np.zeros((0, 3))
        points = vtk.vtkPoints()
        points.SetData(numpy_support.numpy_to_vtk(np.ascontiguousarray(ras), deep=True))
        offsets = np.cumsum([0, *(len(line) for _style, line in lines)])
        cells = vtk.vtkCellArray()
        cells.SetData(
            numpy_support.numpy_to_vtkIdTypeArray(offsets.astype(np.int64), deep=True),
            numpy_support.numpy_to_vtkIdTypeArray(np.arange(offsets[-1], dtype=np.int64), deep=True),
        )
        colors = np.array([_INDEX[style] for style, _line in lines], np.float32)
        of_cells = numpy_support.numpy_to_vtk(colors, deep=True)
        of_cells.SetName(_COLOR)
        data.SetPoints(points)
        data.SetLines(cells)
        data.GetCellData().SetScalars(of_cells)
        data.Modified()

    def _write(self, node: Any, plane: Plane, texts: Sequence[Text]) -> None:
        modifying = node.StartModify()
        while node.GetNumberOfControlPoints() > len(texts):
            node.RemoveNthControlPoint(node.GetNumberOfControlPoints() - 1)
        for index, (text, place, is_angle) in enumerate(texts):
            ras = plane.ras_of(place)
            if index >= node.GetNumberOfControlPoints():
                node.AddControlPoint(vtk.vtkVector3d(*ras), text)
            else:
                node.SetNthControlPointPosition(index, *ras)
            if node.GetNthControlPointLabel(index) != text:
                node.SetNthControlPointLabel(index, text)
            if bool(node.GetNthControlPointSelected(index)) != is_angle:
                node.SetNthControlPointSelected(index, is_angle)
        node.EndModify(modifying)


def tracing_lines(drawing: Tracing, show_planes: bool, show_angles: bool) -> tuple[list[StyledLine], list[Text]]:
    """Outlines, planes and angles of a tracing, and their labels."""
    lines: list[StyledLine] = [(style_of(curve), closed(curve.points, curve.closed)) for curve in drawing.curves]
    planes = [one for one in drawing.planes if one.usual] if show_planes else []
    arcs = [arc for arc in drawing.arcs if arc.usual] if show_angles else []
    lines += [(PLANES, np.array([one.start, one.end])) for one in planes]
    lines += [(ARCS, arc.points) for arc in arcs]
    texts: list[Text] = [(one.label, one.label_at, False) for one in planes]
    return lines, texts + [(arc.label, arc.label_at, True) for arc in arcs]


def circle_lines(points: Mapping[str, ArrayLike], info: Mapping[str, PointInfo]) -> list[StyledLine]:
    """The 90 % circle of each point, coloured by how sure it is."""
    circled = [(np.asarray(point, float), info[key]) for key, point in points.items() if key in info]
    return [(circle_style(about), point + _CIRCLE * about.radius) for point, about in circled if about.radius]


def earlier_lines(plane: Plane, drawing: Tracing, points: Iterable[ArrayLike]) -> list[StyledLine]:
    """An earlier tracing that was laid on this one: its outlines, and a cross at each of its points."""
    lines: list[StyledLine] = [(EARLIER, closed(curve.points, curve.closed)) for curve in drawing.curves]
    size = 0.004 * plane.size[1]
    for point in points:
        x, y = np.asarray(point, float)
        lines += [
            (EARLIER, np.array([[x - size, y], [x + size, y]])),
            (EARLIER, np.array([[x, y - size], [x, y + size]])),
        ]
    return lines


def style_of(curve: Curve) -> Style:
    """Soft tissue, bone and teeth, or an outline that is only estimated."""
    return SOFT if curve.kind == "soft" else ESTIMATED if curve.estimated else BONE


def circle_style(about: PointInfo) -> Style:
    """Between sure and doubtful by its confidence; of its own where a reader put the point."""
    if about.state in ("moved", "manual"):
        return OWN
    if about.state == "confirmed":
        return SURE
    if about.is_doubtful:
        return DOUBTFUL
    doubt = 0.0 if about.confidence is None else min(max(2 * (1 - about.confidence), 0.0), 1.0)
    return _BY_DOUBT[round(doubt * (_STEPS - 1))]


def closed(points: Line, is_closed: bool) -> Line:
    """The points of an outline, the first one again at its end if it is closed."""
    return np.concatenate([points, points[:1]]) if is_closed and len(points) else points


def _new_model(scene: Any, name: str) -> Any:
    node = scene.CreateNodeByClass("vtkMRMLModelNode")
    node.UnRegister(None)
    node.SetName(name)
    _keep_out_of_the_way(node)
    scene.AddNode(node)
    node.SetAndObservePolyData(vtk.vtkPolyData())
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)
    display.SetSliceDisplayModeToProjection()
    display.SetSliceIntersectionThickness(_PIXELS[name])
    display.SetActiveScalar(_COLOR, vtk.vtkAssignAttribute.CELL_DATA)
    display.SetAndObserveColorNodeID(_color_table(scene).GetID())
    display.SetScalarRangeFlag(display.UseManualScalarRange)
    display.SetScalarRange(0, len(_STYLES) - 1)
    display.ScalarVisibilityOn()
    return node


def _color_table(scene: Any) -> Any:
    """The colours of all kinds of lines; RGB in the lines themselves would make VTK complain at each change."""
    node = scene.GetFirstNodeByName(COLORS)
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLColorTableNode")
        node.UnRegister(None)
        node.SetName(COLORS)
        _keep_out_of_the_way(node)
        node.SetTypeToUser()
        node.SetNumberOfColors(len(_STYLES))
        for number, style in enumerate(_STYLES):
            node.SetColor(number, str(number), *(value / 255 for value in style.rgb), 1.0)
        scene.AddNode(node)
    return node


def _new_labels(scene: Any) -> Any:
    node = scene.CreateNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.UnRegister(None)
    node.SetName(LABELS)
    _keep_out_of_the_way(node)
    node.SetLocked(True)
    scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetUseGlyphScale(True)
    display.SetGlyphScale(0.01)
    display.SetTextScale(2.2)
    display.SetSelectedColor(*(value / 255 for value in ARCS.rgb))
    display.SetColor(*(value / 255 for value in PLANES.rgb))
    display.SetPropertiesLabelVisibility(False)
    display.SetVisibility3D(False)
    return node


def _keep_out_of_the_way(node: Any) -> None:
    node.SetAttribute(CONTENT_ATTRIBUTE, "tracing")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
