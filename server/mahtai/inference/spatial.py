"""Moving tensors between voxel grids, on whatever device they are on.

Positions follow the affine geometry only; array order never matters. Where one grid is a
reordering of the other (axes swapped or mirrored, shifted by whole voxels) values are copied, not
interpolated, so that nothing is lost on the way there and back.
"""

from __future__ import annotations

import numpy as np
import torch
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from torch import Tensor
from torch.nn import functional

from mahtai.volumes.geometry import Geometry

_SLAB_VOXELS = 8_000_000
"""Positions computed at once; bounds the memory that resampling a large grid takes."""

_WHOLE_VOXEL_TOLERANCE = 2e-3


def canonical_grid(reference: Geometry, spacing_mm: tuple[float, float, float] | None, orientation: str) -> Geometry:
    """The reference's field of view with axes in ``orientation`` order, at another voxel size.

    Args:
        reference: grid that the result will be restored to.
        spacing_mm: of the new grid; None, or a spacing within 2 % of it, keeps the reference's.
        orientation: e.g. ``LPS``. The nearest of the 48 orders is meant: an oblique grid stays oblique,
            because slices are planned along the anatomy and turning them would cost an interpolation.
    """
    turn = ornt_transform(io_orientation(reference.ijk_to_ras), axcodes2ornt(tuple(orientation)))
    affine = reference.ijk_to_ras @ inv_ornt_aff(turn, reference.shape)
    shape = np.empty(3, dtype=int)
    shape[turn[:, 0].astype(int)] = reference.shape
    old = np.linalg.norm(affine[:3, :3], axis=0)
    new = old if spacing_mm is None else np.asarray(spacing_mm, dtype=float)
    new = np.where(np.abs(old / new - 1) < 0.02, old, new)
    size = np.maximum(np.ceil(shape * old / new - 1e-6), 1).astype(int)
    scaled = affine.copy()
    scaled[:3, :3] = affine[:3, :3] * (new / old)
    # the centres of both fields of view coincide
    scaled[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((shape - 1) / 2) - scaled[:3, :3] @ ((size - 1) / 2)
    return Geometry((int(size[0]), int(size[1]), int(size[2])), scaled)


def crop_grid(grid: Geometry, box: tuple[slice, slice, slice]) -> Geometry:
    """The part of a grid inside a voxel box (which may reach outside of it)."""
    start = np.array([axis.start for axis in box], dtype=float)
    affine = grid.ijk_to_ras.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    first, second, third = (axis.stop - axis.start for axis in box)
    return Geometry((first, second, third), affine)


def box_of(mask: Tensor, margin: int = 0) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds all of a mask, X × Y × Z bool, and ``margin`` voxels more as far as there are any.

    Returns:
        None for an empty mask.
    """
    across, along = mask.any(2), mask.any(0).any(0)
    box = []
    for filled in (across.any(1), across.any(0), along):
        inside = torch.nonzero(filled)
        if not len(inside):
            return None
        box.append(slice(max(int(inside[0]) - margin, 0), min(int(inside[-1]) + 1 + margin, len(filled))))
    return box[0], box[1], box[2]


def resample(
    source: Tensor,
    source_grid: Geometry,
    target_grid: Geometry,
    target_to_source_ras: np.ndarray | None = None,
    antialias: bool = False,
) -> Tensor:
    """Bring channels onto another grid, trilinear, zero outside of the source.

    Args:
        source: channels × I × J × K, float.
        target_to_source_ras: 4 × 4, the rigid movement found by registration; None for none.
        antialias: average voxels before a much coarser grid skips over them: right for images, not for
            results, which are asked for at the centre of a voxel.

    Returns:
        channels × ``target_grid.shape``.
    """
    movement = np.eye(4) if target_to_source_ras is None else target_to_source_ras
    mapping = np.linalg.inv(source_grid.ijk_to_ras) @ movement @ target_grid.ijk_to_ras
    whole = np.rint(mapping)
    reach = np.array([*target_grid.shape, 1.0])
    if np.all(np.abs(mapping - whole)[:3] * reach < _WHOLE_VOXEL_TOLERANCE) and _is_signed_permutation(whole):
        return _copy_voxels(source, whole, target_grid.shape)
    if antialias:
        source, mapping = _smoothed_for(source, mapping)
    return _interpolate(source, mapping, target_grid.shape)


def _is_signed_permutation(mapping: np.ndarray) -> bool:
    turn = np.abs(mapping[:3, :3])
    return bool((turn.sum(0) == 1).all() and (turn.sum(1) == 1).all())


def _copy_voxels(source: Tensor, mapping: np.ndarray, shape: tuple[int, int, int]) -> Tensor:
    """Reorder by a mapping of whole voxels (target index → source index)."""
    order = [int(np.flatnonzero(mapping[:3, axis])[0]) for axis in range(3)]
    turned = source.permute(0, *(axis + 1 for axis in order))
    result = source.new_zeros((source.shape[0], *shape))
    from_box, to_box = [slice(None)], [slice(None)]
    for axis in range(3):
        sign = int(mapping[order[axis], axis])
        offset = int(mapping[order[axis], 3])
        length = turned.shape[axis + 1]
        if sign < 0:
            turned = turned.flip(axis + 1)
            offset = length - 1 - offset
        first, last = max(0, -offset), min(shape[axis], length - offset)
        if first >= last:
            return result
        to_box.append(slice(first, last))
        from_box.append(slice(first + offset, last + offset))
    result[tuple(to_box)] = turned[tuple(from_box)]
    return result


def _smoothed_for(source: Tensor, mapping: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """Average neighbouring voxels before a grid at least twice as coarse skips over them."""
    step = np.abs(mapping[:3, :3]).max(axis=1)
    kernel = np.maximum(np.floor(step + 1e-6), 1).astype(int)
    kernel = np.minimum(kernel, source.shape[1:])
    if (kernel == 1).all():
        return source, mapping
    pooled = functional.avg_pool3d(source[None].float(), tuple(int(k) for k in kernel))[0]
    fewer = np.eye(4)
    fewer[:3, :3] = np.diag(1.0 / kernel)
    fewer[:3, 3] = -(kernel - 1) / (2.0 * kernel)
    return pooled, fewer @ mapping


def _interpolate(source: Tensor, mapping: np.ndarray, shape: tuple[int, int, int]) -> Tensor:
    result = source.new_empty((source.shape[0], *shape), dtype=torch.float32)
    device = source.device
    matrix = torch.as_tensor(mapping[:3, :3], dtype=torch.float32, device=device)
    size = torch.tensor(source.shape[1:], dtype=torch.float32, device=device)
    axes = [torch.arange(length, dtype=torch.float32, device=device) for length in shape[1:]]
    thickness = max(1, _SLAB_VOXELS // (shape[1] * shape[2]))
    batch = source[None].float()
    for start in range(0, shape[0], thickness):
        stop = min(start + thickness, shape[0])
        # the slab's own start goes into the offset in double precision: float32 positions stay small
        offset = torch.as_tensor(mapping[:3, 3] + mapping[:3, 0] * start, dtype=torch.float32, device=device)
        slab = torch.arange(stop - start, dtype=torch.float32, device=device)
        positions = torch.stack(torch.meshgrid(slab, *axes, indexing="ij"), -1) @ matrix.T + offset
        # grid_sample counts from the outer edge of the first voxel and takes the last axis first
        grid = ((2 * positions + 1) / size - 1).flip(-1)[None]
        sampled = functional.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
        outside = ((positions < -0.5) | (positions > size - 0.5)).any(-1)
        sampled[:, outside] = 0
        result[:, start:stop] = sampled
    return result
