"""The volumes of a case of the work list: from files into the scene, on their own grid, and out of it again.

Reading, copying and the window are for a worker thread; the main thread only makes nodes. A node remembers which file
of which case it is, so that a study that is still that case is known as such, also after the scene was saved.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import vtk
from numpy.typing import NDArray

from MahtAILib.client import nrrd
from MahtAILib.client.geometry import Geometry, check_geometry
from MahtAILib.errors import ExplainedError
from MahtAILib.scene.images import plain_image, vtk_matrix

CASE_ATTRIBUTE = "MahtAI.Case"

_SAMPLES = 200_000
_DARKEST, _BRIGHTEST = 0.5, 99.8
_GZIPPED = b"\x1f\x8b"


class CaseVolumeError(ExplainedError):
    """A file of a case that cannot be shown."""


@dataclass(frozen=True)
class CaseRef:
    """A case of the work list of one server.

    Attributes:
        server: its address.
        id, number, name, task: of the case.
    """

    server: str
    id: str
    number: int
    name: str
    task: str


@dataclass(frozen=True, eq=False)
class ReadVolume:
    """A volume of which nothing that takes time is left to do on the main thread; to be put into one node.

    Attributes:
        image: vtkImageData with the voxels. ijk_to_ras: 4×4, voxel index → RAS in mm.
        window, level: grey values from black to white, and the middle.
        sha256: of the file.
    """

    image: vtk.vtkImageData
    ijk_to_ras: NDArray[np.float64]
    window: float
    level: float
    sha256: str


def read_volume(data: bytes, sha256: str) -> ReadVolume:
    """Read a file of a case: NRRD, or what else ITK reads of one file (NIfTI); in any thread.

    Raises:
        CaseVolumeError: it cannot be read, or is no volume of one value a voxel.
        GeometryError: sheared, singular, not finite, or of absurd spacing.
    """
    try:
        volume = nrrd.decode(data) if data[:4] == b"NRRD" else _read_by_itk(data)
    except (nrrd.NrrdError, RuntimeError) as error:
        raise CaseVolumeError(
            f"A volume of the case cannot be read here: {str(error).strip().splitlines()[-1]}",
            "Choose another case, and tell the person who runs the server.",
        ) from error
    array = volume.array
    if array.ndim != 3:
        raise CaseVolumeError("A volume of the case has several values a voxel; a scan has one.", "Choose another one.")
    check_geometry(Geometry(array.shape, volume.ijk_to_ras))
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return ReadVolume(plain_image(array), volume.ijk_to_ras, *_window_level(array), sha256)


def add_volume(scene: Any, volume: ReadVolume, case: CaseRef, slot: str, name: str) -> Any:
    """Make a node of a volume; returns it.

    Args:
        volume: used up by this.
        name: of the sequence, for the reader, such as ``T1c``.
    """
    node = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(f"{name} {case.name}"))
    node.SetAttribute(CASE_ATTRIBUTE, json.dumps({**asdict(case), "slot": slot, "sha256": volume.sha256}))
    node = scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)  # Slicer would count all voxels, on the main thread
    display.SetWindowLevel(volume.window, volume.level)
    node.SetIJKToRASMatrix(vtk_matrix(volume.ijk_to_ras))
    node.SetAndObserveImageData(volume.image)
    return node


def case_of(volumes: Mapping[str, Any]) -> CaseRef | None:
    """The case that a study is: each volume is that of its slot, and none is missing or of another one.

    Args:
        volumes: slot → volume node or None.
    """
    marks = {slot: _mark(node) for slot, node in volumes.items() if node is not None}
    if not marks or not all(mark.get("slot") == slot for slot, mark in marks.items()):
        return None
    found = {(mark["server"], mark["id"]) for mark in marks.values()}
    first = next(iter(marks.values()))
    if len(found) != 1:
        return None
    return CaseRef(*(first[name] for name in ("server", "id", "number", "name", "task")))


def sha256_of(node: Any) -> str:
    """Of the file that a volume of a case was made from; empty for other volumes."""
    return str(_mark(node).get("sha256", ""))


def volumes_of_cases(scene: Any) -> list[Any]:
    """All volume nodes that came from the work list."""
    return [node for node in _nodes(scene, "vtkMRMLScalarVolumeNode") if _mark(node)]


def remove_nodes(scene: Any, nodes: Iterable[Any]) -> None:
    """Take nodes out of the scene, with what only they use: how they are drawn, and where they are stored."""
    for node in nodes:
        own = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
        own += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
        scene.RemoveNode(node)
        for other in own:
            if other is not None and other.GetScene() is not None:
                scene.RemoveNode(other)


def segmentations_on(scene: Any, volumes: Iterable[Any]) -> list[Any]:
    """Segmentation nodes that belong to one of these volumes."""
    ids = {volume.GetID() for volume in volumes}
    return [
        node
        for node in _nodes(scene, "vtkMRMLSegmentationNode")
        if node.GetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole()) in ids
    ]


def _mark(node: Any) -> dict[str, Any]:
    try:
        document = json.loads(node.GetAttribute(CASE_ATTRIBUTE) or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _nodes(scene: Any, kind: str) -> list[Any]:
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]


def _read_by_itk(data: bytes) -> nrrd.NrrdVolume:
    """A NIfTI file, of which ITK knows all kinds.

    Raises:
        RuntimeError: ITK cannot read it.
    """
    import SimpleITK

    with TemporaryDirectory() as folder:
        path = Path(folder) / ("volume.nii.gz" if data[:2] == _GZIPPED else "volume.nii")
        path.write_bytes(data)
        image = SimpleITK.ReadImage(str(path))
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise RuntimeError("it is no volume of one value a voxel")
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    array = SimpleITK.GetArrayFromImage(image).T
    return nrrd.NrrdVolume(array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix)


def _window_level(array: NDArray[Any]) -> tuple[float, float]:
    """A window that shows the tissue: what is not background, without the outermost values."""
    flat = array.ravel(order="K")
    sample = flat[:: max(1, flat.size // _SAMPLES)].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    inside = sample[sample > sample.min()] if sample.size else sample
    if not inside.size:
        return 1.0, 0.5
    low, high = np.percentile(inside, (_DARKEST, _BRIGHTEST))
    low = min(float(low), 0.0) if sample.min() >= 0 else float(low)
    return max(float(high) - low, 1e-6), (float(high) + low) / 2
