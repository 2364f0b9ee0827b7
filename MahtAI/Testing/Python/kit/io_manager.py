"""Stand-in for ``slicer.app.coreIOManager()``: what ``slicer.util.load…`` and ``save…`` need, by the real logics."""

# ruff: noqa: N802 (Slicer's names)

from __future__ import annotations

from pathlib import Path
from typing import Any

SEGMENTATION_ENDINGS = (".seg.nrrd", ".seg.nhdr")
SCENE_ENDINGS = (".mrml", ".mrb")


class CoreIOManager:
    """Volumes, segmentations and scenes; anything else is refused."""

    def __init__(self, scene: Any, application_logic: Any) -> None:
        self._scene, self._logic = scene, application_logic

    def fileType(self, path: str) -> str:
        if path.endswith(SCENE_ENDINGS):
            return "SceneFile"
        return "SegmentationFile" if path.endswith(SEGMENTATION_ENDINGS) else "VolumeFile"

    def fileWriterFileType(self, node: Any) -> str:
        return "NodeFile"

    def loadNodes(self, kind: str, properties: dict[str, Any], loaded: Any, messages: Any = None) -> bool:
        """True if all was read; ``loaded`` is a vtkCollection that gets the nodes."""
        path = properties["fileName"]
        name = properties.get("name") or Path(path).name.split(".")[0]
        if kind == "VolumeFile":
            options = 1 if properties.get("labelmap") else 0
            node = self._logic.GetModuleLogic("Volumes").AddArchetypeVolume(path, name, options)
        elif kind == "SegmentationFile":
            node = self._logic.GetModuleLogic("Segmentations").LoadSegmentationFromFile(path, True, name)
        elif kind == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)))
        else:
            raise AssertionError(f"this kit does not load {kind}")
        if node is not None:
            loaded.AddItem(node)
        return node is not None

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any = None) -> bool:
        """True if it was written."""
        path = properties["fileName"]
        if kind == "SceneFile":
            return self._save_scene(path)
        node = self._scene.GetNodeByID(properties["nodeID"])
        storage = node.GetStorageNode()
        if storage is None:
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            self._scene.AddNode(storage)
            node.SetAndObserveStorageNodeID(storage.GetID())
        storage.SetFileName(str(path))
        storage.SetUseCompression(properties.get("useCompression", 1))
        return bool(storage.WriteData(node))

    def _load_scene(self, path: str, clear: bool) -> bool:
        if clear:
            self._scene.Clear(False)
        if path.endswith(".mrb"):
            return bool(self._scene.ReadFromMRB(path, False))
        self._scene.SetURL(path)
        return bool(self._scene.Import())

    def _save_scene(self, path: str) -> bool:
        if path.endswith(".mrb"):
            return bool(self._scene.WriteToMRB(path))
        self._scene.SetURL(path)
        return bool(self._scene.Commit(path))
