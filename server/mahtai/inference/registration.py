"""Rigid registration of two sequences of one patient by mutual information.

The scanner's own coordinates are the first guess. Where the heads lie far apart in them, two other
starts compete with it. Results are the same to a rounding error whatever the number of processors:
metric samples come from a fixed seed and are summed by one thread.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mahtai.inference.itk_images import RAS_TO_LPS, itk_image, rigid_matrix_ras
from mahtai.volumes.volume import Volume

MAX_TRANSLATION_MM = 60.0
MAX_ROTATION_DEG = 30.0
"""More than a patient moves between two sequences: then the result is not believed."""

MIN_GAIN = 0.01
"""Relative gain of mutual information from which a movement is used."""

LEAST_INFORMATION = 0.05
"""Mutual information in nats; sequences of one head share 0.5-1.2 of them, noise 0.0002."""

ALIGNED_MM = 1.0
ALIGNED_DEG = 1.0
"""A movement within both is no more than the uncertainty of the search."""

_OTHER_START_MM = 10.0
"""Starts nearer than this to one already tried would end at the same place."""

_BINS = 32

_RELAXATION = 0.7
"""ITK's 0.5 halves the step at every turn and stops before the optimum: up to 9 mm off after a 27° turn."""

_HEAD_MARGIN_MM = 8.0
_HEAD_LEVEL = 0.15
"""Head against air: share of the way from the darkest to the (nearly) brightest value."""

Outcome = Literal["moved", "already-aligned", "not-better", "implausible", "failed"]


@dataclass(frozen=True)
class _Level:
    """One resolution: voxel size to average to, samples of the metric, step of the optimizer in mm."""

    voxel_mm: float
    samples: int
    first_step_mm: float
    last_step_mm: float


_COARSE = _Level(4.0, 15_000, 2.0, 0.01)
_FINER = (_Level(2.0, 30_000, 0.5, 0.005), _Level(1.0, 60_000, 0.25, 0.005))


@dataclass(frozen=True, eq=False)
class Registration:
    """How a moving volume lies relative to a fixed one.

    Attributes:
        fixed_to_moving_ras: 4×4, a RAS point in mm of the fixed volume → the same anatomy in the moving
            volume's RAS. The identity unless ``accepted``.
        metric_before: Mattes mutual information in nats with the scanner's coordinates; larger is better,
            0 where the two do not overlap.
        metric_after: the same, with the movement found.
        rotation_deg: angle of the movement found, accepted or not.
        translation_mm: how far it moves the middle of the head, accepted or not.
        accepted: whether the movement is to be used.
        outcome: ``accepted`` in more detail, for programs.
        reason: the same in words for the reader.
        seconds: wall time.
    """

    fixed_to_moving_ras: NDArray[np.float64]
    metric_before: float
    metric_after: float
    rotation_deg: float
    translation_mm: float
    accepted: bool
    outcome: Outcome
    reason: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """For the record kept with the result."""
        return {**asdict(self), "fixed_to_moving_ras": self.fixed_to_moving_ras.tolist()}


def register_rigid(moving: Volume, fixed: Volume, seed: int = 0) -> Registration:
    """Find the movement between two sequences of the same head; grids and contrasts may differ.

    Args:
        moving: the volume that will be resampled to ``fixed``.
        fixed: the reference.
        seed: of the metric's sample points, 0 or more; the same seed gives the same bits.

    Returns:
        The movement if it makes the two share more and a patient can have moved so, else the identity
        with the reason. Nothing is raised for images that do not match.
    """
    started = time.perf_counter()
    pair = _Pair(_prepared(fixed), _prepared(moving), seed + 1)
    try:
        transform = pair.best_start()
        for level in _FINER:
            pair.optimize(transform, level)
        after = pair.metric(transform)
    except RuntimeError:
        # ITK's only way to say that the images share no voxels, or no structure
        return _failed(started, pair.metric(sitk.Euler3DTransform()))
    before = pair.metric(sitk.Euler3DTransform())
    if max(before, after) < LEAST_INFORMATION:
        return _failed(started, before)
    matrix = rigid_matrix_ras(transform)
    rotation, translation = _size_of(matrix, pair.centre)
    outcome, reason = _judge(before, after, rotation, translation)
    accepted = outcome == "moved"
    seconds = time.perf_counter() - started
    used = matrix if accepted else np.eye(4)
    return Registration(used, before, after, rotation, translation, accepted, outcome, reason, seconds)


def _failed(started: float, before: float) -> Registration:
    reason = "the two share no structure that could be matched, the scanner's coordinates are kept"
    return Registration(np.eye(4), before, before, 0.0, 0.0, False, "failed", reason, time.perf_counter() - started)


def _judge(before: float, after: float, rotation: float, translation: float) -> tuple[Outcome, str]:
    movement = f"{translation:.1f} mm and {rotation:.1f}°"
    kept = "the scanner's coordinates are kept"
    if translation > MAX_TRANSLATION_MM or rotation > MAX_ROTATION_DEG:
        limits = f"{MAX_TRANSLATION_MM:g} mm or {MAX_ROTATION_DEG:g}°"
        return "implausible", f"a movement of {movement} was found, more than {limits} is not believed; {kept}"
    if after >= before * (1 + MIN_GAIN):
        return "moved", f"moved by {movement}"
    if translation <= ALIGNED_MM and rotation <= ALIGNED_DEG:
        return "already-aligned", f"they lie on each other already; {kept}"
    return "not-better", f"a movement of {movement} would not match the two better; {kept}"


def _size_of(matrix_ras: NDArray[np.float64], centre_lps: NDArray[np.float64]) -> tuple[float, float]:
    """Rotation angle in degrees, and displacement of the centre in mm."""
    cosine = (np.trace(matrix_ras[:3, :3]) - 1) / 2
    centre = RAS_TO_LPS @ [*centre_lps, 1.0]
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))), float(
        np.linalg.norm((matrix_ras @ centre - centre)[:3])
    )


class _Pair:
    """Two prepared images with what is computed once for them: pyramids, head mask, centres (LPS)."""

    def __init__(self, fixed: sitk.Image, moving: sitk.Image, seed: int) -> None:
        self._fixed, self._moving = fixed, moving
        self._seed = seed
        self._levels: dict[float, tuple[sitk.Image, sitk.Image]] = {}
        coarse_fixed, coarse_moving = self._level(_COARSE)
        self._head = _head(coarse_fixed)
        self.centre = _head_centre(coarse_fixed)
        self._moving_centre = _head_centre(coarse_moving)

    def best_start(self) -> sitk.Euler3DTransform:
        """The coarse optimum of the most informative start."""
        best, best_information = None, 0.0
        for translation in self._starts():
            transform = sitk.Euler3DTransform()
            transform.SetCenter(self.centre.tolist())
            transform.SetTranslation(translation.tolist())
            try:
                information = self.optimize(transform, _COARSE)
            except RuntimeError:
                # no overlap from this start; the others remain
                continue
            if best is None or information > best_information:
                best, best_information = transform, information
        if best is None:
            raise RuntimeError("the volumes do not overlap")
        return best

    def optimize(self, transform: sitk.Euler3DTransform, level: _Level) -> float:
        """Improve ``transform`` in place; returns the mutual information times the share of the head seen.

        The share keeps a start from winning with a sliver of overlap.

        Raises:
            RuntimeError: the images do not overlap.
        """
        fixed, moving = self._level(level)
        method, samples = self._method(level, fixed, self._seed)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=level.first_step_mm,
            minStep=level.last_step_mm,
            numberOfIterations=200,
            relaxationFactor=_RELAXATION,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(fixed, moving)
        return float(-method.GetMetricValue() * min(method.GetMetricNumberOfValidPoints() / samples, 1.0))

    def metric(self, transform: sitk.Transform) -> float:
        """Mutual information in nats, on other samples than those that the optimizer saw; 0 without overlap."""
        level = _FINER[-1]
        fixed, moving = self._level(level)
        method, _ = self._method(level, fixed, self._seed + 1)
        method.SetInitialTransform(transform)
        try:
            return float(-method.MetricEvaluate(fixed, moving))
        except RuntimeError:
            return 0.0

    def _method(self, level: _Level, fixed: sitk.Image, seed: int) -> tuple[sitk.ImageRegistrationMethod, float]:
        """Metric and interpolator, and how many samples fall into the head."""
        coarser = np.prod(self._head.GetSpacing()) / np.prod(fixed.GetSpacing())
        voxels = coarser * np.count_nonzero(sitk.GetArrayViewFromImage(self._head))
        share = min(level.samples / max(voxels, 1), 1.0)
        method = sitk.ImageRegistrationMethod()
        # parts summed by several threads would change the last bits; SetNumberOfThreads(1) alone does not stop it
        method.SetNumberOfWorkUnits(1)
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricSamplingStrategy(method.RANDOM)
        # ITK takes a seed of 0 to mean the clock
        method.SetMetricSamplingPercentage(share, max(seed, 1))
        method.SetMetricFixedMask(self._head)
        # gradients where the samples are, not of whole images: seconds less on large grids
        method.SetMetricUseFixedImageGradientFilter(False)
        method.SetMetricUseMovingImageGradientFilter(False)
        method.SetInterpolator(sitk.sitkLinear)
        return method, share * voxels

    def _level(self, level: _Level) -> tuple[sitk.Image, sitk.Image]:
        if level.voxel_mm not in self._levels:
            fixed, moving = (_averaged(image, level.voxel_mm) for image in (self._fixed, self._moving))
            self._levels[level.voxel_mm] = fixed, moving
        return self._levels[level.voxel_mm]

    def _starts(self) -> list[NDArray[np.float64]]:
        """Translations in LPS mm: the scanner's coordinates, then heads and grids laid over each other."""
        grids = _grid_centre(self._moving) - _grid_centre(self._fixed)
        starts = [np.zeros(3)]
        for translation in (self._moving_centre - self.centre, grids):
            if min(np.linalg.norm(translation - other) for other in starts) > _OTHER_START_MM:
                starts.append(translation)
        return starts


def _prepared(volume: Volume) -> sitk.Image:
    """Float image without the few extreme values that would squeeze the rest into a few histogram bins."""
    step = max(1, round((volume.array.size / 1_000_000) ** (1 / 3)))
    sample = volume.array[::step, ::step, ::step].astype(np.float32)
    low = float(np.percentile(sample, 1))
    above = sample[sample > low]
    high = float(np.percentile(above, 99.5)) if above.size else low + 1
    return itk_image(np.clip(volume.array.astype(np.float32), low, high), volume.geometry)


def _averaged(image: sitk.Image, voxel_mm: float) -> sitk.Image:
    """Voxels averaged to about ``voxel_mm``; an axis that is coarser already is left as it is."""
    factors: Sequence[int] = [
        max(1, min(int(voxel_mm / spacing + 0.25), count // 8))
        for spacing, count in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    return sitk.BinShrink(image, factors)


def _head_threshold(image: sitk.Image) -> float:
    values = sitk.GetArrayViewFromImage(image)
    low = float(values.min())
    return low + _HEAD_LEVEL * (float(np.percentile(values, 99)) - low)


def _head(image: sitk.Image) -> sitk.Image:
    """The head and a margin of air, where the outline is."""
    margin = [round(_HEAD_MARGIN_MM / spacing) for spacing in image.GetSpacing()]
    return sitk.BinaryDilate(image > _head_threshold(image), margin)


def _head_centre(image: sitk.Image) -> NDArray[np.float64]:
    """Middle of what is not air, LPS mm."""
    inside = np.argwhere(sitk.GetArrayViewFromImage(image) > _head_threshold(image))
    if not len(inside):
        return _grid_centre(image)
    return np.array(image.TransformContinuousIndexToPhysicalPoint(inside.mean(axis=0)[::-1].tolist()))


def _grid_centre(image: sitk.Image) -> NDArray[np.float64]:
    middle = [(count - 1) / 2 for count in image.GetSize()]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(middle))
