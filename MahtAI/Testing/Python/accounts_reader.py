"""A reader in front of a server on which people sign in: fixtures for the tests of the panel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from accounts_kit import ANNA, BORIS, VERA, AtTheDoor, add_user, hospital_server, signed_in
from panel_kit import Reader
from scene_kit import GRIDS
from worklist_kit import Worker, make_case, make_study

from server_process import ServerProcess

GEOMETRY = GRIDS["left-handed oblique"]


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with a radiologist, a second radiologist and a viewer."""
    server = hospital_server(tmp_path / "hospital", (tmp_path / "no-models",))
    for name, role in ((ANNA, "radiologist"), (BORIS, "radiologist"), (VERA, "viewer")):
        add_user(server, name, role)
    server.start()
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


@pytest.fixture
def case(hospital: ServerProcess) -> dict[str, Any]:
    """A case that everybody sees."""
    connection, _ = signed_in(hospital, ANNA)
    headers = {"Authorization": f"Bearer {connection.login.token()}"}
    with httpx.Client(base_url=hospital.url, headers=headers, timeout=60, trust_env=False) as client:
        return make_case(client, make_study(GEOMETRY, 1), "Case 1")


@pytest.fixture
def door(reader: Reader, hospital: ServerProcess) -> AtTheDoor:
    """The server was asked and wants to know who it is."""
    reader.connect(hospital.url)
    return AtTheDoor(reader)


def at_work(door: AtTheDoor, name: str) -> Worker:
    """Signed in, with the work list open."""
    door.type(name)
    assert door.reader.panel.server.account is not None, door.said()
    return Worker(door.reader, "", None)
