"""What the panel remembers of this user on this computer, apart from any scene."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import qt

_HISTORY_LENGTH = 8


class Settings:
    """Slicer's settings for what is no secret; a file that only its owner can read for tokens.

    Args:
        folder: of this user; holds ``server-tokens.json`` and the spool.
        group: in Slicer's settings.
    """

    def __init__(self, folder: Path, group: str = "MahtAI") -> None:
        self.folder = folder
        self._group = group
        self._settings = qt.QSettings()

    def addresses(self) -> list[str]:
        """Servers that answered, the last one first."""
        return self._list("ServerHistory")

    def remember_address(self, url: str) -> None:
        """Put a server that answered in front of the list."""
        known = [url, *(other for other in self.addresses() if other != url)]
        self._settings.setValue(f"{self._group}/ServerHistory", json.dumps(known[:_HISTORY_LENGTH]))

    def consents(self, url: str) -> bool:
        """Whether the user agreed that images are sent to this server."""
        return url in self._list("Consents")

    def remember_consent(self, url: str) -> None:
        """The user agreed."""
        self._settings.setValue(f"{self._group}/Consents", json.dumps(sorted({url, *self._list("Consents")})))

    def text(self, name: str, default: str = "") -> str:
        """A remembered word, such as the reader's name."""
        value = self._settings.value(f"{self._group}/{name}")
        return default if value is None else str(value)

    def set_text(self, name: str, value: str) -> None:
        """Remember a word."""
        self._settings.setValue(f"{self._group}/{name}", value)

    def token(self, url: str) -> str:
        """The access token that was typed for this server; empty if none was."""
        return str(self._tokens().get(url, ""))

    def remember_token(self, url: str, token: str) -> None:
        """Keep a token that a server accepted; an empty one is forgotten."""
        tokens = {**self._tokens(), url: token}
        if not token:
            del tokens[url]
        if tokens == self._tokens():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self._token_file.with_suffix(".partial")
        # the mode is given when the file is made: it is never readable by others, not even for a moment
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(tokens, stream)
        os.replace(partial, self._token_file)

    @property
    def _token_file(self) -> Path:
        return self.folder / "server-tokens.json"

    def _tokens(self) -> dict[str, str]:
        try:
            found = json.loads(self._token_file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _list(self, name: str) -> list[str]:
        try:
            found = json.loads(self.text(name, "[]"))
        except ValueError:
            return []
        return [str(item) for item in found] if isinstance(found, list) else []
