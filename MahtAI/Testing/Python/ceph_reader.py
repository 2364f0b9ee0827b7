"""A reader in front of a cephalogram: fixtures and what they see, for the tests of the panel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ceph_kit import CephServer, connect, open_image, place
from kit.event_loop import spin
from panel_kit import Reader


@pytest.fixture
def ceph_server() -> Iterator[CephServer]:
    with CephServer() as server:
        yield server


@pytest.fixture
def placed(reader: Reader, ceph_server: CephServer) -> Reader:
    """The landmarks of the made-up image are there."""
    connect(reader, ceph_server)
    open_image(reader)
    place(reader)
    return reader


def landmarks(reader: Reader) -> Any:
    return reader.panel.ceph.landmarks


def widget(reader: Reader, section: str, name: str) -> Any:
    return getattr(getattr(reader.panel.ceph, f"{section}_section").ui, name)


def said(reader: Reader, section: str, label: str) -> str:
    shown = widget(reader, section, label)
    return "" if shown.isHidden() else str(shown.text)


def cell(reader: Reader, measurement: str, column: int) -> str:
    table = widget(reader, "measurements", "measurementsTable")
    spin(lambda: table.rowCount > 0 and not reader.panel.ceph.measurements_section._rows_soon.active, 5)
    rows = [row for row in range(table.rowCount) if table.item(row, 0).text() == measurement]
    return str(table.item(rows[0], column).text())


def row_of(reader: Reader, landmark_id: str) -> int:
    table = widget(reader, "landmarks", "landmarksTable")
    names = [table.item(row, 0).text().removeprefix("⚠ ").split("  ")[0] for row in range(table.rowCount)]
    return names.index(landmark_id)


def state_in_table(reader: Reader, landmark_id: str) -> str:
    return str(widget(reader, "landmarks", "landmarksTable").item(row_of(reader, landmark_id), 3).text())


def choose_row(reader: Reader, landmark_id: str) -> None:
    widget(reader, "landmarks", "landmarksTable").cellClicked.emit(row_of(reader, landmark_id), 0)
