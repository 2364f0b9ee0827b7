"""What the panel remembers of this user on this computer, apart from any scene."""

from __future__ import annotations

import json
from pathlib import Path

import qt
from slicer.i18n import tr as _

from MahtAILib.client.secrets import Secrets
from MahtAILib.errors import ExplainedError

_HISTORY_LENGTH = 8


class Settings:
    """Slicer's settings for what is no secret; the system's keyring, or a file of the owner's, for tokens.

    Args:
        folder: of this user; holds the spool, drafts, files of cases, and tokens where there is no keyring.
        group: in Slicer's settings.
    """

    def __init__(self, folder: Path, group: str = "MahtAI") -> None:
        self.folder = folder
        self._group = group
        self._settings = qt.QSettings()
        self._secrets = Secrets(folder)

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
        """The access token that was typed for this server; empty if none was. To be asked in a thread."""
        return self._secrets.get(url)

    def remember_token(self, url: str, token: str) -> None:
        """Keep a token that a server accepted; an empty one is forgotten. To be done in a thread.

        Raises:
            ExplainedError: it could not be kept.
        """
        try:
            self._secrets.set(url, token)
        except OSError as error:
            raise ExplainedError(
                _("The token could not be kept on this computer ({error}).").format(error=error.strerror or error),
                _("Free some space, then connect again."),
            ) from error

    @property
    def has_keyring(self) -> bool:
        """Whether tokens are kept in the system's keyring, and not in a file that only their owner can read."""
        return self._secrets.in_keyring

    def _list(self, name: str) -> list[str]:
        try:
            found = json.loads(self.text(name, "[]"))
        except ValueError:
            return []
        return [str(item) for item in found] if isinstance(found, list) else []
