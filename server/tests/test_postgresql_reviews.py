"""Reviews and merging on PostgreSQL: the tests of ``test_reviews`` once more, with another database below them."""

from __future__ import annotations

import pytest

from server_process import ServerProcess
from test_reviews import *  # noqa: F403


@pytest.fixture(scope="session")
def server(server_on_postgresql: ServerProcess) -> ServerProcess:
    """In the place of the one with SQLite."""
    return server_on_postgresql
