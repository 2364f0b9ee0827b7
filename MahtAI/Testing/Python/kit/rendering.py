"""The four views drawn by Slicer's real displayable managers, offscreen.

    with rendered_views(context) as drawn:
        picture = drawn["MahtAIT1c"].picture()      # [row, column, RGB] uint8, as the reader sees it

Set ``VTK_DEFAULT_OPENGL_WINDOW=vtkEGLRenderWindow`` before VTK makes its first window (``need_offscreen``).
``kit.slicer_window`` puts pictures together as Slicer's window does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from MahtAILib.scene.images import numpy_matrix
from MahtAILib.scene.layout import VIEWS

from .scene_context import SlicerContext

MANAGERS = (
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
)


def need_offscreen() -> None:
    """Draw without a display; before anything else draws."""
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")


def add_crosshair(scene: Any) -> Any:
    """The crosshair node that Slicer's application adds to each scene; not shown at first."""
    node = scene.CreateNodeByClass("vtkMRMLCrosshairNode")
    node.UnRegister(None)
    node.SetCrosshairName("default")
    return scene.AddNode(node)


class DrawnView:
    """One slice view with a window of its own.

    Attributes:
        node: vtkMRMLSliceNode. logic: its vtkMRMLSliceLogic.
        size: width and height in pixels.
    """

    def __init__(self, context: SlicerContext, tag: str, size: tuple[int, int]) -> None:
        widget = context.app.layoutManager().sliceWidget(tag)
        self.node, self.logic = widget.mrmlSliceNode(), widget.sliceLogic()
        self.size = size
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(*size)
        renderer = vtk.vtkRenderer()
        renderer.GetActiveCamera().ParallelProjectionOn()
        self._window.AddRenderer(renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        # the images come first: what is added before them hides them instead of lying over them
        renderer.AddViewProp(self._images())
        self._factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self._factory.SetMRMLApplicationLogic(context.app.applicationLogic())
        for name in MANAGERS:
            if not self._factory.IsDisplayableManagerRegistered(name):
                self._factory.RegisterDisplayableManager(name)
        self._group = self._factory.InstantiateDisplayableManagers(renderer)
        self._group.SetMRMLDisplayableNode(self.node)
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetSliceLogic(self.logic)
        self._style.SetDisplayableManagers(self._group)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._style.SetInteractor(self._interactor)
        self.node.SetDimensions(*size, 1)
        self.logic.ResizeSliceNode(*size)
        widget.fitSliceToBackground()

    def picture(self) -> np.ndarray:
        """[row, column, RGB] uint8, first row on top."""
        self._window.Render()
        # displayable managers finish in the frame after a change
        self._window.Render()
        pixels = vtk.vtkUnsignedCharArray()
        width, height = self.size
        self._window.GetPixelData(0, 0, width - 1, height - 1, 0, pixels, 0)
        return np.ascontiguousarray(vtk_to_numpy(pixels).reshape(height, width, -1)[::-1, :, :3])

    def points_ras_mm(self) -> np.ndarray:
        """[row, column, RAS] in mm: the point that each pixel of the picture shows."""
        width, height = self.size
        row, column = np.mgrid[:height, :width]
        xy = np.stack([column, height - 1 - row, np.zeros_like(row), np.ones_like(row)], -1)
        return (xy @ numpy_matrix(self.node.GetXYToRAS()).T)[..., :3]

    def pixel_of(self, ras_mm: Any) -> tuple[int, int]:
        """Row and column of a point in RAS."""
        x, y, _, _ = np.linalg.solve(numpy_matrix(self.node.GetXYToRAS()), [*ras_mm, 1.0])
        return round(self.size[1] - 1 - y), round(x)

    def turn_wheel(self, forward: bool = True) -> None:
        """The reader turns the mouse wheel over the middle of the view."""
        self._interactor.SetEventInformation(self.size[0] // 2, self.size[1] // 2, 0, 0, "\0", 0, None)
        self._interactor.Enable()
        self._interactor.InvokeEvent("EnterEvent")
        self._interactor.InvokeEvent("MouseMoveEvent")
        (self._interactor.MouseWheelForwardEvent if forward else self._interactor.MouseWheelBackwardEvent)()

    def close(self) -> None:
        """Give the window back."""
        self._style.SetInteractor(None)
        self._group.SetMRMLDisplayableNode(None)
        self._factory.SetMRMLApplicationLogic(None)
        self._window.Finalize()

    def _images(self) -> vtk.vtkActor2D:
        """Background, foreground and label layer, blended by the slice logic."""
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        mapper.SetInputConnection(self.logic.GetImageDataConnection())
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        return actor


@contextmanager
def rendered_views(context: SlicerContext, size: tuple[int, int] = (400, 400)) -> Iterator[dict[str, DrawnView]]:
    """The views of MahtAI's layout, by singleton tag; the layout has to be chosen before."""
    drawn = {view.tag: DrawnView(context, view.tag, size) for view in VIEWS}
    try:
        yield drawn
    finally:
        for view in drawn.values():
            view.close()
