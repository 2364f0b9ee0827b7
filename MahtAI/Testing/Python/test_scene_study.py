"""The loaded volumes of a real scene become candidates, with what DICOM and the subject hierarchy know of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from pydicom.datadict import tag_for_keyword
from scene_kit import GRIDS, add_volume

from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.results import place_confidence
from MahtAILib.scene.study import INSTANCES_ATTRIBUTE, assign_study, candidates
from MahtAILib.sequences.tags import TAGS

GRID = GRIDS["LPS"]


def add(scene: Any, *names: str) -> list[Any]:
    return [add_volume(scene, GRID, name) for name in names]


def names_of(scene: Any) -> list[str]:
    return [candidate.name for candidate in candidates(scene)]


class Database:
    """DICOM database: SOP instance UID → keyword → value; counts what it was asked."""

    def __init__(self) -> None:
        self.content: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []

    def register(self, node: Any, **tags: str) -> None:
        first = f"1.2.3.{len(self.content)}"
        self.content[first] = tags
        node.SetAttribute(INSTANCES_ATTRIBUTE, f"{first} {first}.2 {first}.3")

    def read(self, instance: str, tag: str) -> str:
        self.asked.append(instance)
        keyword = {tag: keyword for keyword, tag in TAGS.items()}[tag]
        return self.content[instance].get(keyword, "")


def test_the_tags_are_those_of_the_dicom_standard() -> None:
    for keyword, tag in TAGS.items():
        assert tag_for_keyword(keyword) == int(tag.replace(",", ""), 16), keyword


def test_an_empty_scene_has_no_candidates_and_every_slot_says_so(slicer_context: Any) -> None:
    found = assign_study(slicer_context.scene)
    assert found.keys == {} and found.empty["flair"] == "No volume looks like FLAIR."


def test_four_loaded_files_fill_the_four_slots_by_node_id(slicer_context: Any) -> None:
    nodes = add(slicer_context.scene, "case_flair", "case_t1", "case_t1ce", "case_t2")
    found = assign_study(slicer_context.scene)
    expected = dict(zip(("flair", "t1", "t1c", "t2"), (node.GetID() for node in nodes), strict=True))
    assert found.keys == expected


def test_volumes_of_one_name_are_told_apart(slicer_context: Any) -> None:
    add(slicer_context.scene, "T1", "T1", "T1")
    assert len({candidate.key for candidate in candidates(slicer_context.scene)}) == 3


def test_label_maps_segmentations_hidden_volumes_and_our_own_maps_are_no_candidates(slicer_context: Any) -> None:
    scene = slicer_context.scene
    t1, hidden = add(scene, "T1", "hidden T2")
    hidden.SetHideFromEditors(True)
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "T1c label")
    scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "FLAIR")
    scene.AddNewNodeByClass("vtkMRMLModelNode", "T2")
    place_confidence(scene, np.zeros(GRID.shape, np.uint8), GRID)
    assert names_of(scene) == ["T1"]
    assert assign_study(scene).keys == {"t1": t1.GetID()}


def test_a_volume_that_cannot_be_sent_is_listed_with_the_reason_and_not_chosen(slicer_context: Any) -> None:
    scene = slicer_context.scene
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T2")
    colour = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "FLAIR")
    image = vtk.vtkImageData()
    image.SetDimensions(8, 8, 8)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    colour.SetAndObserveImageData(image)
    add_volume(scene, Geometry((8, 8, 8), np.diag([1, 1, 99, 1.0])), "T1c", np.ones((8, 8, 8), np.int16))
    found = assign_study(scene)
    assert found.keys == {}
    assert sorted(reason.split(";")[0] for reason in found.unusable.values()) == [
        "The voxel spacing is 1 × 1 × 99 mm",
        "“FLAIR” holds 3 values a voxel",
        "“T2” holds no voxels",
    ]


def test_the_frame_of_a_sequence_is_refused_with_a_sentence(slicer_context: Any) -> None:
    scene = slicer_context.scene
    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(scene)
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "T1")
    for value in "01":
        frame = add_volume(scene, GRID, "T1")
        sequence.SetDataNodeAtValue(frame, value)
        scene.RemoveNode(frame)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.AddSynchronizedSequenceNode(sequence)
    logic.UpdateProxyNodesFromSequences(browser)
    found = assign_study(scene)
    assert found.keys == {}
    assert "sequence of 2" in found.unusable[browser.GetProxyNode(sequence).GetID()]


def test_dicom_tags_tell_what_names_do_not(slicer_context: Any) -> None:
    scene, database = slicer_context.scene, Database()
    before, after, t2, flair = add(scene, "a", "b", "c", "d")
    spin_echo = {"Modality": "MR", "ScanningSequence": "SE", "EchoTime": "9", "RepetitionTime": "500"}
    database.register(before, **spin_echo, SeriesNumber="3")
    database.register(after, **spin_echo, SeriesNumber="8", ContrastBolusAgent="Gadovist")
    database.register(t2, ScanningSequence="SE", EchoTime="98", RepetitionTime="5000")
    database.register(flair, ScanningSequence="SE\\IR", EchoTime="120", RepetitionTime="9000", InversionTime="2500")
    found = assign_study(scene, database.read)
    assert found.keys == {"t1": before.GetID(), "t1c": after.GetID(), "t2": t2.GetID(), "flair": flair.GetID()}
    assert found.slots["flair"].reason == "TE 120 ms, TR 9000 ms, TI 2500 ms"


def test_only_the_first_instance_of_a_series_is_asked_and_files_without_dicom_never(slicer_context: Any) -> None:
    database = Database()
    first, _second = add(slicer_context.scene, "T1", "T2")
    database.register(first, Modality="MR")
    candidates(slicer_context.scene, database.read)
    assert set(database.asked) == {"1.2.3.0"} and len(database.asked) == len(TAGS)


def test_two_patients_in_the_subject_hierarchy_are_not_mixed(slicer_context: Any) -> None:
    scene = slicer_context.scene
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    nodes = {}
    for patient, names in (("A", ("T1", "T1 post")), ("B", ("T1", "T2", "FLAIR"))):
        person = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
        hierarchy.SetItemUID(person, "DICOM", patient)
        study = hierarchy.CreateStudyItem(person, "MRI")
        hierarchy.SetItemUID(study, "DICOM", f"1.2.{ord(patient)}")
        for name, node in zip(names, add(scene, *names), strict=True):
            hierarchy.CreateItem(study, node)
            nodes[patient + name] = node.GetID()
    found = assign_study(scene)
    assert found.keys == {"t1": nodes["BT1"], "t2": nodes["BT2"], "flair": nodes["BFLAIR"]}
    assert found.notes


def test_the_series_number_in_the_subject_hierarchy_tells_before_from_after(slicer_context: Any) -> None:
    scene = slicer_context.scene
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    late, post, early = add(scene, "T1 SE tra", "T1 post", "T1 TSE sag")
    for number, node in ((9, late), (8, post), (3, early)):
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        hierarchy.SetItemAttribute(item, "DICOM.SeriesNumber", str(number))
    assert assign_study(scene).keys == {"t1": early.GetID(), "t1c": post.GetID()}


def test_a_volume_of_another_modality_is_not_chosen(slicer_context: Any) -> None:
    database = Database()
    (node,) = add(slicer_context.scene, "T1")
    database.register(node, Modality="CT")
    found = assign_study(slicer_context.scene, database.read)
    assert found.keys == {} and found.unusable == {node.GetID(): "its modality is CT, not MR"}


def test_a_renamed_volume_is_judged_by_its_new_name(slicer_context: Any) -> None:
    (node,) = add(slicer_context.scene, "volume 7")
    assert assign_study(slicer_context.scene).keys == {}
    node.SetName("FLAIR")
    assert assign_study(slicer_context.scene).keys == {"flair": node.GetID()}


@pytest.mark.parametrize("name", ["", "🧠", "T1\nT2", "x" * 5000])
def test_strange_names_are_no_error(slicer_context: Any, name: str) -> None:
    add(slicer_context.scene, name)
    assert len(candidates(slicer_context.scene)) == 1
    assign_study(slicer_context.scene)
