"""Secrets that the server makes for itself: 32 random bytes in a file that only its user can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from mahtai.volumes.store import full_disk_named


def secret_of(path: Path) -> bytes:
    """The content of the key file, which is made by whoever comes first and never changes."""
    with full_disk_named():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
            partial.write_bytes(secrets.token_bytes(32))
            partial.chmod(0o600)
            try:
                os.link(partial, path)  # fails where another process was sooner
            except FileExistsError:
                pass
            finally:
                partial.unlink()
        return path.read_bytes()
