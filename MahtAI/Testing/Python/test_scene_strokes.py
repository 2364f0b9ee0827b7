"""What the reader painted is found, sent with the region around it, and what comes back is one step of undo."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from correction_kit import spread
from kit.scene_context import SlicerContext
from scene_kit import GRIDS, add_volume, tumour

from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.editing import Editor
from MahtAILib.scene.edits import EditWatch, is_edited, mark_saved
from MahtAILib.scene.labels import LabelsError, Layers, layers_of, put_labels
from MahtAILib.scene.provenance import Provenance, correction_of, read_provenance
from MahtAILib.scene.results import place_segmentation
from MahtAILib.scene.segments import GEOMETRY_ATTRIBUTE
from MahtAILib.scene.segments_out import take_segments
from MahtAILib.scene.strokes import MARGIN_MM, Baseline, Change, Region, StrokesError, find_region, put_in, settle

SHAPES = {"LPS": (96, 90, 80), "left-handed": (96, 90, 80), "left-handed oblique": (96, 90, 28)}
ET = 4


class Bench:
    """A proposal in a scene, and a reader with a brush."""

    def __init__(self, scene: Any, axes: str = "left-handed oblique") -> None:
        self.geometry = Geometry(SHAPES[axes], GRIDS[axes].ijk_to_ras)
        self.proposal = tumour(self.geometry)
        self.volume = add_volume(scene, self.geometry)
        self.node = place_segmentation(scene, self.proposal, Provenance(job="j"), "MahtAI", self.volume)
        self.editor = Editor(scene, self.node, self.volume)
        self.baseline = Baseline(self.proposal)

    def labels(self) -> np.ndarray:
        """Of the whole grid, by the code that saves versions."""
        layers = take_segments(self.node, self.geometry).segmentation.layers
        return np.asarray(layers.max(axis=0))

    def ball(self, fraction: tuple[float, float, float], radius_mm: float) -> np.ndarray:
        index = [f * (n - 1) for f, n in zip(fraction, self.geometry.shape, strict=True)]
        return self.editor.ball((self.geometry.ijk_to_ras @ [*index, 1])[:3], radius_mm)

    def paint(self, segment: str, fraction: tuple[float, float, float], radius_mm: float = 6.0) -> np.ndarray:
        """The painted voxels."""
        ball = self.ball(fraction, radius_mm)
        self.editor.paint(segment, ball)
        return ball

    def erase(self, segment: str, fraction: tuple[float, float, float], radius_mm: float = 6.0) -> None:
        self.editor.paint(segment, self.ball(fraction, radius_mm), "erase")

    def region(self) -> Region:
        return find_region(layers_of(self.node).copied(), self.baseline)

    def correct(self) -> Change:
        """As the panel does it; the baseline moves on."""
        region = self.region()
        change = settle(region, spread(region.labels, region.strokes))
        put_in(self.node, change, lambda _node: self.editor.save_state())
        self.baseline = replace(self.baseline, patches=(*self.baseline.patches, change.patch))
        return change


@pytest.fixture
def bench(slicer_context: SlicerContext) -> Bench:
    return Bench(slicer_context.scene)


@pytest.mark.parametrize("axes", SHAPES)
def test_the_strokes_and_the_region_around_them_are_those_that_were_painted(
    slicer_context: SlicerContext, axes: str
) -> None:
    bench = Bench(slicer_context.scene, axes)
    before = bench.labels()
    painted = bench.paint("et", (0.32, 0.35, 0.4))
    bench.erase("ed", (0.42, 0.35, 0.4))
    after, region = bench.labels(), bench.region()
    differ = before != after
    assert (after[painted] == ET).all() and differ.sum() > painted.sum()
    strokes = np.zeros(bench.geometry.shape, np.uint8)
    strokes[region.box] = region.strokes
    np.testing.assert_array_equal(strokes, np.where(differ, after + 1, 0))
    np.testing.assert_array_equal(region.labels, after[region.box])
    filled = np.argwhere(differ)
    for axis, edge in enumerate(region.box):
        margin = MARGIN_MM / bench.geometry.spacing_mm[axis]
        low, high = filled[:, axis].min() - margin, filled[:, axis].max() + margin
        assert edge.start == max(np.floor(low + 1e-6), 0)
        assert edge.stop - 1 == min(np.ceil(high - 1e-6), bench.geometry.shape[axis] - 1)
    corner = [edge.start for edge in region.box]
    np.testing.assert_allclose(region.geometry.ijk_to_ras[:, 3], bench.geometry.ijk_to_ras @ [*corner, 1])
    assert region.labels.size < before.size


@pytest.mark.parametrize("axes", SHAPES)
def test_a_correction_is_one_step_of_undo_that_brings_the_strokes_back(
    slicer_context: SlicerContext, axes: str
) -> None:
    bench = Bench(slicer_context.scene, axes)
    proposed = bench.labels()
    bench.paint("et", (0.29, 0.5, 0.5))
    mark_saved(bench.node)
    edits: list[bool] = []
    watch = EditWatch(lambda: edits.append(np.array_equal(bench.labels(), painted)))
    watch.watch(bench.node)
    painted, region = bench.labels(), bench.region()
    change = bench.correct()
    corrected = bench.labels()
    assert change.where.shape[1] == np.count_nonzero(corrected != painted) > 50
    assert change.volume_ml == pytest.approx(change.where.shape[1] * bench.geometry.voxel_ml)
    said = region.strokes > 0
    np.testing.assert_array_equal(corrected[region.box][said], region.strokes[said] - 1)
    np.testing.assert_array_equal(corrected[region.box], spread(region.labels, region.strokes))
    outside = np.ones(corrected.shape, bool)
    outside[region.box] = False
    assert outside.any()
    np.testing.assert_array_equal(corrected[outside], painted[outside])
    assert edits == [False], "one edit, told when it is whole"
    assert is_edited(bench.node) and read_provenance(bench.node).corrections == 1
    assert read_provenance(bench.node).for_file()["Corrections"] == "1"
    watch.stop()
    for _ in range(2):
        bench.editor.undo()
        np.testing.assert_array_equal(bench.labels(), painted)
        assert read_provenance(bench.node).corrections == 0
        bench.editor.redo()
        np.testing.assert_array_equal(bench.labels(), corrected)
        assert read_provenance(bench.node).corrections == 1
    bench.editor.undo()
    bench.editor.undo()
    np.testing.assert_array_equal(bench.labels(), proposed)


def test_strokes_of_earlier_corrections_stay_until_the_reader_changes_them(bench: Bench) -> None:
    first = bench.paint("et", (0.3, 0.5, 0.5), 4)
    bench.correct()
    with pytest.raises(StrokesError):
        bench.region()
    corrected = bench.labels()
    second = bench.paint("ncr", (0.34, 0.5, 0.5), 4)
    bench.erase("et", (0.28, 0.5, 0.5), 3)
    erased = bench.ball((0.28, 0.5, 0.5), 3) & (corrected == ET) & ~second
    region = bench.region()
    strokes = np.zeros(bench.geometry.shape, np.uint8)
    strokes[region.box] = region.strokes
    wanted = np.zeros_like(strokes)
    wanted[first] = 1 + ET
    wanted[second & (corrected != 1)] = 1 + 1
    wanted[erased] = 1
    assert (first & second).any() and (first & erased).any() and (wanted == 1 + ET).any()
    np.testing.assert_array_equal(strokes, wanted)


def test_after_an_undo_the_strokes_are_those_from_before_the_correction(bench: Bench) -> None:
    bench.paint("et", (0.3, 0.5, 0.5), 4)
    before, state = bench.region(), correction_of(bench.node)
    bench.correct()
    assert correction_of(bench.node) != state
    bench.editor.undo()
    assert correction_of(bench.node) == state
    again = find_region(layers_of(bench.node), Baseline(bench.proposal))
    np.testing.assert_array_equal(again.strokes, before.strokes)


def test_a_segment_of_the_reader_s_own_keeps_its_voxels_and_is_named(bench: Bench) -> None:
    bench.node.GetSegmentation().AddEmptySegment("vessel", "Vessel")
    vessel = bench.paint("vessel", (0.3, 0.45, 0.5), 4)
    with pytest.raises(StrokesError):
        bench.region()
    stroke = bench.paint("et", (0.3, 0.53, 0.5), 4) & ~vessel
    region = bench.region()
    assert region.other_names == ("Vessel",) and not (region.strokes[vessel[region.box]] > 0).any()
    assert (spread(region.labels, region.strokes)[vessel[region.box]] == ET).any()
    change = bench.correct()
    assert change.where.size and not vessel[tuple(change.where)].any()
    taken = take_segments(bench.node, bench.geometry).segmentation
    np.testing.assert_array_equal(taken.mask("vessel"), vessel & ~stroke)
    put_labels(bench.node, region.known, np.argwhere(vessel).T, np.full(vessel.sum(), ET, np.uint8))
    np.testing.assert_array_equal(take_segments(bench.node, bench.geometry).segmentation.layers, taken.layers)
    assert len(taken.layers) == 1
    assert taken.mask("et")[stroke].all() and taken.mask("et").sum() > stroke.sum()


def test_edits_elsewhere_are_kept_and_edits_in_the_region_keep_the_answer_out(bench: Bench) -> None:
    bench.paint("et", (0.3, 0.5, 0.5), 4)
    region = bench.region()
    answer = spread(region.labels, region.strokes)
    elsewhere = bench.paint("ed", (0.97, 0.97, 0.5), 4)
    assert not elsewhere[region.box].any()
    put_in(bench.node, settle(region, answer))
    assert (bench.labels()[elsewhere] == 2).all()
    np.testing.assert_array_equal(bench.labels()[region.box], answer)
    bench.paint("et", (0.34, 0.34, 0.5), 4)
    region = bench.region()
    bench.paint("ncr", (0.3, 0.42, 0.5), 3)
    edited, state = bench.labels(), correction_of(bench.node)
    with pytest.raises(StrokesError) as refused:
        put_in(bench.node, settle(region, spread(region.labels, region.strokes)))
    assert "while the model looked" in refused.value.reason
    np.testing.assert_array_equal(bench.labels(), edited)
    assert correction_of(bench.node) == state


def test_a_label_whose_segment_was_removed_is_left_out_and_one_nobody_knows_is_refused(bench: Bench) -> None:
    bench.node.GetSegmentation().RemoveSegment("ncr")
    bench.paint("et", (0.3, 0.5, 0.5), 4)
    region = bench.region()
    answer = spread(region.labels, region.strokes)
    oedema = (answer == 2) & (region.strokes == 0)
    answer[oedema] = 1
    answer[0, 0, 0] = 1
    put_in(bench.node, settle(region, answer))
    assert oedema.any() and (bench.labels()[region.box][oedema] == 2).all()
    assert bench.labels()[region.box][0, 0, 0] == 0
    answer[0, 0, 0] = 77
    bench.paint("et", (0.3, 0.6, 0.5), 4)
    region = bench.region()
    answer = np.full_like(region.labels, 77)
    with pytest.raises(StrokesError):
        put_in(bench.node, settle(region, answer))


def test_an_answer_that_changes_nothing_is_no_step_of_undo(bench: Bench) -> None:
    bench.paint("et", (0.3, 0.5, 0.5), 4)
    region, saved = bench.region(), []
    put_in(bench.node, settle(region, region.labels.copy()), saved.append)
    assert not saved and correction_of(bench.node)[2] == 0


def test_segments_in_images_of_their_own_are_corrected_together(bench: Bench) -> None:
    source = bench.node.GetSegmentation()
    bench.paint("et", (0.3, 0.5, 0.5), 4)
    for segment in ("ncr", "ed", "et"):
        source.SeparateSegmentLabelmap(segment)
    assert len(layers_of(bench.node).layers) == 3
    painted, region = bench.labels(), bench.region()
    bench.correct()
    np.testing.assert_array_equal(bench.labels()[region.box], spread(region.labels, region.strokes))
    bench.editor.undo()
    np.testing.assert_array_equal(bench.labels(), painted)


def test_a_segment_that_was_emptied_is_filled_again(bench: Bench) -> None:
    bench.node.GetSegmentation().SeparateSegmentLabelmap("ncr")
    image = bench.node.GetSegmentation().GetSegment("ncr").GetRepresentation("Binary labelmap")
    image.Initialize()
    image.Modified()
    region = bench.region()
    assert (region.strokes == 1).sum() == np.count_nonzero(bench.proposal.layers == 1)
    answer = region.labels.copy()
    free = (region.strokes == 0) & (answer == 0)
    answer[free] = 1
    put_in(bench.node, settle(region, answer))
    np.testing.assert_array_equal(bench.labels()[region.box], answer)


def overlap(bench: Bench) -> None:
    bench.node.GetSegmentation().SeparateSegmentLabelmap("et")
    image = bench.node.GetSegmentation().GetSegment("et").GetRepresentation("Binary labelmap")
    voxels = layers_of(bench.node).layers[-1].voxels
    voxels[...] = 1
    image.Modified()


def transform(bench: Bench) -> None:
    node = bench.node.GetScene().AddNewNodeByClass("vtkMRMLLinearTransformNode")
    bench.node.SetAndObserveTransformNodeID(node.GetID())


def shift(bench: Bench) -> None:
    moved = bench.geometry.ijk_to_ras + shift_by(0.3)
    document = {"shape": list(bench.geometry.shape), "ijk_to_ras": moved.tolist()}
    bench.node.SetAttribute(GEOMETRY_ATTRIBUTE, json.dumps(document))


def shift_by(mm: float) -> np.ndarray:
    moved = np.zeros((4, 4))
    moved[0, 3] = mm
    return moved


REFUSALS: dict[str, tuple[Callable[[Bench], Any], str]] = {
    "overlap": (overlap, "overlap"),
    "transform": (transform, "under a transform"),
    "grid": (shift, "voxel grid"),
    "no grid": (lambda bench: bench.node.RemoveAttribute(GEOMETRY_ATTRIBUTE), "not known to which voxel grid"),
    "no segments": (lambda bench: bench.node.GetSegmentation().RemoveAllSegments(), "no segments"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_cannot_be_sent_is_refused_in_words(bench: Bench, what: str) -> None:
    act, words = REFUSALS[what]
    bench.paint("et", (0.3, 0.5, 0.5), 4)
    act(bench)
    with pytest.raises(LabelsError) as refused:
        bench.region()
    assert words in refused.value.reason and "Nothing was changed" in refused.value.reason and refused.value.hint


def test_a_proposal_on_another_grid_and_one_that_overlaps_are_refused(bench: Bench) -> None:
    bench.paint("et", (0.3, 0.5, 0.5), 4)
    layers: Layers = layers_of(bench.node)
    other = Geometry(bench.geometry.shape, bench.geometry.ijk_to_ras + shift_by(0.3))
    doubled = np.concatenate([bench.proposal.layers] * 2)
    for proposal in (replace(bench.proposal, geometry=other), replace(bench.proposal, layers=doubled)):
        with pytest.raises(StrokesError) as refused:
            find_region(layers, Baseline(proposal))
        assert "Nothing was changed" in refused.value.reason


def test_strokes_are_found_again_in_a_file_that_slicer_wrote(
    slicer_context: SlicerContext, bench: Bench, tmp_path: Path
) -> None:
    bench.paint("et", (0.3, 0.5, 0.5), 4)
    bench.correct()
    bench.paint("ed", (0.5, 0.25, 0.5), 4)
    labels, noted = bench.labels(), bench.node.GetAttribute(GEOMETRY_ATTRIBUTE)
    path = tmp_path / "work.seg.nrrd"
    loaded = slicer_context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for node in (bench.node, loaded):
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(path))
    assert bench.node.GetStorageNode().WriteData(bench.node)
    assert loaded.GetStorageNode().ReadData(loaded)
    loaded.SetAttribute(GEOMETRY_ATTRIBUTE, noted)  # the scene keeps it
    region = find_region(layers_of(loaded), Baseline(bench.proposal))
    strokes = np.zeros(labels.shape, np.uint8)
    strokes[region.box] = region.strokes
    # what was corrected before counts as the reader's own
    np.testing.assert_array_equal(strokes, np.where(labels != bench.proposal.layers[0], labels + 1, 0))
    assert correction_of(loaded)[2] == 1
