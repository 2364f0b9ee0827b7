"""A SQLite that is new enough: Python's own, or where that is too old the one that the package pysqlite3 brings.

From Python 3.12 on, DBOS takes for granted what SQLite knows since 3.42, but Python uses whatever it finds:
3.30 in Slicer 5.10, 3.40 in Debian 12.
"""

from __future__ import annotations

import sqlite3
import sys

NEEDED = (3, 42) if sys.version_info >= (3, 12) else (3, 35)


def is_new_enough() -> bool:
    """Whether ``sqlite3`` is a module that will do."""
    return sys.modules["sqlite3"].sqlite_version_info >= NEEDED


def use_new_enough() -> None:
    """Put pysqlite3 in the place of ``sqlite3`` where needed, before anybody else imports that."""
    if sqlite3.sqlite_version_info >= NEEDED:
        return
    try:
        import pysqlite3
        from pysqlite3 import dbapi2
    except ImportError:
        return  # whoever opens a database says so
    sys.modules["sqlite3"], sys.modules["sqlite3.dbapi2"] = pysqlite3, dbapi2
