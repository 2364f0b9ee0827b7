"""A coarse result while the full one is under way: the same network on voxels twice as large, an eighth of the work."""

from __future__ import annotations

import numpy as np
from torch.nn import functional

from mahtai.inference.intensity import zscore_foreground
from mahtai.inference.options import Options
from mahtai.inference.prediction import LoadedModel
from mahtai.inference.segmentation import SegmentationResult, Stopwatch, predict_prepared, restore
from mahtai.inference.study import PreparedStudy, Record
from mahtai.volumes.geometry import Geometry

FACTOR = 2
LONG_S = 1.7
"""A preview is made if the network alone takes longer; with what comes before and after it, that is two seconds."""

_USUAL_VOXELS_PER_S = {"cpu": 1.5e6, "cuda": 1e8, "mps": 1e7}
"""Where it was not measured yet."""


def takes_long(prepared: PreparedStudy, model: LoadedModel, options: Options) -> bool:
    """Whether a reader would wait long for the full result on this machine."""
    speed = model.voxels_per_s or _USUAL_VOXELS_PER_S.get(model.device.type, 1e7)
    passes = 8 if options.flips == "on" else 1
    return model.bundle.fixed_input_size is None and passes * prepared.mask.numel() / speed > LONG_S


def coarse_result(prepared: PreparedStudy, model: LoadedModel, options: Options) -> SegmentationResult:
    """What the network sees on voxels ``FACTOR`` times as large, on a grid of such voxels."""
    small = _coarser(prepared)
    once = Options(**{**options.as_json(), "flips": "off"})
    found = predict_prepared(small, model, once, lambda stage, fraction: None, lambda: False)
    return restore(found, small, model, once, Record(), lambda stage, fraction: None, Stopwatch())


def _coarser(prepared: PreparedStudy) -> PreparedStudy:
    image = functional.avg_pool3d(prepared.image[None], FACTOR, ceil_mode=True)[0]
    mask = functional.avg_pool3d(prepared.mask[None, None].float(), FACTOR, ceil_mode=True)[0, 0] >= 0.5
    coarser = np.eye(4)
    coarser[:3, :3] *= FACTOR
    coarser[:3, 3] = (FACTOR - 1) / 2
    size = (int(mask.shape[0]), int(mask.shape[1]), int(mask.shape[2]))
    grid = Geometry(size, prepared.grid.ijk_to_ras @ coarser)
    return PreparedStudy(zscore_foreground(image, mask), mask, grid, grid, prepared.missing)
