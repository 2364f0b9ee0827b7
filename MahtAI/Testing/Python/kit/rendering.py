"""The four views drawn by Slicer's real displayable managers, offscreen.

    with rendered_views(context) as drawn:
        picture = drawn["MahtAIT1c"].picture()      # [row, column, RGB] uint8, as the reader sees it

Set ``VTK_DEFAULT_OPENGL_WINDOW=vtkEGLRenderWindow`` before VTK makes its first window (``need_offscreen``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk
from PIL import Image, ImageColor, ImageDraw, ImageFont
from vtk.util.numpy_support import vtk_to_numpy

from MahtAILib.scene import views

from .scene_context import SlicerContext

MANAGERS = ("vtkMRMLCrosshairDisplayableManager", "vtkMRMLSegmentationsDisplayableManager2D")


def need_offscreen() -> None:
    """Draw without a display; before anything else draws."""
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")


class DrawnView:
    """One slice view with a window of its own."""

    def __init__(self, context: SlicerContext, tag: str, size: tuple[int, int]) -> None:
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(context.app.applicationLogic())
        for name in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
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
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self._window)
        self._group = factory.InstantiateDisplayableManagers(renderer)
        self._group.SetMRMLDisplayableNode(self.node)
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetSliceLogic(self.logic)
        self._style.SetDisplayableManagers(self._group)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._style.SetInteractor(self.interactor)
        self.node.SetDimensions(*size, 1)
        self.logic.ResizeSliceNode(*size)
        widget.fitSliceToBackground()
        self._show_images(renderer)

    def picture(self) -> np.ndarray:
        """[row, column, RGB] uint8, first row on top."""
        self._window.Render()
        # displayable managers finish in the frame after a change
        self._window.Render()
        pixels = vtk.vtkUnsignedCharArray()
        width, height = self.size
        self._window.GetPixelData(0, 0, width - 1, height - 1, 0, pixels, 0)
        return np.ascontiguousarray(vtk_to_numpy(pixels).reshape(height, width, -1)[::-1, :, :3])

    def pixel_of(self, ras_mm: Any) -> tuple[int, int]:
        """Row and column of a point in RAS."""
        matrix = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), matrix)
        x, y, _, _ = matrix.MultiplyPoint((*(float(value) for value in ras_mm), 1.0))
        return round(self.size[1] - 1 - y), round(x)

    def turn_wheel(self, forward: bool = True) -> None:
        """The reader turns the mouse wheel over the middle of the view."""
        self.interactor.SetEventInformation(self.size[0] // 2, self.size[1] // 2, 0, 0, "\0", 0, None)
        self.interactor.Enable()
        self.interactor.InvokeEvent("EnterEvent")
        self.interactor.InvokeEvent("MouseMoveEvent")
        (self.interactor.MouseWheelForwardEvent if forward else self.interactor.MouseWheelBackwardEvent)()

    def close(self) -> None:
        """Give the window back."""
        self._style.SetInteractor(None)
        self._group.SetMRMLDisplayableNode(None)
        self._window.Finalize()

    def _show_images(self, renderer: Any) -> None:
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        mapper.SetInputConnection(self.logic.GetImageDataConnection())
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(actor)


@contextmanager
def rendered_views(context: SlicerContext, size: tuple[int, int] = (400, 400)) -> Iterator[dict[str, DrawnView]]:
    """The views of MahtAI's layout, by singleton tag; the layout has to be chosen before."""
    drawn = {view.tag: DrawnView(context, view.tag, size) for view in views.VIEWS}
    try:
        yield drawn
    finally:
        for view in drawn.values():
            view.close()


def four_up(drawn: Mapping[str, DrawnView]) -> Image.Image:
    """The four views as the layout places them, with their labels and colours as Slicer draws them."""
    width, height = next(iter(drawn.values())).size
    bar, gap = 20, 3
    sheet = Image.new("RGB", (2 * width + gap, 2 * (height + bar) + gap), (40, 40, 40))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for number, view in enumerate(views.VIEWS):
        left, top = (number % 2) * (width + gap), (number // 2) * (height + bar + gap)
        pen.rectangle((left, top, left + width - 1, top + bar - 1), fill=ImageColor.getrgb(view.color))
        pen.text((left + 6, top + 2), view.label, fill=(0, 0, 0), font=font)
        pen.text((left + width - 84, top + 2), f"S: {drawn[view.tag].logic.GetSliceOffset():.1f} mm", (0, 0, 0), font)
        sheet.paste(Image.fromarray(drawn[view.tag].picture()), (left, top + bar))
    return sheet
