"""The whole way with the shipped model and its solver: paint where the result is wrong, press, undo, save."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kit.brush import paint
from kit.event_loop import StallMeter, spin
from panel_kit import Reader
from scene_kit import GRIDS
from test_workflow import open_slicer, phantom_on, ras_centre, shipped, taken

from MahtAILib.client import segmentation as files
from MahtAILib.client.cases import label_content
from MahtAILib.client.geometry import Geometry

__all__ = ["open_slicer", "shipped"]

MOST_SECONDS = 120.0
SPACING_MM = (1.0, 1.1, 1.2)


def correct(reader: Reader) -> str:
    """Press the button and wait; what is said then."""
    ui = reader.panel.review_section.correction.ui
    ui.correctButton.click()
    spin(lambda: not reader.panel.correction.is_running, MOST_SECONDS, "the correction to end")
    return str(ui.correctionStateLabel.text)


def labels_of(node: Any, geometry: Geometry) -> np.ndarray:
    return taken(node, geometry).layers[0]


@pytest.mark.parametrize("axes", ["LPS", "left-handed oblique"])
def test_strokes_are_kept_exactly_their_neighbourhood_is_corrected_and_it_is_saved(open_slicer: Any, axes: str) -> None:
    phantom = phantom_on(GRIDS[axes].direction, SPACING_MM)
    geometry = Geometry(phantom.labels.shape, phantom.ijk_to_ras)
    reader = open_slicer()
    reader.load({channel: (array, geometry) for channel, array in phantom.channels.items()})
    reader.run()
    node, editor = reader.panel.review.node, reader.ui("review").segmentEditorWidget
    proposed = labels_of(node, geometry)
    centre = ras_centre(taken(node, geometry).mask("et"), geometry)
    paint(editor.logic, "et", tuple(centre + (0, 16, 0)), 5.0)
    paint(editor.logic, "et", tuple(centre - (0, 6, 0)), 5.0, erase=True)
    painted = labels_of(node, geometry)
    strokes = painted != proposed
    assert strokes.any()
    with StallMeter() as meter:
        said = correct(reader)
    assert said.startswith(("Corrected", "The model would change nothing")), said
    print(f"\n{axes}: {said} Longest stall {1000 * meter.longest_s:.0f} ms")
    corrected = labels_of(node, geometry)
    assert (corrected != painted).any(), "what is around such strokes is not left as it was"
    np.testing.assert_array_equal(corrected[strokes], painted[strokes])
    far = distances_mm(geometry, np.argwhere(strokes)) > 24 + 2 * max(SPACING_MM)
    assert far.any()
    np.testing.assert_array_equal(corrected[far], painted[far])
    editor.undo()
    np.testing.assert_array_equal(labels_of(node, geometry), painted)
    editor.redo()
    paint(editor.logic, "ed", tuple(centre + (0, 22, 0)), 4.0)
    again = labels_of(node, geometry)
    assert correct(reader).startswith(("Corrected", "The model would change nothing"))
    everything = strokes & (again == painted) | (again != corrected)
    np.testing.assert_array_equal(labels_of(node, geometry)[everything], again[everything])
    reader.save(comment="two corrections")
    version = reader.panel.versions.versions[0]
    case = reader.panel.versions._cases[version.id]
    saved = files.decode(label_content(reader.panel.server.connection, case.id, version))
    count = reader.panel.review.provenance.corrections
    assert count >= 1 and saved.provenance["Corrections"] == str(count)
    np.testing.assert_array_equal(saved.layers[0], labels_of(node, geometry))
    assert version.document["against_proposal"]["voxels_changed"] > 0


def distances_mm(geometry: Geometry, indices: np.ndarray) -> np.ndarray:
    """Largest distance along an axis of the grid from each voxel to the box of some voxels, [i, j, k]."""
    low, high = indices.min(axis=0), indices.max(axis=0)
    apart = [
        np.maximum(np.maximum(low[axis] - np.arange(count), np.arange(count) - high[axis]), 0) * spacing
        for axis, (count, spacing) in enumerate(zip(geometry.shape, geometry.spacing_mm, strict=True))
    ]
    return np.maximum(np.maximum(apart[0][:, None, None], apart[1][None, :, None]), apart[2][None, None, :])
