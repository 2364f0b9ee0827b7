#!/usr/bin/env python3
"""Make the pictures of the README, on a made-up case, with the shipped model on a real server.

    export PYTHONPATH=server:server/tests:MahtAI:MahtAI/Testing/Python
    python MahtAI/Testing/Python/make_screenshots.py [FOLDER]

Writes ``panel.png``, ``panel-dark.png``, ``sections.png``, ``views.png`` and ``correction.png`` into
MahtAI/Resources/Screenshots and the sample's thumbnail into MahtAI/Resources/Icons, or all into FOLDER. The views are
drawn by Slicer's own displayable managers, the panel by the Qt kit of the tests: Slicer's own widgets in it, such as
the segment editor, look different in Slicer.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from kit.rendering import DrawnView, add_crosshair, need_offscreen, rendered_views

need_offscreen()
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from kit import install  # noqa: E402
from kit.brush import paint  # noqa: E402
from kit.ctk_widgets import ctkCollapsibleButton  # noqa: E402
from kit.event_loop import spin  # noqa: E402
from kit.scene_context import make_context  # noqa: E402
from kit.slicer_window import BAR, GAP, beside, four_up, titled  # noqa: E402
from panel_kit import Reader  # noqa: E402
from PIL import Image  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

from mahtai.demo.phantom import CONTRAST, TISSUES, Phantom, make_phantom  # noqa: E402
from MahtAILib.client.geometry import Geometry  # noqa: E402
from server_process import ServerProcess  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[3]
RESOURCES = REPOSITORY / "MahtAI" / "Resources"
WIDTH, PANEL_WIDTH = 1600, 480
LESION_RAS_MM = (30.0, 20.0, 15.0)
FAINT_RAS_MM = (32.0, -14.0, 15.0)
"""A tongue of faint oedema behind the lesion, which the model leaves out and the reader adds."""

NAMES = {"t1c": "AX T1 POST GAD", "t1": "AX T1", "t2": "AX T2 FSE", "flair": "AX T2 FLAIR"}
WINDOWS = {"t1c": 1150, "t1": 1000, "t2": 1200, "flair": 1050}
"""Grey values from black to white, as a reader would set them."""

PALETTES = {
    "": {"Window": "#efefef", "Base": "#ffffff", "Button": "#efefef", "Text": "#000000", "Highlight": "#308cc6"},
    "-dark": {"Window": "#353535", "Base": "#232323", "Button": "#353535", "Text": "#ffffff", "Highlight": "#2a82da"},
}
"""Slicer's light and dark style; part of a file's name → roles and their colours."""


def main(folder: Path | None) -> None:
    screenshots, icons = (folder, folder) if folder else (RESOURCES / "Screenshots", RESOURCES / "Icons")
    with tempfile.TemporaryDirectory() as work, open_panel(Path(work)) as reader:
        read_study(reader)
        fold(reader, "server", "study")
        light = panel_picture(reader)
        width, height = (WIDTH - PANEL_WIDTH - 2 * GAP) // 2, (light.height - GAP) // 2 - BAR
        with rendered_views(reader.context, (width, height)) as drawn:
            show_lesion(reader, drawn)
            views = four_up(drawn)
            save(views, screenshots / "views.png")
            save(thumbnail(drawn["MahtAIT1c"]), icons / "SampleBrainTumour.png")
            for name in PALETTES:
                use_palette(name)
                save(beside(panel_picture(reader), views), screenshots / f"panel{name}.png")
            fold(reader, "server", "study", folded=False)
            save(both_palettes(reader), screenshots / "sections.png")
            save(correction(reader, drawn["MahtAIFLAIR"]), screenshots / "correction.png")


@contextmanager
def open_panel(work: Path) -> Iterator[Reader]:
    """A reader in front of the open panel, connected to a server with the shipped models."""
    server = ServerProcess(work / "server", (REPOSITORY / "models",), {"threads": "2"})
    server.start()
    try:
        with open_slicer(work, server) as reader:
            # every start has another port; the usual one says more
            reader.ui("server").addressComboBox.setEditText("http://127.0.0.1:8391")
            yield reader
    finally:
        server.kill()


@contextmanager
def open_slicer(work: Path, server: ServerProcess) -> Iterator[Reader]:
    """A reader in front of the open panel, who has pressed Connect."""
    os.environ["MAHTAI_CONFIG_DIR"] = str(server.root / "config")
    os.environ["MAHTAI_DATA_DIR"] = str(work / "panel")
    with make_context(work / "slicer") as context:
        install()
        from PySide6 import QtCore, QtWidgets

        formats, scopes = QtCore.QSettings.Format, QtCore.QSettings.Scope
        QtCore.QSettings.setDefaultFormat(formats.IniFormat)
        QtCore.QSettings.setPath(formats.IniFormat, scopes.UserScope, str(work / "settings"))
        QtWidgets.QApplication.setStyle("Fusion")
        use_palette("")
        add_crosshair(context.scene)
        reader = Reader(context)
        reader.connect(server.url)
        yield reader
        reader.leave()


def read_study(reader: Reader) -> None:
    """Load the made-up study, run the model, and wait for the first doubtful place."""
    phantom = make_phantom(lesion_ras_mm=LESION_RAS_MM)
    geometry = Geometry(phantom.labels.shape, phantom.ijk_to_ras)
    arrays = {slot: add_faint_oedema(array, slot, phantom) for slot, array in phantom.channels.items()}
    volumes = reader.load({NAMES[slot]: (array, geometry) for slot, array in arrays.items()})
    for slot, window in WINDOWS.items():
        volumes[NAMES[slot]].GetDisplayNode().SetAutoWindowLevel(False)
        volumes[NAMES[slot]].GetDisplayNode().SetWindowLevel(window, window / 2)
    # the stand-in has nothing to fill its room with
    reader.ui("review").segmentEditorWidget.setFixedHeight(150)
    reader.run()
    spin(lambda: reader.panel.review.position >= 0, 10, "the first doubtful place")
    reader.ui("save").authorLineEdit.text = "Dr. A. Reader"


def show_lesion(reader: Reader, drawn: dict[str, DrawnView]) -> None:
    """Turn the wheel until the middle of the lesion is seen; the doubtful place is elsewhere."""
    for _ in range(200):
        to_go = LESION_RAS_MM[2] - drawn["MahtAIT1c"].logic.GetSliceOffset()
        if abs(to_go) < 1:
            return
        drawn["MahtAIT1c"].turn_wheel(forward=to_go > 0)


def add_faint_oedema(array: np.ndarray, slot: str, phantom: Phantom) -> np.ndarray:
    """A channel with an ellipsoid in which white matter is a quarter of the way to oedema."""
    indices = np.stack(np.meshgrid(*(np.arange(count) for count in array.shape), indexing="ij"), -1)
    ras = indices @ phantom.ijk_to_ras[:3, :3].T + phantom.ijk_to_ras[:3, 3]
    inside = np.linalg.norm((ras - FAINT_RAS_MM) / (9, 13, 13), axis=-1) < 1
    weight = gaussian_filter(np.where(inside & (phantom.labels == 0), 0.25, 0), 1.5)
    means = dict(zip(TISSUES, CONTRAST[slot], strict=True))
    return np.where(array > 0, array + weight * (means["ed"] - means["white"]), 0).astype(array.dtype)


def correction(reader: Reader, view: DrawnView) -> Image.Image:
    """Review and Save after a correction, beside a view before and after."""
    before = Image.fromarray(view.picture())
    editor = reader.ui("review").segmentEditorWidget
    right, anterior, superior = FAINT_RAS_MM
    for step in (4, -1, -5):
        paint(editor.logic, "ed", (right, anterior + step, superior), 8.0)
    spin(lambda: "+0" not in reader.ui("review").volumesTable.item(1, 3).text(), 10, "the volumes")
    after = Image.fromarray(view.picture())
    reader.ui("save").agreeButton.click()
    reader.save(author="Dr. A. Reader", comment="faint oedema added")
    fold(reader, "server", "study", "ai")
    panel = panel_picture(reader)
    height = (panel.height - GAP) // 2 - BAR
    pictures = {"FLAIR, proposed": middle(before, height), "FLAIR, corrected": middle(after, height)}
    return beside(panel, titled(pictures))


def fold(reader: Reader, *sections: str, folded: bool = True) -> None:
    """Fold sections, as a reader does who is done with them."""
    for section in sections:
        buttons = getattr(reader.panel, f"{section}_section").widget.findChildren(ctkCollapsibleButton)
        buttons[0].collapsed = folded


def use_palette(name: str) -> None:
    from PySide6 import QtGui, QtWidgets

    colours = {role: QtGui.QColor(colour) for role, colour in PALETTES[name].items()}
    palette = QtGui.QPalette(colours["Button"], colours["Window"])
    roles = QtGui.QPalette.ColorRole
    for role in ("Base", "Highlight", "Text"):
        palette.setColor(getattr(roles, role), colours[role])
    QtWidgets.QApplication.setPalette(palette)
    settle()


def settle() -> None:
    """Let layouts and repaints come to an end."""
    from PySide6 import QtWidgets

    for _ in range(5):
        QtWidgets.QApplication.processEvents()


def panel_picture(reader: Reader) -> Image.Image:
    """The panel, as high as it wants to be."""
    widget = reader.module.widgetRepresentation()
    widget.setFixedWidth(PANEL_WIDTH)
    widget.show()
    settle()
    widget.resize(PANEL_WIDTH, widget.layout().heightForWidth(PANEL_WIDTH))
    settle()
    return picture_of(widget)


def both_palettes(reader: Reader) -> Image.Image:
    """The whole panel in the light and in the dark style."""
    pictures = []
    for name in PALETTES:
        use_palette(name)
        pictures.append(panel_picture(reader))
    use_palette("")
    return beside(*pictures)


def picture_of(widget: Any) -> Image.Image:
    from PySide6 import QtCore

    buffer = QtCore.QBuffer()
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    widget.grab().save(buffer, "PNG")
    return Image.open(io.BytesIO(buffer.data().data())).convert("RGB")


def middle(picture: Image.Image, height: int) -> Image.Image:
    """A strip of a picture, as high as wanted."""
    top = (picture.height - height) // 2
    return picture.crop((0, top, picture.width, top + height))


def thumbnail(view: DrawnView) -> Image.Image:
    """The middle of a view, 128 × 128."""
    picture = Image.fromarray(view.picture())
    side = round(0.82 * min(picture.size))
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side)).resize((128, 128), Image.Resampling.LANCZOS)


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # without the k-means steps specks of a wrong colour are left in the segments
    picture.quantize(256, kmeans=4, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, picture.size, f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
