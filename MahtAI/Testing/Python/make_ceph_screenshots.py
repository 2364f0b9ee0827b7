#!/usr/bin/env python3
"""Make the pictures of cephalometry for the README, on the drawn cephalogram, with the shipped model on a real server.

    export PYTHONPATH=server:server/tests:MahtAI:MahtAI/Testing/Python
    python MahtAI/Testing/Python/make_ceph_screenshots.py [FOLDER]

Writes ``cephalometry.png`` (panel and view), ``cephalometry-doubt.png`` (a doubtful landmark at its zoom) and
``cephalometry-over.png`` (an earlier version laid over) into MahtAI/Resources/Screenshots or into FOLDER.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from ceph_kit import drag
from kit.event_loop import spin
from kit.rendering import DrawnView
from kit.slicer_window import beside
from make_screenshots import PANEL_WIDTH, RESOURCES, WIDTH, fold, open_panel, panel_picture, save, settle
from panel_kit import Reader
from PIL import Image
from scene_kit import add_volume
from scipy.ndimage import gaussian_filter

from mahtai.demo.drawn_cephalogram import draw_cephalogram
from MahtAILib.client.geometry import Geometry
from MahtAILib.scene.landmarks import positions_ras
from MahtAILib.scene.layout import IMAGE_VIEW


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work, open_panel(Path(work)) as reader:
        place(reader)
        fold(reader, "server", "ai", "save")
        light = panel_picture(reader)
        view = DrawnView(reader.context, IMAGE_VIEW.tag, (WIDTH - PANEL_WIDTH, min(light.height, 1500)))
        section, state = reader.panel.ceph.landmarks_section, reader.panel.ceph.landmarks
        section.show_image()
        save(_smaller(beside(panel_picture(reader), Image.fromarray(view.picture()))), folder / "cephalometry.png")
        state.select((state.doubtful() or ["Go"])[0])
        settle()
        save(_smaller(Image.fromarray(view.picture())), folder / "cephalometry-doubt.png")
        section.show_image()
        lay_over(reader)
        save(_smaller(Image.fromarray(view.picture())), folder / "cephalometry-over.png")
        view.close()


def place(reader: Reader) -> None:
    """Load the drawn cephalogram and press Place landmarks."""
    drawn = draw_cephalogram()
    # without the film's grain the pictures are a third of their size
    smooth = gaussian_filter(drawn.image, 4)
    step, pixels = drawn.mm_per_pixel, np.ascontiguousarray(smooth.T[:, :, None])
    node = add_volume(reader.scene, Geometry(pixels.shape, np.diag([-step, -step, 1, 1])), "Cephalogram", pixels)
    spin(lambda: reader.panel.ceph.image.node is node, 10, "the image to be chosen")
    reader.run()
    reader.panel.ceph.measurements_section.ui.analysisComboBox.setCurrentIndex(2)
    settle()


def lay_over(reader: Reader) -> None:
    """Save, correct a few landmarks, and lay the saved version over them."""
    state = reader.panel.ceph.landmarks
    reader.save(author="Dr. A. Reader")
    for key, move in (("A", (-4, -1, 0)), ("B", (-5, -2, 0)), ("Pog", (-5, -3, 0)), ("Pog'", (-5, -3, 0))):
        drag(state.node, key, positions_ras(state.node)[key] + move)
    reader.panel.ceph.measurements_section.ui.earlierComboBox.setCurrentIndex(1)
    spin(lambda: state.live.superimposition is not None, 10, "the saved version")
    settle()


def _smaller(picture: Image.Image) -> Image.Image:
    """Film grain does not compress: fewer pixels keep the files small."""
    return picture.resize((picture.width * 3 // 4, picture.height * 3 // 4), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RESOURCES / "Screenshots")
