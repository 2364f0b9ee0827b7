"""The folders of this user's server: the same that ``mahtai serve`` uses by itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

TOKEN_FILE = "token"


def config_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Where the token is: ``MAHTAI_CONFIG_DIR``, or the user's configuration folder as the platform has it."""
    return _folder("MAHTAI_CONFIG_DIR", "XDG_CONFIG_HOME", ".config", environment)


def installation_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Where an installation belongs: below the server's data, on this computer even where profiles travel."""
    return _folder("MAHTAI_DATA_DIR", "XDG_DATA_HOME", ".local/share", environment) / "server"


def _folder(own: str, standard: str, default: str, environment: Mapping[str, str] | None) -> Path:
    variables = os.environ if environment is None else environment
    given = variables.get(own)
    if given:
        return Path(given).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(variables.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(variables.get(standard, "").strip() or Path.home() / default)
    return base / "MahtAI"


def read_token(folder: Path) -> str:
    """The token of this user's server, or nothing if no server has made one yet."""
    try:
        return (folder / TOKEN_FILE).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
