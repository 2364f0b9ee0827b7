"""Correct a segmentation around what a reader painted: a random walker with the model's probabilities as its prior.

After L. Grady, "Multilabel random walker image segmentation using prior models", CVPR 2005: each voxel's chance of
belonging to the painted label solves (L + λ) u = λ q on the grid, where L is the Laplacian whose edges are weak across
borders in the images, strokes are fixed, and q is a prior: how much a voxel looks like the stroke in all sequences, how
near it is, and how much the model itself leans to that label, compared with how much it did at the stroke, where it was
wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from mahtai.inference.regions import TUMOUR_REGIONS
from mahtai.volumes.terminology import SegmentDescription

SMOOTHING_VOXELS = 0.6
EDGE_STEEPNESS = 5.0
WEAKEST_EDGE = 1e-4
PRIOR_WEIGHT = 0.02
LOOKS_WEIGHT = 1.0
MODEL_WEIGHT = 0.5
REACH_MM = 12.0
OFFSET = 1.0
"""Chosen by simulated clicks on train and validation cases."""

_LEAST_SPREAD = 0.15
_MOST_MARGIN = 4.0
_ITERATIONS = 200
_TOLERANCE = 1e-3


def correct(
    images: Tensor,
    region_ids: Sequence[str],
    probabilities: Tensor,
    labels: NDArray[np.uint8],
    strokes: NDArray[np.uint8],
    segments: Sequence[SegmentDescription],
    spacing_mm: Sequence[float],
) -> NDArray[np.uint8]:
    """New labels of a region.

    Args:
        images: channels × I × J × K, z-scores.
        region_ids, probabilities: of the model's regions, regions × I × J × K, see ``RegionMaps``.
        labels: I × J × K, as they are now; those on the region's faces stay, so that it can be put back seamlessly.
        strokes: I × J × K: 0 none, 1 the reader says background, 1 + v the reader says label v.
        segments: of the model.
        spacing_mm: along I, J, K.

    Returns:
        I × J × K, a new array; every stroke has the label that the reader gave it.
    """
    result = labels.copy()
    painted = strokes > 0
    if not painted.any():
        return result
    chances = label_probabilities(region_ids, probabilities, segments)
    looks = _smoothed(images)
    edges = _edges(looks, spacing_mm)
    surest = np.full(labels.shape, 0.5, np.float32)
    for value in (int(code) - 1 for code in np.unique(strokes[painted])):
        own = strokes == value + 1
        prior = _prior(looks, chances, labels, own, value, spacing_mm)
        walked = _walk(prior, own, painted | _faces(labels.shape), edges)
        taken = _connected(walked > surest, own) & ~painted & ~_faces(labels.shape)
        result[taken] = value
        surest[taken] = walked[taken]
    result[painted] = strokes[painted] - 1
    return result


def label_probabilities(
    region_ids: Sequence[str], probabilities: Tensor, segments: Sequence[SegmentDescription]
) -> dict[int, NDArray[np.float32]]:
    """Label value (0 for the background) → the model's probability of it, I × J × K; they sum up to about 1."""
    maps = dict(zip(region_ids, probabilities.float().cpu().numpy(), strict=True))
    values = {segment.id: segment.label_value for segment in segments}
    if set(region_ids) == TUMOUR_REGIONS:
        whole, core, enhancing = (maps[name] for name in ("wt", "tc", "et"))
        return {0: 1 - whole, values["ncr"]: core - enhancing, values["ed"]: whole - core, values["et"]: enhancing}
    found = {values[name]: maps[name] for name in region_ids if name in values}
    return {0: 1 - np.clip(sum(found.values(), np.float32(0)), 0, 1), **found}


def _smoothed(images: Tensor) -> NDArray[np.float32]:
    """Channels in units of their own spread in the region."""
    array = images.float().cpu().numpy()
    inside = (array != 0).any(axis=0)
    spread = array[:, inside].std(axis=1) if inside.sum() > 10 else np.ones(len(array))
    scaled = array / np.where(spread < 1e-6, 1, spread)[:, None, None, None]
    smooth: NDArray[np.float32] = ndimage.gaussian_filter(scaled, (0, *3 * (SMOOTHING_VOXELS,))).astype(np.float32)
    return smooth


def _prior(
    looks: NDArray[np.float32],
    chances: dict[int, NDArray[np.float32]],
    labels: NDArray[np.uint8],
    own: NDArray[np.bool_],
    value: int,
    spacing_mm: Sequence[float],
) -> Tensor:
    """How likely each voxel belongs to the label, before its neighbours are asked, I × J × K in 0..1."""
    mean, spread = looks[:, own].mean(axis=1), looks[:, own].std(axis=1)
    away = (looks - mean[:, None, None, None]) / np.sqrt(spread**2 + _LEAST_SPREAD)[:, None, None, None]
    distance = ndimage.distance_transform_edt(~own, sampling=spacing_mm)
    now = np.zeros(labels.shape, np.float32)
    for other, chance in chances.items():
        now[labels == other] = chance[labels == other]
    margin = _log(chances.get(value, np.zeros_like(now))) - _log(now)
    margin -= np.median(margin[own])
    score = OFFSET - LOOKS_WEIGHT * (away**2).mean(axis=0) - distance / REACH_MM
    score += MODEL_WEIGHT * np.clip(margin, -_MOST_MARGIN, _MOST_MARGIN)
    return torch.from_numpy(score.astype(np.float32)).sigmoid_()


def _log(chance: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.log(np.clip(chance, 1e-4, 1)).astype(np.float32)


def _edges(looks: NDArray[np.float32], spacing_mm: Sequence[float]) -> list[Tensor]:
    """Weights between neighbours along each axis: weak where the images change."""
    found = torch.from_numpy(looks)
    weights = []
    for axis, spacing in enumerate(spacing_mm):
        change = found.diff(dim=axis + 1).square().sum(0)
        weights.append((torch.exp(-EDGE_STEEPNESS * change) + WEAKEST_EDGE) / float(spacing) ** 2)
    return weights


def _laplacian(field: Tensor, edges: list[Tensor]) -> Tensor:
    result = torch.zeros_like(field)
    for axis, weight in enumerate(edges):
        flow = weight * field.diff(dim=axis)
        length = field.shape[axis] - 1
        result.narrow(axis, 0, length).sub_(flow)
        result.narrow(axis, 1, length).add_(flow)
    return result


def _walk(prior: Tensor, ones: NDArray[np.bool_], fixed: NDArray[np.bool_], edges: list[Tensor]) -> NDArray[np.float32]:
    """Solve (L + λ) u = λ q by conjugate gradients; u is 1 at ``ones`` and 0 at the rest of ``fixed``."""
    known = torch.from_numpy(ones.astype(np.float32))
    free = torch.from_numpy((~fixed).astype(np.float32))
    diagonal = torch.full_like(prior, PRIOR_WEIGHT)
    for axis, weight in enumerate(edges):
        diagonal.narrow(axis, 0, weight.shape[axis]).add_(weight)
        diagonal.narrow(axis, 1, weight.shape[axis]).add_(weight)
    solution = prior * free
    rest = (PRIOR_WEIGHT * (prior - solution) - _laplacian(known + solution, edges)) * free
    towards = rest / diagonal
    product = (rest * towards).sum()
    goal = _TOLERANCE**2 * float(product)
    direction = towards.clone()
    for _ in range(_ITERATIONS):
        if float(product) <= goal:
            break
        image = (_laplacian(direction, edges) + PRIOR_WEIGHT * direction) * free
        step = product / (direction * image).sum().clamp_min(1e-20)
        solution += step * direction
        rest -= step * image
        towards = rest / diagonal
        product, before = (rest * towards).sum(), product
        direction = towards + (product / before.clamp_min(1e-20)) * direction
    return (solution + known).numpy()


def _connected(mask: NDArray[np.bool_], own: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those parts of a mask that touch the strokes."""
    parts, count = ndimage.label(mask | own)
    touched = np.zeros(count + 1, bool)
    touched[np.unique(parts[own])] = True
    touched[0] = False
    return np.asarray(touched[parts])


def _faces(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The outermost voxels of a region."""
    faces = np.ones(shape, bool)
    faces[tuple(slice(1, -1) for _ in shape)] = False
    return faces
