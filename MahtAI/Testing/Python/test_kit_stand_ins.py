"""The kit's stand-ins work on the real scene, and modules live in it as in Slicer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def test_the_node_box_follows_the_scene(qt_app):
    import slicer

    box, chosen = slicer.qMRMLNodeComboBox(), []
    box.nodeTypes, box.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    box.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    box.setMRMLScene(slicer.mrmlScene)
    box.connect("currentNodeChanged(vtkMRMLNode*)", chosen.append)
    box.connect("currentNodeChanged(bool)", chosen.append)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert (box.nodeCount(), box.currentNode()) == (1, None)
    box.setCurrentNode(volume)
    slicer.mrmlScene.RemoveNode(volume)
    assert chosen == [volume, True, None, False]
    assert (box.nodeCount(), box.currentNodeID) == (0, "")


def test_the_node_box_outlives_the_close_of_the_scene(qt_app):
    import slicer

    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(slicer.mrmlScene)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")
    assert box.currentNode() is volume
    qt_app.close_scene()
    assert box.currentNode() is None


@pytest.fixture
def editing(qt_app):
    """(editor, segmentation, volume, how many voxels are painted) with one empty segment, ET."""
    import slicer

    volume = slicer.util.addVolumeFromArray(np.zeros((20, 21, 22), np.int16))
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("ET", "Enhancing tumour")
    editor = slicer.qMRMLSegmentEditorWidget()
    editor.setMRMLScene(slicer.mrmlScene)
    editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.maximumNumberOfUndoStates = 5

    def count() -> int:
        return int(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "ET", volume).sum())

    return editor, segmentation, volume, count


def test_the_segment_editor_edits_undoes_and_redoes(qt_app, editing):
    from kit.brush import paint

    editor, segmentation, volume, count = editing
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(volume)
    painted = paint(editor.logic, "ET", (10, 10, 10), 3)
    assert count() == painted > 50
    editor.undo()
    assert count() == 0
    editor.redo()
    assert count() == painted
    assert paint(editor.logic, "ET", (10, 10, 10), 1, erase=True) == 7
    assert count() == painted - 7
    editor.setUndoEnabled(True)
    editor.undo()
    assert count() == painted - 7, "setUndoEnabled(True) forgets the states, in Slicer too"


def test_a_new_segmentation_brings_its_volume_and_first_segment_and_shows_the_volume_everywhere(qt_app, editing):
    editor, segmentation, volume, _ = editing
    chosen, background = [], qt_app.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    editor.connect("currentSegmentIDChanged(QString)", chosen.append)
    editor.connect("segmentationNodeChanged(vtkMRMLSegmentationNode*)", chosen.append)
    editor.setSegmentationNode(segmentation)
    assert (editor.sourceVolumeNode(), editor.currentSegmentID()) == (volume, "ET")
    assert chosen == [segmentation, "ET"]
    assert background.GetBackgroundVolumeID() == volume.GetID()


def test_the_segment_editor_leaves_the_views_alone_when_told(qt_app, editing):
    editor, segmentation, _, _ = editing
    editor.autoShowSourceVolumeNode = False
    editor.setSegmentationNode(segmentation)
    view = qt_app.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert view.GetBackgroundVolumeID() is None


@pytest.mark.parametrize(
    "misuse", ["e.setActiveEffectByName('Pencil')", "e.setSourceVolumeNode(v)", "e.setSegmentationNode(s)"]
)
def test_what_the_segment_editor_would_only_log_fails(qt_app, editing, misuse):
    import slicer

    editor, segmentation, volume, _ = editing
    if "Segmentation" in misuse:
        editor = slicer.qMRMLSegmentEditorWidget()
    with pytest.raises(AssertionError, match="only logs"):
        eval(misuse, {"e": editor, "s": segmentation, "v": volume})


def test_the_segment_editor_outlives_its_segmentation_and_the_close_of_the_scene(qt_app, editing):
    import slicer

    editor, segmentation, _, _ = editing
    editor.setSegmentationNode(segmentation)
    slicer.mrmlScene.RemoveNode(segmentation)
    assert editor.segmentationNode() is None
    editor.undo()
    qt_app.close_scene()
    editor.updateWidgetFromMRML()
    assert editor.segmentationNode() is None


def test_linked_slice_views_of_a_layout_move_together(slicer_context):
    view = '<item><view class="vtkMRMLSliceNode" singletontag="{}"/></item>'
    xml = f'<layout type="horizontal">{"".join(view.format(name) for name in ("One", "Two"))}</layout>'
    manager = slicer_context.app.layoutManager()
    manager.layoutLogic().GetLayoutNode().AddLayoutDescription(501, xml)
    manager.setLayout(501)
    assert (manager.layout, manager.sliceViewNames()) == (501, ("Red", "Green", "Yellow", "One", "Two"))
    one, two = manager.sliceWidget("One"), manager.sliceWidget("Two")
    for widget in (one, two):
        widget.mrmlSliceCompositeNode().SetLinkedControl(1)
        widget.mrmlSliceCompositeNode().SetHotLinkedControl(1)
    one.sliceLogic().StartSliceOffsetInteraction()
    one.sliceLogic().SetSliceOffset(12.5)
    one.sliceLogic().EndSliceOffsetInteraction()
    assert two.mrmlSliceNode().GetSliceOffset() == 12.5


def test_volumes_segmentations_and_scenes_are_loaded_and_saved(slicer_context, tmp_path):
    import slicer

    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = slicer.util.addVolumeFromArray(array, name="T1")
    assert slicer.util.saveNode(volume, str(tmp_path / "t1.nrrd"))
    assert np.array_equal(slicer.util.arrayFromVolume(slicer.util.loadVolume(str(tmp_path / "t1.nrrd"))), array)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer_context.close_scene()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert np.array_equal(slicer.util.arrayFromVolume(slicer.util.getNode("T1")), array)


def test_scene_tests_import_no_qt():
    code = (
        "import sys, pathlib, tempfile\nfrom kit.scene_context import make_context\n"
        "with make_context(pathlib.Path(tempfile.mkdtemp())) as context: context.app.processEvents()\n"
        "sys.exit(any('PySide' in name or name == 'qt' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False).returncode == 0


MODULE_FILE = """
import qt, slicer
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from slicer.i18n import tr as _

events = []

class Tiny(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = _("Tiny")
        slicer.app.connect("startupCompleted()", lambda: events.append("startup"))

class TinyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
    def setup(self):
        super().setup()
        self.logic = TinyLogic()
        self.layout.addWidget(qt.QLabel("hello"))
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, lambda *_: events.append("closed"))
    def enter(self): events.append("enter")
    def cleanup(self): events.append("cleanup"); self.removeObservers()

class TinyLogic(ScriptedLoadableModuleLogic):
    pass
"""


def test_a_module_starts_opens_reloads_and_ends_as_in_slicer(qt_app, tmp_path):
    import slicer
    from kit.scripted_module import load_module, unload_module

    path = tmp_path / "Tiny.py"
    path.write_text(MODULE_FILE)
    module = load_module(path)
    module.widgetRepresentation().enter()
    widget = slicer.modules.TinyWidget
    node = widget.logic.getParameterNode()
    assert (node.GetSingletonTag(), node.GetAttribute("ModuleName")) == ("Tiny", "Tiny")
    assert widget.logic.getParameterNode() is node
    qt_app.close_scene()
    events = sys.modules["Tiny"].events
    assert events == ["startup", "enter", "closed"]
    widget.onReload()
    assert slicer.modules.TinyWidget is not widget
    assert events[3:] == ["cleanup"]
    events = sys.modules["Tiny"].events
    unload_module(module)
    assert events == ["cleanup"]


def test_the_module_object_takes_only_its_real_properties(qt_app, tmp_path):
    from kit.scripted_module import ModuleParent

    with pytest.raises(AttributeError):
        ModuleParent(tmp_path / "X.py").titel = "X"


def test_sample_data_is_registered_with_the_arguments_of_slicer(qt_app):
    import SampleData
    import slicer

    SampleData.SampleDataLogic.registerCustomSampleDataSource(category="MahtAI", sampleName="BraTS")
    assert slicer.modules.sampleDataSources["MahtAI"][0].sampleName == "BraTS"
    with pytest.raises(TypeError):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(sample="x")


def test_settings_are_the_tests_own(qt_app, tmp_path):
    import qt
    import slicer

    qt.QSettings().setValue("MahtAI/address", "http://here")
    assert slicer.util.settingsValue("MahtAI/address", "") == "http://here"
    assert slicer.app.userSettings().value("MahtAI/address") == "http://here"
    assert Path(slicer.app.slicerUserSettingsFilePath) == Path(qt.QSettings().fileName())
    assert tmp_path in Path(qt.QSettings().fileName()).parents
