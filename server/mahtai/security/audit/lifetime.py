"""The record of a running server, from its start to its end; both are entries of it."""

from __future__ import annotations

import logging

from mahtai.db.engine import Database
from mahtai.errors import MahtaiError
from mahtai.security.at_rest.keys import Keys
from mahtai.security.audit.event import AuditEvent
from mahtai.security.audit.trail import AuditTrail
from mahtai.settings import Settings

_log = logging.getLogger("mahtai.audit")


def open_record(settings: Settings, database: Database, keys: Keys | None) -> AuditTrail | None:
    """The record, with the server's start in it; None where none is kept.

    Raises:
        MahtaiError: the record cannot be kept, so that the server must not start.
    """
    if not settings.audit:
        return None
    trail = AuditTrail(database, settings.config_dir, settings.secrets_dir, settings.server_name, keys)
    trail.start()
    trail.record_now(_event("start"))
    return trail


def close_record(trail: AuditTrail | None) -> None:
    """Record that the server stops, and sign the end."""
    if trail is None:
        return
    try:
        trail.record_now(_event("stop"))
    except MahtaiError as error:
        _log.error("the stop of the server could not be put on record: %s", error.kind)
    trail.stop()


def _event(what: str) -> AuditEvent:
    return AuditEvent("server", "E", "success", "server", "service", "", "", {"what": what})
