"""Durable workflows by DBOS, one a job: a workflow that was open when the server died goes on at the next start.

For a server alone; those that share their tables have ``mahtai.jobs.threads``.

The state of a job lives in our own table; DBOS keeps the knowledge that somebody has to work on it. How
often a job may be started anew is counted in our table too, because a job that only waited in the line when
the server died has done nothing wrong.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing

from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos._serialization import DBOSPortableJSON, WorkflowSerializationFormat
from sqlalchemy import make_url

from mahtai.db.engine import DatabaseUnavailable
from mahtai.jobs.inference import Claim
from mahtai.sqlite import NEEDED, is_new_enough

APPLICATION_VERSION = "1"
"""Pinned: DBOS recovers only workflows of its own version, and a job outlives an update of the program."""

_OPEN = ("PENDING", "ENQUEUED", "DELAYED")


class DurableWork:
    """Calls ``perform(job)`` for every begun job, in a thread of its own, until it has returned once.

    Args:
        url: SQLAlchemy URL of DBOS's own tables.
        executor: name of this server among those that share the tables; stable over restarts.
        perform: must bear to be called again for a job that it had begun or even finished.
    """

    def __init__(self, url: str, executor: str, perform: Callable[[str], None]) -> None:
        self._url = url
        self._executor = executor
        self._perform = perform

    def start(self) -> None:
        """Open or make the tables, and take up what was left open."""
        _log_plainly()
        if self._url.startswith("sqlite"):
            _require_new_sqlite()
            _prepare_sqlite(self._url)
        config: DBOSConfig = {
            "name": "mahtai",
            "system_database_url": self._url,
            "application_version": APPLICATION_VERSION,
            "executor_id": self._executor,
            "log_level": "WARNING",
            "serializer": DBOSPortableJSON,
            "enable_otlp": False,
        }
        DBOS(config=config)
        perform = self._perform

        def inference(job: str) -> None:
            perform(job)

        self._workflow = DBOS.workflow(
            name="inference", max_recovery_attempts=None, serialization_type=WorkflowSerializationFormat.PORTABLE
        )(inference)
        DBOS.launch()

    def begin(self, claim: Claim) -> None:
        """Start the workflow of a job; nothing happens if it has one."""
        with SetWorkflowID(claim.job):
            DBOS.start_workflow(self._workflow, claim.job)

    def is_open(self, claim: Claim) -> bool | None:
        """Whether the job's workflow will still be worked on; None if there is none."""
        status = DBOS.get_workflow_status(claim.job)
        return None if status is None else status.status in _OPEN

    def stop(self) -> None:
        """Let go; open workflows stay open."""
        DBOS.destroy(destroy_registry=True)


def _require_new_sqlite() -> None:
    if not is_new_enough():
        needed = ".".join(map(str, NEEDED))
        raise DatabaseUnavailable(
            f"This Python's SQLite is too old for the server: it is {sqlite3.sqlite_version}, {needed} is needed.",
            "Install all of server/requirements.txt (it holds pysqlite3), or use another Python.",
        )


def _prepare_sqlite(url: str) -> None:
    """Write-ahead log: a commit costs one sync instead of three, and readers do not wait. The file remembers it."""
    path = make_url(url).database
    if path is not None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def _log_plainly() -> None:
    """DBOS brings a handler of its own unless its logger has one; ours is the root's."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.propagate = True
