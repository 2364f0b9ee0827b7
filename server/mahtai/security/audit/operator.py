"""What is done on the server itself, by a command, is on record as well."""

from __future__ import annotations

import getpass
from collections.abc import Mapping

from mahtai.db.engine import Database
from mahtai.security.at_rest.keys import Keys
from mahtai.security.audit.event import AuditEvent
from mahtai.settings import Settings


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
    """Put a command on record; nothing happens where no record is kept.

    Args:
        keys: of data at rest; None where there are none.
        about: such as ``account/UUID``; empty for nothing in particular.

    Raises:
        MahtaiError: it could not be.
    """
    if not settings.audit:
        return
    from mahtai.security.audit.trail import AuditTrail

    trail = AuditTrail(database, settings.config_dir, settings.secrets_dir, settings.server_name, keys)
    trail.start()
    try:
        trail.record_now(AuditEvent(kind, action, outcome, system_user(), "operator", "", about, dict(detail)))
    finally:
        trail.stop()


def system_user() -> str:
    """Who is signed in on this computer."""
    try:
        return f"{getpass.getuser()}@server"[:200]
    except (OSError, KeyError, ImportError):
        return "server"
