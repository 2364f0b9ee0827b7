"""Inferences over HTTP on PostgreSQL: tests of a server alone once more, with another database below it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server_process import ServerProcess
from test_api_inferences import (  # noqa: F401
    test_options_left_out_and_spelt_out_are_the_same_request,
    test_the_same_request_gives_the_same_job_unless_a_rerun_is_wanted,
    test_two_clients_with_the_same_request_at_once_share_one_job,
)
from test_jobs_urgency import (  # noqa: F401
    test_a_cancelled_unattended_job_does_not_come_back,
    test_an_unattended_job_makes_room_for_a_reader_and_is_finished_afterwards,
)


@pytest.fixture(scope="session")
def server(server_on_postgresql: ServerProcess) -> ServerProcess:
    """In the place of the one with SQLite."""
    return server_on_postgresql


@pytest.fixture
def start_server(server_on_postgresql: ServerProcess) -> Callable[[], ServerProcess]:
    """These tests leave it running."""
    return lambda: server_on_postgresql
