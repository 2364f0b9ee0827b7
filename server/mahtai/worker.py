"""A worker: an engine that takes the jobs that wait for busy servers, and nothing that listens."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from mahtai import __version__
from mahtai.app import set_up_logging
from mahtai.data_folder import DataFolder, DataFolderInUse
from mahtai.foundation import open_foundation
from mahtai.settings import Settings, SettingsError, host_name

MOST = 64
"""Workers of one computer at most."""

_log = logging.getLogger("mahtai.worker")


def work(settings: Settings, announce: Callable[[str], None] | None = None) -> None:
    """Work until told to stop (Ctrl+C, SIGTERM).

    Args:
        announce: called with the worker's name when it has begun; by default it is logged.

    Raises:
        SettingsError: the tables lie in a file, which only one process can use.
        MahtaiError: the data folder or the database cannot be used.
    """
    if settings.is_sqlite:
        raise SettingsError(
            "A worker shares the tables with a server, which SQLite cannot do.",
            "Set MAHTAI_DATABASE_URL to a PostgreSQL database and MAHTAI_DATA_DIR to a folder that all of them see.",
        )
    os.umask(0o077)
    set_up_logging(settings.log_level)
    over = threading.Event()
    for wish in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wish, lambda number, frame: over.set())
    with _named(settings) as own:
        foundation = open_foundation(own)
        try:
            foundation.jobs.warm_up()
            if announce is None:
                _log.info("MahtAI %s works as %s", __version__, own.server_name)
            else:
                announce(own.server_name)
            while not over.wait(1.0):
                pass
        finally:
            foundation.close()


@contextmanager
def _named(settings: Settings) -> Iterator[Settings]:
    """Settings with a name of its own, which is held: the given one, or the first of this computer that is free."""
    numbered = [f"{host_name()}-worker-{number}" for number in range(1, MOST + 1)]
    names = [settings.server_name] if "MAHTAI_SERVER_NAME" in os.environ else numbered
    with ExitStack() as stack:
        for name in names:
            own = replace(settings, server_name=name)
            try:
                stack.enter_context(DataFolder(own.data_dir, own.lock_file))
            except DataFolderInUse:
                if name == names[-1]:
                    raise
            else:
                break
        yield own
