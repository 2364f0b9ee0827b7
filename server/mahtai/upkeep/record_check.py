"""Whether the record goes as far as the settings folder remembers; ``mahtai audit verify`` looks at all of it."""

from __future__ import annotations

from collections.abc import Iterator

from mahtai.security.audit.checkpoints import ANCHOR_FILE, AnchorBroken, Anchors
from mahtai.settings import Settings
from mahtai.upkeep.finding import Finding
from mahtai.upkeep.tables_check import has_rows, newest_number


def check_record(settings: Settings) -> Iterator[Finding]:
    """Look, and change nothing.

    Raises:
        sqlite3.Error, MahtaiError: the tables cannot be read.
    """
    try:
        anchor = Anchors(settings.config_dir / ANCHOR_FILE).of(str(settings.secrets_dir))
    except AnchorBroken as error:
        yield Finding("error", "record", error.reason, error.hint or "")
        return
    if anchor is None:
        return
    end = newest_number(settings, "audit_events") if has_rows(settings, "audit_events") else 0
    if end < anchor.number:
        text = f"The record ends at entry {end:,}, and {anchor.number:,} were signed: the end is gone."
        yield Finding("error", "record", text, "mahtai audit verify; then restore the last backup into a new folder.")
    else:
        yield Finding("ok", "record", f"It goes to entry {end:,}, at least as far as was signed.")
