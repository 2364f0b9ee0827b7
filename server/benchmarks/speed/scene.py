"""Where the reader's click comes from and where the result goes: Slicer's real scene, or a stand-in without Slicer.

The steps are those of the panel (``StudyState.take``, ``segmentation_task.run_model``, ``ReviewState.place``), on the
same functions of ``MahtAILib.scene``. What Slicer draws afterwards is not measured here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from MahtAILib.client import nrrd
from MahtAILib.client import segmentation as files
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.client.study import Identity, StudyResult, StudyVolume
from speed.cases import Case

KIT = Path(__file__).resolve().parents[3] / "MahtAI" / "Testing" / "Python"
"""Makes Slicer's scene from the libraries of slicer-core."""


class Scene(Protocol):
    """What a run is measured on."""

    name: str

    def load(self, case: Case) -> None:
        """Open a study in place of the last one."""

    def touch(self) -> None:
        """Change one voxel of each volume, inside of the brain, so that no server has seen the study."""

    def take(self) -> dict[str, StudyVolume]:
        """The study for a run: channel → volume."""

    def place(self, result: StudyResult) -> None:
        """Bring a result in."""


@contextmanager
def open_scene(folder: Path) -> Iterator[Scene]:
    """Slicer's scene where slicer-core is installed, else the stand-in; Slicer's files lie in ``folder``."""
    try:
        import slicer  # noqa: F401
    except ImportError:
        yield NoScene()
        return
    if str(KIT) not in sys.path:
        sys.path.append(str(KIT))
    from kit.scene_context import make_context

    folder.mkdir(parents=True, exist_ok=True)
    with make_context(folder) as context:
        yield SlicerScene(context.scene)


class SlicerScene:
    """A real MRML scene without the application."""

    def __init__(self, scene: Any) -> None:
        self.name = "slicer-core"
        self._scene = scene
        self._nodes: dict[str, Any] = {}
        self._identities: dict[tuple[object, ...], Identity] = {}
        self._segmentation: Any = None
        self._confidence: Any = None

    def load(self, case: Case) -> None:
        """See ``Scene``."""
        from MahtAILib.scene.images import plain_image, vtk_matrix

        self._scene.Clear(False)
        self._nodes, self._segmentation, self._confidence = {}, None, None
        for channel, (array, ijk_to_ras) in case.volumes.items():
            node = self._scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", channel)
            node.SetAndObserveImageData(plain_image(np.ascontiguousarray(array)))
            node.SetIJKToRASMatrix(vtk_matrix(ijk_to_ras))
            self._nodes[channel] = node

    def touch(self) -> None:
        """See ``Scene``."""
        from MahtAILib.scene.images import voxels_of

        for node in self._nodes.values():
            _change_one_voxel(voxels_of(node.GetImageData()))
            scalars = node.GetImageData().GetPointData().GetScalars()
            scalars.Modified()
            node.GetImageData().Modified()

    def take(self) -> dict[str, StudyVolume]:
        """See ``Scene``."""
        from MahtAILib.scene.geometry import check
        from MahtAILib.scene.volumes import volume_out

        checked = check(self._nodes, "auto")
        if not checked.can_run:
            raise ValueError(" ".join(checked.reasons))
        taken = {channel: volume_out(node) for channel, node in self._nodes.items()}
        self._identities = {out.key: self._identities.get(out.key, Identity()) for out in taken.values()}
        return {
            channel: StudyVolume(out.array, out.ijk_to_ras, self._identities[out.key], is_shared=True)
            for channel, out in taken.items()
        }

    def place(self, result: StudyResult) -> None:
        """See ``Scene``."""
        from MahtAILib.scene.doubt import doubtful_places, doubtful_slices
        from MahtAILib.scene.edits import not_by_the_reader
        from MahtAILib.scene.provenance import Provenance
        from MahtAILib.scene.results import place_confidence, place_segmentation

        segmentation = files.decode(result.segmentation)
        confidence = _confidence_of(result)
        if confidence is not None:
            doubtful_places(*confidence)
            doubtful_slices(*confidence)
        provenance = Provenance(
            job=result.job_id,
            inputs=result.inputs,
            **Provenance.of_summary(result.summary),
            file=segmentation.provenance,
        )
        with not_by_the_reader():
            self._segmentation = place_segmentation(
                self._scene, segmentation, provenance, "segmentation", self._nodes.get("t1c"), self._segmentation
            )
        if confidence is not None:
            self._confidence = place_confidence(self._scene, *confidence, result.job_id, self._confidence)


class NoScene:
    """Arrays in memory: import is decoding alone, and what Slicer adds to both ends is not measured."""

    def __init__(self) -> None:
        self.name = "none (slicer-core is not installed): export and import are without the scene"
        self._volumes: dict[str, StudyVolume] = {}

    def load(self, case: Case) -> None:
        """See ``Scene``."""
        self._volumes = {
            channel: StudyVolume(np.asfortranarray(array), ijk_to_ras)
            for channel, (array, ijk_to_ras) in case.volumes.items()
        }

    def touch(self) -> None:
        """See ``Scene``."""
        for channel, volume in self._volumes.items():
            array = np.array(volume.array, order="F")
            _change_one_voxel(array)
            self._volumes[channel] = StudyVolume(array, volume.ijk_to_ras)

    def take(self) -> dict[str, StudyVolume]:
        """See ``Scene``."""
        return dict(self._volumes)

    def place(self, result: StudyResult) -> None:
        """See ``Scene``."""
        files.decode(result.segmentation)
        _confidence_of(result)


def labels_of(result: StudyResult) -> np.ndarray:
    """Labels [i, j, k] uint8 of a result."""
    segmentation: Segmentation = files.decode(result.segmentation)
    return np.asarray(segmentation.layers[0]).astype(np.uint8)


def _confidence_of(result: StudyResult) -> tuple[np.ndarray, Geometry] | None:
    if result.confidence is None:
        return None
    volume = nrrd.decode(result.confidence)
    return np.asarray(volume.array), Geometry(volume.array.shape, volume.ijk_to_ras)


def _change_one_voxel(array: np.ndarray) -> None:
    """By one, somewhere near the middle where there is signal: neither the background nor the range changes."""
    window = tuple(slice(max(0, count // 2 - 20), count // 2 + 20) for count in array.shape)
    inside = np.argwhere((array[window] > 1) & (array[window] < array.max()))
    chosen = np.random.default_rng().choice(inside)
    array[tuple(int(side.start + index) for side, index in zip(window, chosen, strict=True))] -= 1
