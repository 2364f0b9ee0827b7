"""The self-test's steps with a cephalogram: an image of grey values and landmarks with known places, no server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer

from MahtAILib.cephalometry import landmark_set
from MahtAILib.client.markups import LandmarkFile, LandmarkPoint
from MahtAILib.panel.panel import Panel
from MahtAILib.panel.task import BRAIN, CEPHALOMETRY
from MahtAILib.scene.images import oriented_image, vtk_matrix
from MahtAILib.scene.landmarks import index_of, positions_ras
from MahtAILib.scene.layout import IMAGE_VIEW
from MahtAILib.scene.provenance import Provenance

_FACE = {
    "S": (80, 95), "N": (146, 88), "Or": (133, 115), "Po": (58, 118), "A": (141, 150), "B": (137, 186),
    "Pog": (139, 203), "Me": (130, 211), "Gn": (136, 209), "Go": (66, 174), "ANS": (147, 142), "PNS": (91, 140),
}  # fmt: skip
_SPACING = 0.3


class CephSelfTest:
    """Steps in order; each continues where the last one ended.

    Args:
        case: a ``unittest.TestCase``, for its assertions. wait: lets Slicer work until something holds.
    """

    def __init__(self, case: Any, scene: Any, panel: Panel, wait: Callable[[Callable[[], bool], float], None]) -> None:
        self.case, self.scene, self.panel, self.wait = case, scene, panel, wait

    @property
    def steps(self) -> tuple[Callable[[], None], ...]:
        """All of them."""
        return (
            self.cephalogram_is_shown_upright,
            self.landmarks_are_one_step,
            self.tracing_and_numbers_follow_a_drag,
            self.chart_is_a_picture,
            self.brain_is_one_click_away,
        )

    def cephalogram_is_shown_upright(self) -> None:
        """An image of one slice switches the task, and stands as in its file."""
        grey = np.add.outer(np.linspace(0, 90, 640), np.linspace(0, 90, 760)).astype(np.uint8)[:, :, None]
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Cephalogram")
        node.SetAndObserveImageData(oriented_image(grey, np.eye(4)))
        node.SetIJKToRASMatrix(vtk_matrix(np.diag([-_SPACING, -_SPACING, 1, 1])))
        node.CreateDefaultDisplayNodes()
        self.wait(lambda: self.panel.ceph.image.node is node, 30)
        self.case.assertEqual(self.panel.task().id, CEPHALOMETRY)
        self.panel.ceph.landmarks_section.show_image()
        widget = slicer.app.layoutManager().sliceWidget(IMAGE_VIEW.tag)
        self.case.assertEqual(widget.mrmlSliceCompositeNode().GetBackgroundVolumeID(), node.GetID())
        self.case.assertAlmostEqual(widget.mrmlSliceNode().GetSliceToRAS().GetElement(0, 0), -1)

    def landmarks_are_one_step(self) -> None:
        """Landmarks come in, are taken back and brought again."""
        state = self.panel.ceph.landmarks
        state.show_result(_made_up(), Provenance(model="self-test"))
        self.case.assertEqual(len(positions_ras(state.node)), len(_FACE))
        state.step(back=True)
        self.case.assertEqual(len(positions_ras(state.node)), 0)
        state.step(back=False)
        self.case.assertEqual(len(positions_ras(state.node)), len(_FACE))

    def tracing_and_numbers_follow_a_drag(self) -> None:
        """A moved point changes the table in the same moment, and counts as moved."""
        state = self.panel.ceph.landmarks
        before = self._sna()
        node, place = state.node, positions_ras(state.node)["A"]
        index = index_of(node, "A")
        node.InvokeEvent(node.PointStartInteractionEvent, index)
        node.SetNthControlPointPositionWorld(index, place[0] + 4, place[1], place[2])
        node.InvokeEvent(node.PointEndInteractionEvent, index)
        self.case.assertNotAlmostEqual(self._sna(), before)
        self.case.assertEqual([row.about.state for row in state.rows() if row.id == "A"], ["moved"])
        table = self.panel.ceph.measurements_section.ui.measurementsTable
        self.wait(lambda: table.rowCount > 0, 30)

    def chart_is_a_picture(self) -> None:
        """The chart that Pillow drew arrives in Qt."""
        self.panel.ceph.measurements_section.draw_chart()
        pixmap = self.panel.ceph.measurements_section.ui.chartLabel.pixmap
        self.case.assertTrue(pixmap is not None and not pixmap.isNull())

    def brain_is_one_click_away(self) -> None:
        """The way back."""
        self.panel.task_section.ui.brainButton.click()
        self.case.assertEqual(self.panel.task().id, BRAIN)
        self.panel.task_section.ui.cephButton.click()
        self.case.assertEqual(len(positions_ras(self.panel.ceph.landmarks.node)), len(_FACE))

    def _sna(self) -> float | None:
        evaluation = self.panel.ceph.landmarks.live.evaluation
        return None if evaluation is None else evaluation["steiner.sna"].value


def _made_up() -> LandmarkFile:
    points = []
    for one in landmark_set("isbi19").landmarks:
        if one.id in _FACE:
            across, down = _FACE[one.id]
            points.append(LandmarkPoint(one.id, one.name, (across, down, 0.0), "ai", 0.9, 1.5, 0.6))
        else:
            points.append(LandmarkPoint(one.id, one.name, None, "missing"))
    return LandmarkFile(tuple(points), "isbi19", 1.0)
