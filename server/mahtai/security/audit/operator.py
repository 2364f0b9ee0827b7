"""What is done on the server itself, by a command, is on record as well."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from mahtai.db.engine import Database
from mahtai.security.at_rest.keys import Keys
from mahtai.security.audit.event import AuditEvent
from mahtai.settings import Settings

Note = Callable[[str, str, str, str, Mapping[str, str]], None]
"""Kind, action, outcome, what it is about (such as ``account/UUID``; empty for nothing in particular), and detail."""


@contextmanager
def command_record(settings: Settings, database: Database, keys: Keys | None) -> Iterator[Note]:
    """The record, opened before something is done, so that nothing is done where it cannot be put on record.

    Args:
        keys: of data at rest; None where there are none.

    Raises:
        MahtaiError: it cannot be kept.
    """
    if not settings.audit:
        yield lambda *_: None
        return
    from mahtai.security.audit.trail import AuditTrail

    trail = AuditTrail(database, settings.config_dir, settings.secrets_dir, settings.server_name, keys)
    trail.start()
    try:
        yield lambda kind, action, outcome, about, detail: trail.record_now(
            AuditEvent(kind, action, outcome, system_user(), "operator", "", about, dict(detail))
        )
    finally:
        trail.stop()


def record_command(
    settings: Settings,
    database: Database,
    keys: Keys | None,
    kind: str,
    action: str,
    outcome: str,
    about: str,
    detail: Mapping[str, str],
) -> None:
    """Put a command on record that has done its work; see ``command_record``."""
    with command_record(settings, database, keys) as note:
        note(kind, action, outcome, about, detail)


def system_user() -> str:
    """Who is signed in on this computer."""
    try:
        return f"{getpass.getuser()}@server"[:200]
    except (OSError, KeyError, ImportError):
        return "server"
