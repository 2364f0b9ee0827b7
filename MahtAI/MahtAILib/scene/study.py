"""The loaded volumes as candidates for T1c, T1, T2 and FLAIR, with what DICOM knows of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MahtAILib.errors import ExplainedError
from MahtAILib.scene.alignment import CONTENT_ATTRIBUTE
from MahtAILib.scene.volumes import geometry_of_volume
from MahtAILib.sequences.assignment import Assignment, Candidate, assign
from MahtAILib.sequences.tags import TAGS

TagReader = Callable[[str, str], str]
"""(SOP instance UID, tag as ``gggg,eeee``) → value, empty where it is not known.

In Slicer: ``slicer.dicomDatabase.instanceValue``, which reads the database's cache before the file.
"""

INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"


def assign_study(scene: Any, tag_reader: TagReader | None = None) -> Assignment:
    """Find the four sequences among the loaded volumes; keys are node IDs.

    Args:
        tag_reader: asks the DICOM database; without it names alone decide.
    """
    return assign(candidates(scene, tag_reader))


def candidates(scene: Any, tag_reader: TagReader | None = None) -> list[Candidate]:
    """Every scalar volume that the reader can see in Slicer's selectors, in the order of loading.

    Those that cannot be used as an input say why. Label maps, hidden nodes and our own confidence maps are left out.
    """
    nodes = scene.GetNodesByClass("vtkMRMLScalarVolumeNode")
    nodes.UnRegister(None)
    return [
        _candidate(scene, node, tag_reader)
        for node in nodes
        if not node.GetHideFromEditors()
        and not node.IsA("vtkMRMLLabelMapVolumeNode")
        and node.GetAttribute(CONTENT_ATTRIBUTE) is None
    ]


def _candidate(scene: Any, node: Any, tag_reader: TagReader | None) -> Candidate:
    geometry, unusable = None, ""
    try:
        geometry = geometry_of_volume(node)
    except ExplainedError as error:
        unusable = error.reason
    return Candidate(node.GetID(), node.GetName() or "", _tags(scene, node, tag_reader), geometry, unusable)


def _tags(scene: Any, node: Any, tag_reader: TagReader | None) -> dict[str, str]:
    """DICOM keyword → value. One instance stands for the series; what the scene knows completes it."""
    tags = _tags_of_hierarchy(scene, node)
    instance = next(iter((node.GetAttribute(INSTANCES_ATTRIBUTE) or "").split()), "")
    if tag_reader is None or not instance:
        return tags
    read = {keyword: tag_reader(instance, tag) for keyword, tag in TAGS.items()}
    return {**tags, **{keyword: value for keyword, value in read.items() if value}}


def _tags_of_hierarchy(scene: Any, node: Any) -> dict[str, str]:
    """What the subject hierarchy keeps of a series, its study and its patient; saved with the scene."""
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    item = 0 if hierarchy is None else hierarchy.GetItemByDataNode(node)
    if not item:
        return {}
    found = {
        "Modality": hierarchy.GetItemAttribute(item, "DICOM.Modality"),
        "SeriesNumber": hierarchy.GetItemAttribute(item, "DICOM.SeriesNumber"),
        "StudyInstanceUID": _uid_above(hierarchy, item, "Study"),
        "PatientID": _uid_above(hierarchy, item, "Patient"),
    }
    return {keyword: value for keyword, value in found.items() if value}


def _uid_above(hierarchy: Any, item: int, level: str) -> str:
    above = hierarchy.GetItemAncestorAtLevel(item, level)
    return hierarchy.GetItemUID(above, "DICOM") if above else ""
