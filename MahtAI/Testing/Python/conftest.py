"""A stand-in server on real sockets, a connection to it that does not wait long between tries, and Slicer's context."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kit.fixtures import dialogs, qt_app, slicer_context
from stand_in_server import TOKEN, StandIn

from MahtAILib.client.connection import Connection

if TYPE_CHECKING:
    from kit.scene_context import SlicerContext
    from panel_kit import Reader

__all__ = ["dialogs", "qt_app", "slicer_context"]


@pytest.fixture(autouse=True)
def user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own data, token and keyring are out of reach of every test."""
    monkeypatch.setenv("MAHTAI_KEYRING", "off")
    monkeypatch.setenv("MAHTAI_DATA_DIR", str(tmp_path / "user-data"))
    monkeypatch.setenv("MAHTAI_CONFIG_DIR", str(tmp_path / "user-config"))


@pytest.fixture
def reader(qt_app: SlicerContext) -> Iterator[Reader]:
    """The panel is open; no server."""
    from panel_kit import Reader

    reader = Reader(qt_app)
    yield reader
    reader.leave()


@pytest.fixture
def server() -> Iterator[StandIn]:
    """Gone when the test ends, whatever still listens."""
    with StandIn() as server:
        yield server


@pytest.fixture
def connection(server: StandIn) -> Iterator[Connection]:
    """With the right token."""
    with Connection(server.url, TOKEN, backoff_s=0.001) as connection:
        yield connection
