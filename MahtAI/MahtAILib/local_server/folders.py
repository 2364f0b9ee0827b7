"""Where a server of this user keeps its token: the same folder that ``mahtai serve`` uses by itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

TOKEN_FILE = "token"


def config_folder(environment: Mapping[str, str] | None = None) -> Path:
    """``MAHTAI_CONFIG_DIR``, or the user's configuration folder as the platform has it."""
    variables = os.environ if environment is None else environment
    given = variables.get("MAHTAI_CONFIG_DIR")
    if given:
        return Path(given).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(variables.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(variables.get("XDG_CONFIG_HOME", "").strip() or Path.home() / ".config")
    return base / "MahtAI"


def read_token(folder: Path) -> str:
    """The token of this user's server, or nothing if no server has made one yet."""
    try:
        return (folder / TOKEN_FILE).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
