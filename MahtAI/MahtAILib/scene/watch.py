"""What happens to the scene as a whole: closed, loaded, volumes come and go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import vtk


class SceneWatch:
    """Calls back on the main thread until ``stop``.

    Args:
        on_closing: before the scene's nodes go.
        on_replaced: after the scene was closed, or another one was loaded into it.
        on_nodes: after a volume or segmentation that selectors list was added or removed; not while a scene is being
            loaded.
    """

    def __init__(
        self,
        scene: Any,
        on_closing: Callable[[], None],
        on_replaced: Callable[[], None],
        on_nodes: Callable[[], None],
    ) -> None:
        self._scene = scene
        self._on_nodes = on_nodes
        self._observers = [
            scene.AddObserver(scene.StartCloseEvent, lambda *_arguments: on_closing()),
            scene.AddObserver(scene.EndCloseEvent, lambda *_arguments: on_replaced()),
            scene.AddObserver(scene.EndImportEvent, lambda *_arguments: on_replaced()),
            scene.AddObserver(scene.NodeAddedEvent, self._node_event()),
            scene.AddObserver(scene.NodeRemovedEvent, self._node_event()),
        ]

    def stop(self) -> None:
        """No more calls."""
        for observer in self._observers:
            self._scene.RemoveObserver(observer)
        self._observers = []

    def _node_event(self) -> Callable[..., None]:
        def called(_scene: Any, _event: str, node: Any) -> None:
            if self._scene.IsBatchProcessing():
                return
            is_content = node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLSegmentationNode")
            if is_content and not node.GetHideFromEditors():
                self._on_nodes()

        called.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
        return called
