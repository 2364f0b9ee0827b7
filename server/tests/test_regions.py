"""Islands without tumour core lose their label and keep their doubt."""

from __future__ import annotations

import torch

from mahtai.inference.regions import RegionMaps, without_islands


def _maps() -> RegionMaps:
    whole, core = torch.zeros(20, 20, 20), torch.zeros(20, 20, 20)
    whole[2:10, 2:10, 2:10] = 0.9
    core[4:7, 4:7, 4:7] = 0.8
    whole[14:17, 14:17, 14:17] = 0.95
    return RegionMaps(("wt", "tc", "et"), torch.stack([whole, core, torch.zeros_like(core)]))


def test_an_island_without_core_loses_its_label_but_stays_doubtful() -> None:
    kept, voxels = without_islands(_maps())
    assert voxels == 27
    assert int((kept.probabilities[0] >= 0.5).sum()) == 512
    assert float(kept.probabilities[0, 15, 15, 15]) > 0.4


def test_a_second_focus_with_core_is_kept() -> None:
    maps = _maps()
    maps.probabilities[1, 15, 15, 15] = 0.7
    kept, voxels = without_islands(maps)
    assert voxels == 0
    assert torch.equal(kept.probabilities, maps.probabilities)


def test_the_largest_part_is_kept_even_without_core() -> None:
    maps = _maps()
    maps.probabilities[1] = 0
    kept, voxels = without_islands(maps)
    assert voxels == 27
    assert int((kept.probabilities[0] >= 0.5).sum()) == 512


def test_other_tasks_are_left_alone() -> None:
    maps = RegionMaps(("liver",), torch.rand(1, 8, 8, 8))
    kept, voxels = without_islands(maps)
    assert kept is maps
    assert voxels == 0
