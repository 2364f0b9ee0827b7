#!/usr/bin/env python3
"""Make the pictures of the work list for the README, on made-up cases on a real server.

    export PYTHONPATH=server:server/tests:MahtAI:MahtAI/Testing/Python
    python MahtAI/Testing/Python/make_worklist_screenshots.py [FOLDER]

Writes ``worklist.png`` (the section in the light and the dark style) and ``comparison.png`` (two versions as outlines,
with the table) into MahtAI/Resources/Screenshots, or into FOLDER.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from kit.rendering import need_offscreen, rendered_views

need_offscreen()

from kit.slicer_window import beside, titled  # noqa: E402
from make_screenshots import LESION_RAS_MM, RESOURCES, both_palettes, open_panel, panel_picture, save  # noqa: E402
from PIL import Image  # noqa: E402
from scene_kit import TUMOUR  # noqa: E402
from worklist_kit import TASK, Worker, make_case, save_as  # noqa: E402

from mahtai.demo.phantom import make_phantom  # noqa: E402
from MahtAILib.client import nrrd  # noqa: E402
from MahtAILib.client.acting import Person  # noqa: E402
from MahtAILib.client.connection import Connection  # noqa: E402
from MahtAILib.client.geometry import Geometry  # noqa: E402
from MahtAILib.client.reviews import Decision, decide  # noqa: E402
from MahtAILib.client.segmentation import Segmentation  # noqa: E402
from MahtAILib.client.worklist import claim  # noqa: E402

BORIS, CLARA = Person("Dr. B. Novak"), Person("C. Weber", "annotator")
READER = "Dr. A. Reader"
CASES = 6


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work, open_panel(Path(work)) as reader:
        connection = reader.panel.server.connection
        token = (Path(work) / "server" / "config" / "token").read_text(encoding="utf-8").strip()
        second = fill(connection.url, token)
        worker = Worker(reader, "", READER)
        reader.ui("review").segmentEditorWidget.setFixedHeight(150)
        worker.list("all")
        worker.open(second)
        hide_other_sections(reader, "cases.section")
        save(both_palettes(reader), folder / "worklist.png")
        save(comparison(worker), folder / "comparison.png")


def fill(url: str, token: str) -> str:
    """Cases in all states; returns the id of the one that two people worked on."""
    phantom = make_phantom(lesion_ras_mm=LESION_RAS_MM)
    geometry = Geometry(phantom.labels.shape, phantom.ijk_to_ras)
    labels = labels_of(phantom.labels, geometry)
    headers = {"Authorization": f"Bearer {token}"}
    ids = []
    with httpx.Client(base_url=url, headers=headers, timeout=60.0, trust_env=False) as client:
        for number in range(CASES):
            study = {}
            for slot, array in phantom.channels.items():
                own = np.array(array, order="F")
                own[0, 0, number] = 1
                study[slot] = nrrd.encode(own, phantom.ijk_to_ras)
            more = {"priority": 5} if number == 4 else {"assignee": READER} if number == 1 else {}
            ids.append(make_case(client, study, f"Glioma {number + 17:03}", task=TASK, **more)["id"])
    with Connection(url, token) as boris, Connection(url, token) as clara:
        boris.person, clara.person = BORIS, CLARA
        done = save_as(boris, ids[0], labels, submit=True)
        decide(clara, ids[0], Decision("approve", CLARA, done.id), "0f1de9d6-1de9-4de9-8de9-0f1de9d60f1d")
        back = save_as(clara, ids[2], labels, submit=True)
        decide(boris, ids[2], Decision("reject", BORIS, back.id, "Oedema reaches too far."), back.id)
        claim(clara, ids[5])
        root = save_as(boris, ids[3], labels)
        save_as(clara, ids[3], shifted(labels, 3), root.id, comment="rim added")
        save_as(boris, ids[3], shifted(labels, -2), root.id, submit=True, comment="oedema smaller")
    return ids[3]


def labels_of(truth: np.ndarray, geometry: Geometry) -> Segmentation:
    """The made-up lesion with Slicer's segments; the phantom numbers them 1, 2, 3."""
    values = np.array([0, 1, 2, 4], np.uint8)
    return Segmentation(TUMOUR, np.asfortranarray(values[truth])[None], geometry)


def shifted(labels: Segmentation, voxels: int) -> Segmentation:
    """The same, drawn a little elsewhere."""
    return Segmentation(labels.segments, np.roll(labels.layers, voxels, axis=1), labels.geometry)


def hide_other_sections(reader: Any, shown: str) -> None:
    """So that the picture holds what is spoken of."""
    section = reader.panel.cases.section if shown == "cases.section" else getattr(reader.panel, shown)
    for one in reader.panel.sections:
        one.widget.setVisible(one is section)


def comparison(worker: Worker) -> Image.Image:
    """Section Save with the table, beside a view with the outlines of both versions."""
    reader = worker.reader
    hide_other_sections(reader, "save_section")
    reader.ui("save").versionsTable.setCurrentCell(1, 0)
    worker.cases.comparison_section.ui.compareButton.click()
    worker.wait()
    panel = panel_picture(reader)
    with rendered_views(reader.context, (panel.height, panel.height)) as drawn:
        view = drawn["MahtAIFLAIR"]
        for _ in range(200):
            to_go = LESION_RAS_MM[2] - view.logic.GetSliceOffset()
            if abs(to_go) < 1:
                break
            view.turn_wheel(forward=to_go > 0)
        picture = Image.fromarray(view.picture())
    return beside(panel, titled({"FLAIR": picture}))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RESOURCES / "Screenshots")
