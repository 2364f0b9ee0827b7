"""A file of secrets that only its owner can read: name → secret, as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def read_secrets(file: Path) -> dict[str, str]:
    """All of them; none where there is no such file, or it cannot be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(secret) for name, secret in found.items()} if isinstance(found, dict) else {}


def write_secrets(file: Path, secrets: Mapping[str, str]) -> None:
    """Replace the file; without secrets there is none.

    Raises:
        OSError: disk full, no permission.
    """
    if not secrets:
        with suppress(FileNotFoundError):
            file.unlink()
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    # the mode is given when the file is made: it is never readable by others, not even for a moment
    with suppress(FileNotFoundError):
        partial.unlink()
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(dict(secrets), stream)
    os.replace(partial, file)
