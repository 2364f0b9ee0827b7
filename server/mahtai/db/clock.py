"""The time that several servers agree on."""

from __future__ import annotations

from datetime import datetime, timezone

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.sql import func

from mahtai.db.tables import now


def moment(session: Session) -> datetime:
    """Now, in UTC: by the clock of a database that several servers share, else by this computer's."""
    if session.get_bind().dialect.name != "postgresql":
        return now()
    told = session.scalar(select(func.clock_timestamp()))
    assert isinstance(told, datetime)
    return told.astimezone(timezone.utc)
