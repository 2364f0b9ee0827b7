"""Access tokens on this computer: in the system's keyring where there is one, else in a file of their owner's.

Passwords, codes and the tokens of a session are never kept at all.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from MahtAILib.client.keyrings import Keyring, KeyringError, find_keyring
from MahtAILib.client.secret_file import read_secrets, write_secrets

log = logging.getLogger(__name__)


class Secrets:
    """Tokens by the address of their server; for any number of threads. The keyring may make its caller wait.

    A keyring that does not answer, or gives back something else than it was given, is left alone for the rest of the
    session, and the file is used.

    Args:
        folder: of this user; holds ``server-tokens.json`` where there is no keyring.
        environment: in which programs of the system run.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._file = folder / "server-tokens.json"
        self._keyring: Keyring | None = find_keyring(folder, environment)
        self._lock = threading.Lock()

    @property
    def in_keyring(self) -> bool:
        """Whether they are kept in the system's keyring, as far as is known."""
        return self._keyring is not None

    def get(self, name: str) -> str:
        """A token; empty where there is none. One that an earlier version left in the file moves into the keyring."""
        with self._lock:
            in_file = read_secrets(self._file).get(name, "")
            if in_file:
                if self._moved(name, in_file):
                    self._write(name, "")
                return in_file
            try:
                return "" if self._keyring is None else self._keyring.get(name)
            except (KeyringError, OSError) as error:
                self._give_up(error)
                return ""

    def set(self, name: str, secret: str) -> None:
        """Keep a token; an empty one is forgotten.

        Raises:
            OSError: neither the keyring nor the file took it.
        """
        with self._lock:
            if not secret:
                self._delete(name)
                self._write(name, "")
            elif self._moved(name, secret):
                self._write(name, "")
            else:
                self._write(name, secret)

    def _moved(self, name: str, secret: str) -> bool:
        """Whether it is in the keyring now."""
        if self._keyring is None:
            return False
        try:
            if self._keyring.get(name) == secret:
                return True
            self._keyring.set(name, secret)
            if self._keyring.get(name) == secret:
                return True
            raise KeyringError("it gives back something else than it was given")
        except (KeyringError, OSError) as error:
            self._give_up(error)
            return False

    def _delete(self, name: str) -> None:
        if self._keyring is not None:
            try:
                self._keyring.delete(name)
            except (KeyringError, OSError) as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        log.warning("MahtAI: the system's keyring cannot be used (%s); tokens are kept in a private file", error)
        self._keyring = None

    def _write(self, name: str, secret: str) -> None:
        kept = read_secrets(self._file)
        wanted = {**kept, name: secret}
        if not secret:
            del wanted[name]
        if wanted != kept:
            write_secrets(self._file, wanted)
