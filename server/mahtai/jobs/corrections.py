"""Is what a reader sends for a correction a region of the result, with labels and strokes? Checked before it is used.

The region is a NRRD file with two components of bytes on a box of the reference grid: the labels as they are now,
and the strokes: 0 none, 1 the reader says background, 1 + v the reader says label v.
"""

from __future__ import annotations

import numpy as np

from mahtai.errors import MahtaiError
from mahtai.jobs.inference import Inference
from MahtAILib.client import nrrd
from MahtAILib.client.geometry import Geometry

MOST_VOXELS = 12_000_000
"""Of a region: more than a whole head at 1 mm."""

_HINT = "Nothing was changed. Update MahtAI on the computer that runs Slicer, then try again."


class CorrectionError(MahtaiError):
    """What was sent cannot be corrected."""

    kind = "correction"
    title = "The region cannot be corrected"
    status = 422


def check_region(inference: Inference, region: bytes) -> None:
    """Compare what was sent with the result that it is of.

    Raises:
        CorrectionError: it is damaged, no region of the result's grid, or names labels that the model has not.
    """
    summary = inference.summary or {}
    if "labels" not in summary:
        raise CorrectionError("The result of this inference is no segmentation.", "Only segmentations are corrected.")
    try:
        if nrrd.read_header(region).voxels > 2 * MOST_VOXELS:
            raise CorrectionError(
                "The strokes lie too far apart: the region around them is too large. Nothing was changed.",
                "Undo some of them and correct one place first.",
            )
        volume = nrrd.decode(region)
    except nrrd.NrrdError as error:
        raise CorrectionError(f"The region cannot be read: {error}", _HINT) from error
    if volume.array.ndim != 4 or len(volume.array) != 2 or volume.array.dtype != np.uint8:
        raise CorrectionError("The region does not hold labels and strokes.", _HINT)
    reference = Geometry(summary["geometry"]["shape"], summary["geometry"]["ijk_to_ras"])
    if not _is_box_of(Geometry(volume.array.shape[1:], volume.ijk_to_ras), reference):
        raise CorrectionError("The region does not lie on the grid of the result.", _HINT)
    known = {0, *(int(label["label_value"]) for label in summary["labels"])}
    labels, strokes = (set(np.flatnonzero(np.bincount(part.ravel(order="K")))) for part in volume.array)
    if not labels <= known or not strokes <= {0, *(1 + value for value in known)}:
        raise CorrectionError("The region holds segments that the model does not know.", _HINT)
    if strokes <= {0}:
        raise CorrectionError("Nothing is painted in the region.", "Paint or erase where the model is wrong first.")


def _is_box_of(region: Geometry, reference: Geometry) -> bool:
    start = np.rint((reference.ras_to_ijk @ region.ijk_to_ras[:, 3])[:3])
    if (start < 0).any() or (start + region.shape > reference.shape).any():
        return False
    shifted = np.array(reference.ijk_to_ras)
    shifted[:, 3] = reference.ijk_to_ras @ [*start, 1]
    return region.same_grid(Geometry(region.shape, shifted))
