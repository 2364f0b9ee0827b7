"""Volumes that cannot be used, and two panels at once: the panel says what to do, and nothing is sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from kit.event_loop import spin
from panel_kit import Reader
from scene_kit import GRIDS, add_volume, tumour

from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.images import oriented_image, vtk_matrix
from MahtAILib.scene.provenance import Provenance
from MahtAILib.scene.segments_out import take_segments
from server_process import free_port

GRID = GRIDS["LPS"]


@pytest.fixture
def offline(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Looks connected; anything that is sent fails the test."""
    from MahtAILib.client.connection import Connection

    reader.panel.server.connection = Connection(f"http://127.0.0.1:{free_port()}")
    reader.panel.server.models = (
        {"id": "toy", "name": "Toy", "version": "1", "task": "brain-tumour", "state": "ready", "intended_use": "tests"},
    )
    reader.panel.server.changed.publish()

    def sent(*_arguments: Any) -> None:
        raise AssertionError("something was sent")

    monkeypatch.setattr("MahtAILib.panel.segmentation_task.run_model", sent)
    return reader


def choose(reader: Reader, **volumes: Any) -> None:
    for slot, volume in volumes.items():
        reader.panel.study.choose(slot, volume)


def said_after_run(reader: Reader) -> str:
    reader.ui("ai").runButton.click()
    assert not reader.panel.run.is_running
    said = reader.said("ai", "runStateLabel")
    print(f"\n{said}")
    return said


def test_a_vector_volume_is_refused(offline: Reader) -> None:
    flair = add_volume(offline.scene, GRID, "FLAIR")
    vector = offline.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colour")
    image = oriented_image(np.zeros(GRID.shape, np.uint8), np.eye(4))
    image.AllocateScalars(3, 3)
    vector.SetAndObserveImageData(image)
    choose(offline, flair=flair, t1c=vector)
    assert "holds 3 values a voxel" in said_after_run(offline)


def test_a_label_map_is_refused(offline: Reader) -> None:
    flair = add_volume(offline.scene, GRID, "FLAIR")
    labels = offline.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "mask")
    labels.SetAndObserveImageData(oriented_image(np.ones(GRID.shape, np.uint8), np.eye(4)))
    choose(offline, flair=flair, t1c=labels)
    assert "is a label map, not a scan" in said_after_run(offline)


def test_a_frame_of_a_sequence_is_refused(offline: Reader) -> None:
    scene, logic = offline.scene, slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(scene)
    flair = add_volume(scene, GRID, "FLAIR")
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "perfusion")
    for time in range(3):
        sequence.SetDataNodeAtValue(add_volume(scene, GRID, f"frame {time}"), str(time))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.AddSynchronizedSequenceNode(sequence)
    logic.UpdateProxyNodesFromSequences(browser)
    choose(offline, flair=flair, t1c=browser.GetProxyNode(sequence))
    assert "of a sequence of 3" in said_after_run(offline)


def test_one_sequence_alone_is_too_few(offline: Reader) -> None:
    choose(offline, flair=add_volume(offline.scene, GRID, "FLAIR"))
    assert "At least two of T1, T1c, T2 and FLAIR are needed" in said_after_run(offline)


def test_volumes_of_two_patients_are_stopped(offline: Reader) -> None:
    far = np.array(GRID.ijk_to_ras)
    far[:3, 3] += 400
    choose(
        offline,
        t1c=add_volume(offline.scene, GRID, "T1c"),
        flair=add_volume(offline.scene, Geometry(GRID.shape, far), "FLAIR"),
    )
    assert "same patient" in said_after_run(offline)
    assert "mm apart" in offline.said("study", "flairStateLabel")


def test_a_volume_on_another_grid_is_announced(offline: Reader) -> None:
    choose(
        offline,
        t1c=add_volume(offline.scene, GRID, "T1c"),
        flair=add_volume(offline.scene, GRIDS["thick oblique"], "FLAIR"),
    )
    assert "registered to it and resampled" in offline.said("study", "flairStateLabel")
    offline.ui("ai").registerComboBox.setCurrentIndex(2)
    assert "not registered" in offline.said("study", "flairStateLabel")


def test_a_volume_under_a_bending_transform_is_refused(offline: Reader) -> None:
    import vtk

    t1c, flair = add_volume(offline.scene, GRID, "T1c"), add_volume(offline.scene, GRID, "FLAIR")
    bend = offline.scene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    bend.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    t1c.SetAndObserveTransformNodeID(bend.GetID())
    choose(offline, t1c=t1c, flair=flair)
    assert "bends it" in said_after_run(offline)


def test_a_renamed_volume_stays_in_its_slot_and_a_deleted_one_leaves_it(reader: Reader) -> None:
    t1c, flair = add_volume(reader.scene, GRID, "T1 post gad"), add_volume(reader.scene, GRID, "FLAIR")
    spin(lambda: reader.panel.study.volume("t1c") is not None, 10)
    t1c.SetName("something else")
    assert reader.panel.study.volume("t1c") is t1c
    reader.scene.RemoveNode(flair)
    spin(lambda: reader.ui("study").flairSelector.currentNode() is None, 10)
    assert reader.panel.study.volume("flair") is None


def test_nothing_to_save_and_nobody_to_save_it_are_said(reader: Reader) -> None:
    reader.panel.save_section.save()
    assert "no segmentation to save" in reader.said("save", "saveStateLabel")
    add_volume(reader.scene, GRID, "T1 post gad")
    spin(lambda: reader.panel.study.volume("t1c") is not None, 10)
    reader.panel.review.place(tumour(GRID), Provenance())
    reader.panel.review.refresh()
    reader.ui("save").authorLineEdit.text = ""
    reader.panel.save_section.save()
    assert "Type your name" in reader.said("save", "saveStateLabel")
    reader.save(author="Dr. B")
    assert "Saved on this computer" in reader.said("save", "saveStateLabel")


def test_a_segmentation_that_the_reader_drew_alone_can_be_saved(reader: Reader) -> None:
    add_volume(reader.scene, GRID, "T1 post gad")
    spin(lambda: reader.panel.study.volume("t1c") is not None, 10)
    node = reader.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    node.GetSegmentation().AddEmptySegment("cyst", "Cyst")
    reader.panel.review.choose(node)
    reader.save()
    assert reader.panel.versions.waiting == 1


def test_two_panels_share_the_study_and_the_segmentation(reader: Reader) -> None:
    import qt

    from MahtAILib.panel.panel import Panel

    window = slicer.qMRMLWidget()
    second = Panel(qt.QVBoxLayout(window), reader.scene, reader.panel.settings, lambda uid, tag: "")
    second.enter()
    add_volume(reader.scene, GRID, "T1 post gad")
    add_volume(reader.scene, GRID, "FLAIR")
    spin(lambda: second.study.volume("flair") is not None and reader.panel.study.volume("flair") is not None, 10)
    node = reader.panel.review.place(tumour(GRID), Provenance(job="j"))
    assert second.review.node is node
    spin(lambda: reader.ui("save").saveButton.enabled and second.save_section.ui.saveButton.enabled, 10)
    from MahtAILib.scene.edits import is_edited

    node.GetSegmentation().RemoveSegment("ed")
    assert is_edited(node)
    reader.save()
    assert not is_edited(second.review.node)
    np.testing.assert_array_equal(
        take_segments(second.review.node, GRID).segmentation.layers,
        take_segments(reader.panel.review.node, GRID).segmentation.layers,
    )
    second.close()


def test_a_sheared_volume_is_refused(offline: Reader) -> None:
    t1c, flair = add_volume(offline.scene, GRID, "T1c"), add_volume(offline.scene, GRID, "FLAIR")
    shear = offline.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shear")
    matrix = np.eye(4)
    matrix[0, 1] = 0.3
    shear.SetMatrixTransformToParent(vtk_matrix(matrix))
    flair.SetAndObserveTransformNodeID(shear.GetID())
    choose(offline, t1c=t1c, flair=flair)
    assert "sheared" in said_after_run(offline)
