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

from kit.rendering import DrawnView, need_offscreen, rendered_views

need_offscreen()
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from kit import install  # noqa: E402
from kit.brush import paint  # noqa: E402
from kit.event_loop import spin  # noqa: E402
from kit.scene_context import make_context  # noqa: E402
from kit.slicer_window import BAR, GAP, beside, four_up, titled  # noqa: E402
from panel_kit import Reader  # noqa: E402
from PIL import Image  # noqa: E402

from mahtai.demo.phantom import make_phantom  # noqa: E402
from MahtAILib.client.geometry import Geometry  # noqa: E402
from server_process import ServerProcess  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[3]
RESOURCES = REPOSITORY / "MahtAI" / "Resources"
WIDTH, PANEL_WIDTH = 1600, 480
LESION_RAS_MM = (30.0, 20.0, 15.0)
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
            unfold(reader)
            save(both_palettes(reader), screenshots / "sections.png")
            before = Image.fromarray(drawn["MahtAIT1c"].picture())
            correct(reader)
            after = Image.fromarray(drawn["MahtAIT1c"].picture())
            pair = titled({"T1c, proposed": before, "T1c, corrected": after})
            save(beside(section_picture(reader, "review"), pair), screenshots / "correction.png")


@contextmanager
def open_panel(work: Path) -> Iterator[Reader]:
    """A reader in front of the open panel, connected to a server with the shipped models."""
    server = ServerProcess(work / "server", (REPOSITORY / "models",), {"threads": "2"})
    os.environ["MAHTAI_CONFIG_DIR"] = str(server.root / "config")
    os.environ["MAHTAI_DATA_DIR"] = str(work / "panel")
    server.start()
    try:
        with make_context(work / "slicer") as context:
            install()
            from PySide6 import QtCore, QtWidgets

            formats, scopes = QtCore.QSettings.Format, QtCore.QSettings.Scope
            QtCore.QSettings.setDefaultFormat(formats.IniFormat)
            QtCore.QSettings.setPath(formats.IniFormat, scopes.UserScope, str(work / "settings"))
            QtWidgets.QApplication.setStyle("Fusion")
            use_palette("")
            reader = Reader(context)
            reader.connect(server.url)
            # every start has another port; the usual one says more
            reader.ui("server").addressComboBox.setEditText("http://127.0.0.1:8391")
            yield reader
            reader.leave()
    finally:
        server.kill()


def read_study(reader: Reader) -> None:
    """Load the made-up study, run the model, and wait for the first doubtful place."""
    phantom = make_phantom(lesion_ras_mm=LESION_RAS_MM)
    geometry = Geometry(phantom.labels.shape, phantom.ijk_to_ras)
    volumes = reader.load({NAMES[slot]: (array, geometry) for slot, array in phantom.channels.items()})
    for slot, window in WINDOWS.items():
        volumes[NAMES[slot]].GetDisplayNode().SetAutoWindowLevel(False)
        volumes[NAMES[slot]].GetDisplayNode().SetWindowLevel(window, window / 2)
    reader.run()
    spin(lambda: reader.panel.review.position >= 0, 10, "the first doubtful place")
    reader.ui("save").authorLineEdit.text = "Dr. A. Reader"


def show_lesion(reader: Reader, drawn: dict[str, DrawnView]) -> None:
    """Turn the wheel until the middle of the lesion is seen."""
    for _ in range(200):
        to_go = LESION_RAS_MM[2] - drawn["MahtAIT1c"].logic.GetSliceOffset()
        if abs(to_go) < 1:
            return
        drawn["MahtAIT1c"].turn_wheel(forward=to_go > 0)


def correct(reader: Reader) -> None:
    """Paint where the rim is thin, agree, save."""
    editor = reader.ui("review").segmentEditorWidget
    paint(editor.logic, "et", (LESION_RAS_MM[0], LESION_RAS_MM[1] + 15, LESION_RAS_MM[2]), 7.0)
    spin(lambda: "+0.0" not in reader.ui("review").volumesTable.item(2, 3).text(), 10, "the volumes")
    reader.ui("save").agreeButton.click()
    reader.save(author="Dr. A. Reader", comment="rim completed")


def fold(reader: Reader, *sections: str) -> None:
    """Fold these sections, as a reader does who is done with them."""
    for section in sections:
        reader.ui(section).__dict__[f"{section}CollapsibleButton"].collapsed = True


def unfold(reader: Reader) -> None:
    for section in ("server", "study"):
        reader.ui(section).__dict__[f"{section}CollapsibleButton"].collapsed = False


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


def section_picture(reader: Reader, name: str) -> Image.Image:
    settle()
    return picture_of(getattr(reader.panel, f"{name}_section").widget)


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


def thumbnail(view: DrawnView) -> Image.Image:
    """The middle of a view, 128 × 128."""
    picture = Image.fromarray(view.picture())
    side = round(0.82 * min(picture.size))
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side)).resize((128, 128), Image.Resampling.LANCZOS)


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(192, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, picture.size, f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
