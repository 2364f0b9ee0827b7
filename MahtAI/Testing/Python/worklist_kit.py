"""Cases on a real server, a reader at the panel's work list, and a second person at another computer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
from kit.brush import paint
from kit.event_loop import spin
from panel_kit import Reader
from scene_kit import TUMOUR

from MahtAILib.client import nrrd
from MahtAILib.client import segmentation as files
from MahtAILib.client.acting import Person
from MahtAILib.client.cases import LabelVersion, NewLabel, add_label
from MahtAILib.client.connection import Connection
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.segmentation import Segmentation
from MahtAILib.scene.provenance import Provenance
from MahtAILib.scene.segments_out import take_segments
from server_process import ServerProcess, put_volume

TASK = "brain-tumour"
ANNA, BORIS = Person("Anna Ärztin"), Person("Boris")
CHANNELS = ("t1c", "t1", "t2", "flair")


def make_study(geometry: Geometry, seed: int) -> dict[str, bytes]:
    """Four NRRD files; every seed gives other voxels."""
    generator = np.random.default_rng(seed)
    voxels = generator.integers(0, 1000, (len(CHANNELS), *geometry.shape), dtype=np.int16)
    return {slot: nrrd.encode(array, geometry.ijk_to_ras) for slot, array in zip(CHANNELS, voxels, strict=True)}


def make_case(client: httpx.Client, study: Mapping[str, bytes], name: str, **more: Any) -> dict[str, Any]:
    """Upload a study and make a case of it."""
    volumes = {slot: put_volume(client, data) for slot, data in study.items()}
    body = {"name": name, "task": TASK, "volumes": volumes, "client_key": str(uuid4()), **more}
    answer = client.post("/v1/cases", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def connect_as(server: ServerProcess, person: Person) -> Connection:
    """Somebody at another computer."""
    connection = Connection(server.url, server.token)
    connection.person = person
    return connection


def boxes(geometry: Geometry, low: float = 0.3, high: float = 0.7) -> Segmentation:
    """A tumour of nested boxes between two fractions of the grid."""
    labels = np.zeros(geometry.shape, np.uint8, order="F")
    for segment, shrink in ((TUMOUR[1], 0.0), (TUMOUR[2], 0.1)):
        labels[tuple(slice(int(n * (low + shrink)), int(n * (high - shrink))) for n in geometry.shape)] = (
            segment.label_value
        )
    return Segmentation(TUMOUR, labels[None], geometry)


def save_as(
    connection: Connection, case: str, segmentation: Segmentation, parent: str | None = None, **more: Any
) -> LabelVersion:
    """A version that somebody else saves."""
    person = connection.person
    label = NewLabel(person.name, person.role, parent=parent, **more)
    return add_label(connection, case, files.encode(segmentation), label, str(uuid4()))


class Worker:
    """A reader at the work list; each method waits until it is done.

    Attributes:
        reader: in front of the panel.
        cases: the panel's part for the work list.
    """

    def __init__(self, reader: Reader, url: str, name: str | None = ANNA.name) -> None:
        self.reader = reader
        if name is not None:  # otherwise somebody is signed in
            save = reader.ui("save")
            save.authorLineEdit.text = name
            save.authorLineEdit.editingFinished.emit()
        if url:
            reader.connect(url)
        self.unfold()

    @property
    def cases(self) -> Any:
        return self.reader.panel.cases

    @property
    def ui(self) -> Any:
        return self.cases.section.ui

    @property
    def node(self) -> Any:
        return self.reader.panel.review.node

    def unfold(self) -> None:
        """Open the section, which asks for the list."""
        self.ui.workListCollapsibleButton.collapsed = False
        self.wait()

    def section_refresh(self) -> None:
        """Press Refresh of the list."""
        self.ui.listButton.click()
        self.wait()

    def wait(self, timeout_s: float = 30) -> None:
        """Until the panel is at rest."""
        spin(
            lambda: not self.reader.panel.background.is_busy and not self.cases.case.is_busy,
            timeout_s,
            "the panel to be at rest",
        )

    def next(self) -> None:
        """Press Next case and wait until it is there, and the one after it as well."""
        self.ui.nextCaseButton.click()
        self.wait()

    def open(self, case_id: str) -> None:
        """Choose a case of the list and press Open."""
        rows = [row for row, case in enumerate(self.cases.listed.cases) if case.id == case_id]
        assert rows, [case.name for case in self.cases.listed.cases]
        self.ui.caseTable.setCurrentCell(rows[0], 0)
        self.ui.openCaseButton.click()
        self.wait()

    def list(self, choice: str) -> list[str]:
        """Choose which cases are listed; their names."""
        self.ui.stateComboBox.setCurrentIndex(self.ui.stateComboBox.findData(choice))
        self.wait()
        return [case.name for case in self.cases.listed.cases]

    def place(self, segmentation: Segmentation) -> None:
        """A segmentation that the reader made with Slicer's tools."""
        self.reader.panel.review.place(segmentation, Provenance())
        self.reader.panel.review.refresh()

    def paint(self, fraction: float, radius_mm: float = 6.0, segment: str = "et") -> None:
        """A click of Slicer's brush at this fraction of each axis."""
        geometry = self.geometry
        index = [fraction * (n - 1) for n in geometry.shape]
        editor = self.reader.ui("review").segmentEditorWidget
        editor.setActiveEffectByName("Paint")
        paint(editor.logic, segment, tuple((geometry.ijk_to_ras @ [*index, 1.0])[:3]), radius_mm)

    @property
    def geometry(self) -> Geometry:
        return self.reader.panel.study.reference_geometry()

    def labels(self) -> np.ndarray:
        """What is under review, [i, j, k]."""
        return take_segments(self.node, self.geometry).segmentation.layers[0]

    def save(self, comment: str = "") -> None:
        """Press Save."""
        self.reader.save(ANNA.name, comment)
        self.wait()

    def press(self, what: str, comment: str = "") -> None:
        """Press Submit, Approve or Reject."""
        self.ui.reviewLineEdit.text = comment
        getattr(self.ui, f"{what}Button").click()
        self.wait()

    def said(self, label: str = "caseLabel") -> str:
        """What a label of the section says; empty if it is hidden."""
        widget = getattr(self.ui, label)
        return "" if widget.isHidden() else str(widget.text)
