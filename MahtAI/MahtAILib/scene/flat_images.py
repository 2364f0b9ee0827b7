"""Images of one slice, such as a cephalogram: which are loaded, where their pixels lie, and their grey values.

Two ways to say where a point lies: RAS, as in the scene, and *plane units*: (x, y) with x to the right and y down
in the image as its file has it, 0 at the centre of its first pixel, in units of the scene's space. A unit is one
true millimetre only if the image is calibrated (``calibration``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import vtk
from numpy.typing import ArrayLike, NDArray
from vtk.util import numpy_support

from MahtAILib.client.geometry import Geometry, check_geometry
from MahtAILib.scene.alignment import CONTENT_ATTRIBUTE
from MahtAILib.scene.volumes import VolumeError, VolumeOut, frames_of_volume, ijk_to_world, modified

SMALLEST_SIDE = 200
"""Pixels, as on the server; in a smaller image nobody can place a landmark to a millimetre or two."""

FLAT_ATTRIBUTE = "MahtAI.SingleImage"
"""Of images of one slice, so that a selector can list them and no others."""

_GREY_OF_RGB = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class Plane:
    """Where the pixels of an image lie.

    Attributes:
        width, height: in pixels.
        ijk_to_ras: 4×4, pixel (column, row, 0) → RAS, with the transform that the image is under.
    """

    width: int
    height: int
    ijk_to_ras: NDArray[np.float64]

    @cached_property
    def spacing(self) -> tuple[float, float]:
        """Units a pixel, to the right and down."""
        across, down, _ = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(across), float(down)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in units."""
        across, down = self.spacing
        return self.width * across, self.height * down

    @cached_property
    def axes(self) -> NDArray[np.float64]:
        """3×2; the columns are RAS unit vectors to the right and down in the image."""
        return np.asarray(self.ijk_to_ras[:3, :2] / self.spacing)

    @property
    def center_ras(self) -> NDArray[np.float64]:
        """The middle of the image."""
        return np.asarray((self.ijk_to_ras @ [(self.width - 1) / 2, (self.height - 1) / 2, 0, 1])[:3])

    def units_of(self, points_ras: ArrayLike) -> NDArray[np.float64]:
        """[…, 2] plane units of points […, 3] in RAS; how far they lie from the plane is left out."""
        return np.asarray((np.asarray(points_ras, float) - self.ijk_to_ras[:3, 3]) @ self.axes)

    def ras_of(self, points: ArrayLike) -> NDArray[np.float64]:
        """[…, 3] RAS of points […, 2] in plane units."""
        return np.asarray(np.asarray(points, float) @ self.axes.T + self.ijk_to_ras[:3, 3])

    def holds(self, point: ArrayLike) -> bool:
        """Whether a point in plane units lies in the image."""
        x, y = np.asarray(point, float)
        across, down = self.spacing
        return bool(-0.5 * across <= x <= self.size[0] - 0.5 * across and -0.5 * down <= y <= self.size[1] - 0.5 * down)


def is_flat(node: Any) -> bool:
    """Whether a volume node is an image of one slice that a reader can see in Slicer's selectors."""
    if node is None or not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLLabelMapVolumeNode"):
        return False
    if node.GetHideFromEditors() or node.GetAttribute(CONTENT_ATTRIBUTE) is not None:
        return False
    image = node.GetImageData()
    if image is None or not image.GetNumberOfPoints():
        return False
    width, height, depth = image.GetDimensions()
    return depth == 1 and min(width, height) > 1


def flat_images(scene: Any) -> list[Any]:
    """The images of one slice, in the order of loading; each is marked as such."""
    nodes = scene.GetNodesByClass("vtkMRMLScalarVolumeNode")
    nodes.UnRegister(None)
    flat = [node for node in nodes if is_flat(node)]
    for node in flat:
        if node.GetAttribute(FLAT_ATTRIBUTE) is None:
            node.SetAttribute(FLAT_ATTRIBUTE, "1")
    return flat


def has_series(scene: Any) -> bool:
    """Whether a volume of several slices is loaded."""
    nodes = scene.GetNodesByClass("vtkMRMLScalarVolumeNode")
    nodes.UnRegister(None)
    images = [node.GetImageData() for node in nodes if node.GetAttribute(CONTENT_ATTRIBUTE) is None]
    return any(image is not None and image.GetDimensions()[2] > 1 for image in images)


def active_volume(scene: Any) -> Any:
    """The volume that Slicer shows by default, or None."""
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    return None if selection is None else scene.GetNodeByID(selection.GetActiveVolumeID() or "")


def plane_of(node: Any) -> Plane:
    """Where the pixels of an image lie.

    Raises:
        VolumeError: deleted, empty, not one slice, too small, or a spacing that is zero or negative.
        GeometryError: a spacing that is no number or absurd, or axes that are not at right angles.
    """
    if node is None or node.GetScene() is None:
        raise VolumeError(
            "The image is no longer in the scene; it was deleted or its scene was closed.",
            "Load it again, or choose another image.",
        )
    name = f"“{node.GetName()}”"
    if not is_flat(node):
        raise VolumeError(f"{name} is not a single image.", "Choose a lateral cephalogram: one image, not a series.")
    width, height, _ = node.GetImageData().GetDimensions()
    if min(width, height) < SMALLEST_SIDE:
        raise VolumeError(
            f"{name} has {width} × {height} pixels; no landmark can be found in so small an image.",
            "Load the image in its full size.",
        )
    if any(spacing <= 0 for spacing in node.GetSpacing()):
        raise VolumeError(
            f"The pixel spacing of {name} is {' × '.join(f'{value:g}' for value in node.GetSpacing()[:2])}: "
            "zero or negative.",
            "Correct it (Slicer: Volumes module, Volume Information; 1 × 1 × 1 will do), then calibrate here.",
        )
    if frames_of_volume(node) > 1:
        raise VolumeError(
            f"{name} is the frame that is shown of a sequence.",
            "Clone the frame that is meant (Slicer: Data module, right click, Clone) and choose the copy.",
        )
    geometry = Geometry((width, height, 1), ijk_to_world(node, node.GetImageData()))
    check_geometry(geometry)
    return Plane(width, height, np.array(geometry.ijk_to_ras))


def flat_image_out(node: Any) -> VolumeOut:
    """The grey values of an image, copied, and where they lie; colours are turned into grey.

    Raises:
        VolumeError: as ``plane_of``, or neither 1, 3 nor 4 values a pixel, or a pixel that is no number.
        GeometryError: as ``plane_of``.
    """
    plane = plane_of(node)
    scalars = node.GetImageData().GetPointData().GetScalars()
    components = scalars.GetNumberOfComponents()
    if components not in (1, 3, 4) or scalars.GetDataType() == vtk.VTK_BIT:
        raise VolumeError(
            f"“{node.GetName()}” holds {components} values a pixel; grey has 1, colour 3 or 4.",
            "Save the image as an ordinary PNG, JPEG or DICOM file and load that.",
        )
    pixels = numpy_support.vtk_to_numpy(scalars).reshape(plane.height, plane.width, components)
    grey = pixels[..., 0].copy() if components == 1 else grey_of(pixels[..., :3])
    if not np.isfinite(grey).all():
        raise VolumeError(
            f"“{node.GetName()}” has pixels that are no numbers.", "Load the original file of the image again."
        )
    reference = vtk.vtkWeakReference()
    reference.Set(node)
    return VolumeOut(
        np.asfortranarray(grey.T[:, :, None]), plane.ijk_to_ras, node.GetName(), reference, modified(node), _geometry
    )


def grey_of(pixels: NDArray[Any]) -> NDArray[Any]:
    """Luminance [row, column] of RGB [row, column, 3], in the same type; equal components stay what they are."""
    first = pixels[..., 0]
    if (pixels[..., 1] == first).all() and (pixels[..., 2] == first).all():
        return first.copy()
    grey = pixels @ np.array(_GREY_OF_RGB)
    return np.asarray(grey if np.issubdtype(pixels.dtype, np.floating) else np.rint(grey), pixels.dtype)


def _geometry(node: Any) -> Geometry:
    plane = plane_of(node)
    return Geometry((plane.width, plane.height, 1), plane.ijk_to_ras)
