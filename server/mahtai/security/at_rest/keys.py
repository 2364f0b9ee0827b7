"""Data keys as those who read and write files see them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mahtai.errors import MahtaiError


class KeyNotSet(MahtaiError):
    """Something is encrypted, and no key is set."""

    kind = "key-not-set"
    title = "The key of the stored data is not set"
    status = 500


class UnknownDataKey(MahtaiError):
    """Something is encrypted under a data key that is not at hand."""

    kind = "unknown-data-key"
    title = "The key of stored data is not known"
    status = 500


class Keys(Protocol):
    """Data keys by id, and the one that everything new gets."""

    def current(self) -> tuple[str, bytes]:
        """Id and key of the one for what is new."""

    def key(self, key_id: str) -> bytes:
        """A data key.

        Raises:
            UnknownDataKey: there is none of that id.
        """


@dataclass(frozen=True)
class GivenKeys:
    """A few data keys that were handed to a process which has no keyring.

    Attributes:
        id: of the one for what is new.
        known: by id.
    """

    id: str
    known: Mapping[str, bytes] = field(repr=False)

    def current(self) -> tuple[str, bytes]:
        """See ``Keys``."""
        return self.id, self.known[self.id]

    def key(self, key_id: str) -> bytes:
        """See ``Keys``."""
        found = self.known.get(key_id)
        if found is None:
            raise unknown(key_id)
        return found

    def as_json(self) -> dict[str, Any]:
        """For a pipe to another process; never for a file."""
        return {"id": self.id, "known": {name: base64.b64encode(key).decode() for name, key in self.known.items()}}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> GivenKeys:
        """From the other end of the pipe."""
        return cls(content["id"], {name: base64.b64decode(key) for name, key in content["known"].items()})


def unknown(key_id: str) -> UnknownDataKey:
    """What to say where a data key is missing."""
    return UnknownDataKey(
        f"Some stored data are encrypted under a key ({key_id}) that the server's keyring does not have. "
        "Nothing was changed.",
        "If the master key was changed (mahtai keys rotate --new-key-file), start the server again with the new one. "
        "Otherwise `mahtai doctor` says whether keyring.json was lost, and brings it back from a backup.",
    )


def not_set(what: str) -> KeyNotSet:
    """What to say where there is no key at all."""
    return KeyNotSet(
        f"{what} encrypted, and the server was given no key. Nothing was changed.",
        "Set MAHTAI_KEY_FILE, MAHTAI_KEY or MAHTAI_KEY_COMMAND as the server has it; every command needs it, too.",
    )
