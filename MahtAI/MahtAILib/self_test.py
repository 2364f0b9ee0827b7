"""The self-test: the panel in a Slicer, on a made-up study, step by step.

It runs in a real Slicer ("Reload and Test", ``ctest``) and headless in the project's own tests. Everything
that needs no server is always run. The steps with a server run where one can be started without installing
anything: it is installed already, or ``MAHTAI_SERVER_PYTHON`` names a Python that has its libraries.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer

from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segment, Segmentation
from MahtAILib.local_server import Installation, LocalServer, find_source, installation_folder
from MahtAILib.panel.panel import Panel
from MahtAILib.panel.settings import Settings
from MahtAILib.scene import views
from MahtAILib.scene.doubt import doubtful_places, doubtful_slices
from MahtAILib.scene.editing import Editor
from MahtAILib.scene.edits import is_edited
from MahtAILib.scene.images import oriented_image, vtk_matrix
from MahtAILib.scene.labels import layers_of
from MahtAILib.scene.layout import VIEWS
from MahtAILib.scene.provenance import Provenance
from MahtAILib.scene.segments import volumes_ml
from MahtAILib.scene.segments_out import take_segments
from MahtAILib.scene.strokes import Baseline, find_region, put_in, settle
from MahtAILib.self_test_ceph import CephSelfTest

NAMES = {"t1c": "T1 post gad", "t1": "T1", "t2": "T2", "flair": "FLAIR"}
CENTRE_RAS_MM = (-12.0, 15.0, 9.0)

_GRID = Geometry((96, 112, 40), np.array([[-1.5, 0, 0, 72], [0, -1.5, 0, 84], [0, 0, 3, -60], [0, 0, 0, 1]]))
_RUN_LIMIT_S = 300.0


class SelfTest:
    """Steps in order; each continues where the last one ended.

    Args:
        case: a ``unittest.TestCase``, for its assertions.
    """

    def __init__(self, case: Any, folder: Path) -> None:
        self.case = case
        self.scene = slicer.mrmlScene
        self.scene.Clear(False)
        self.window = slicer.qMRMLWidget()
        layout = qt.QVBoxLayout(self.window)
        # a panel of its own, so that neither the reader's settings folder nor their unsent work is touched
        self.panel = Panel(layout, self.scene, Settings(folder, "MahtAISelfTest"), lambda uid, tag: "")
        self.panel.enter()

    def close(self) -> None:
        """Take the panel away."""
        self.panel.close()
        qt.QSettings().remove("MahtAISelfTest")
        self.window.deleteLater()

    def sequences_are_found(self) -> None:
        """Four volumes are loaded, each is in its slot."""
        voxels = _head()
        for number, (slot, name) in enumerate(NAMES.items()):
            volume = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
            volume.SetAndObserveImageData(oriented_image((voxels * (1 + 0.1 * number)).astype(np.int16), np.eye(4)))
            volume.SetIJKToRASMatrix(vtk_matrix(_GRID.ijk_to_ras))
            volume.CreateDefaultDisplayNodes()
            volume.SetAttribute("MahtAI.SelfTest", slot)
        self.panel.study.fill()
        for slot, name in NAMES.items():
            self.case.assertEqual(self.panel.study.volume(slot).GetName(), name)
        self.case.assertTrue(self.panel.study.check("auto").can_run)

    def views_show_the_study(self) -> None:
        """The layout has a view a sequence, and they are linked."""
        self.panel.review_section.show_views()
        self.case.assertTrue(views.is_shown(self.scene))
        manager = slicer.app.layoutManager()
        for view in VIEWS:
            composite = manager.sliceWidget(view.tag).mrmlSliceCompositeNode()
            self.case.assertEqual(composite.GetBackgroundVolumeID(), self.panel.study.volume(view.slot).GetID())
            self.case.assertTrue(composite.GetLinkedControl() and composite.GetHotLinkedControl())

    def result_is_one_step_of_undo(self) -> None:
        """A result comes in, is undone and redone with the segment editor's own buttons."""
        percent = np.where(_lesion() > 0, 40, 100).astype(np.uint8)
        self.panel.review.show_result(
            _made_up(), (percent, _GRID), doubtful_places(percent, _GRID), doubtful_slices(percent, _GRID),
            Provenance(model="self-test"),
        )  # fmt: skip
        editor, node = self.panel.review_section.ui.segmentEditorWidget, self.panel.review.node
        self.case.assertEqual(node.GetSegmentation().GetNumberOfSegments(), 2)
        editor.undo()
        self.case.assertEqual(node.GetSegmentation().GetNumberOfSegments(), 0)
        editor.redo()
        np.testing.assert_array_equal(take_segments(node, _GRID).segmentation.layers, _made_up().layers)

    def doubtful_place_is_shown(self) -> None:
        """The views go to the place where the model was unsure."""
        self.panel.review.position = -1
        self.panel.review.go(1)
        slice_node = slicer.app.layoutManager().sliceWidget(VIEWS[0].tag).mrmlSliceNode()
        self.case.assertLess(abs(slice_node.GetSliceOffset() - CENTRE_RAS_MM[2]), 12)

    def stroke_is_seen(self) -> None:
        """An edit is noted, and the volumes follow."""
        node = self.panel.review.node
        before = volumes_ml(node)
        editor = Editor(self.scene, node, self.panel.study.reference())
        editor.paint("et", editor.ball(CENTRE_RAS_MM, 14))
        self.case.assertTrue(is_edited(node))
        self.case.assertGreater(volumes_ml(node)["et"], before["et"])

    def correction_is_one_step_of_undo(self) -> None:
        """What the model would answer to a stroke is put in, undone and redone."""
        node, editor = self.panel.review.node, self.panel.review_section.ui.segmentEditorWidget
        before = take_segments(node, _GRID).segmentation.layers[0]
        region = find_region(layers_of(node).copied(), Baseline(_made_up()))
        change = settle(region, np.where(region.strokes == 0, 1, region.labels).astype(np.uint8))
        put_in(node, change, self.panel.review.save_state)
        corrected = take_segments(node, _GRID).segmentation.layers[0]
        np.testing.assert_array_equal(corrected[region.box], change.labels)
        editor.undo()
        np.testing.assert_array_equal(take_segments(node, _GRID).segmentation.layers[0], before)
        editor.redo()
        np.testing.assert_array_equal(take_segments(node, _GRID).segmentation.layers[0], corrected)

    def version_waits_without_a_server(self) -> None:
        """Saving works without any server; nothing is lost."""
        self.panel.server.disconnect()
        ui = self.panel.save_section.ui
        ui.authorLineEdit.text = "self-test"
        self.panel.save_section.save()
        self.wait(lambda: not self.panel.versions.is_busy, 60)
        self.case.assertEqual(self.panel.versions.waiting, 1)
        self.case.assertFalse(is_edited(self.panel.review.node))

    def model_runs_on_a_server(self) -> None:
        """Start the server on this computer, and run the model."""
        self.panel.local.start()
        self.wait(lambda: self.panel.server.connection is not None or self.panel.local.error is not None, _RUN_LIMIT_S)
        self.case.assertIsNone(self.panel.local.error)
        for name in ("register", "brain_mask", "check_sequences"):
            self.panel.parameters().set(name, "off")
        self.panel.ai_section.start()
        self.wait(lambda: not self.panel.run.is_running, _RUN_LIMIT_S)
        self.case.assertIsNone(self.panel.run.error)
        self.case.assertIn("Done", self.panel.run.message)

    def model_corrects_around_a_stroke(self) -> None:
        """Paint, press the button: the stroke stays as it is. Then stop the server."""
        node = self.panel.review.node
        editor = Editor(self.scene, node, self.panel.study.reference())
        stroke = editor.ball(CENTRE_RAS_MM, 8)
        proposed = take_segments(node, _GRID).segmentation
        wanted = "ed" if proposed.mask("et")[stroke].any() else "et"
        editor.paint(wanted, stroke)
        self.panel.review_section.correction.start()
        self.wait(lambda: not self.panel.correction.is_running, _RUN_LIMIT_S)
        self.case.assertIsNone(self.panel.correction.error)
        self.case.assertTrue(self.panel.correction.message)
        self.case.assertTrue(take_segments(node, _GRID).segmentation.mask(wanted)[stroke].all())
        self.panel.local.stop()
        self.wait(lambda: not self.panel.local.is_busy, 60)

    def wait(self, until: Callable[[], bool], seconds: float) -> None:
        """Let Slicer work until something holds."""
        deadline = time.monotonic() + seconds
        while not until():
            self.case.assertLess(time.monotonic(), deadline, "it took too long")
            slicer.app.processEvents()
            time.sleep(0.005)


def run_self_test(case: Any) -> list[str]:
    """Run all steps that can run here; returns their names. Those left out are named in the log."""
    done = []
    with tempfile.TemporaryDirectory() as folder:
        test = SelfTest(case, Path(folder))
        try:
            for step in (
                test.sequences_are_found,
                test.views_show_the_study,
                test.result_is_one_step_of_undo,
                test.doubtful_place_is_shown,
                test.stroke_is_seen,
                test.correction_is_one_step_of_undo,
                test.version_waits_without_a_server,
            ):
                step()
                done.append(step.__name__)
            if _server_needs_installation():
                logging.info("MahtAI self-test: the steps with a server were left out, none is installed here")
            else:
                for step in (test.model_runs_on_a_server, test.model_corrects_around_a_stroke):
                    step()
                    done.append(step.__name__)
            for step in CephSelfTest(case, test.scene, test.panel, test.wait).steps:
                step()
                done.append(step.__name__)
        finally:
            test.close()
    logging.info("MahtAI self-test: %d steps passed: %s", len(done), ", ".join(done))
    return done


def _server_needs_installation() -> bool:
    return LocalServer(Installation(installation_folder(), find_source())).needs_installation


def _distance_mm() -> Any:
    """Of each voxel from the lesion's centre, [i, j, k]."""
    indices = np.stack(np.meshgrid(*(np.arange(count) for count in _GRID.shape), indexing="ij"), -1)
    ras = indices @ _GRID.ijk_to_ras[:3, :3].T + _GRID.ijk_to_ras[:3, 3]
    return np.linalg.norm(ras - np.array(CENTRE_RAS_MM), axis=-1)


def _lesion() -> Any:
    return np.where(_distance_mm() < 9, 2, np.where(_distance_mm() < 18, 1, 0)).astype(np.uint8)


def _head() -> Any:
    indices = np.stack(np.meshgrid(*(np.linspace(-1, 1, count) for count in _GRID.shape), indexing="ij"), -1)
    return np.where((indices**2).sum(-1) < 0.8, 400 + 200.0 * _lesion(), 0)


def _made_up() -> Segmentation:
    segments = (
        Segment("ed", "Oedema", 1, (0.34, 0.71, 0.91)),
        Segment("et", "Enhancing tumour", 2, (0.94, 0.89, 0.26)),
    )
    return Segmentation(segments, _lesion()[None], _GRID)
