"""The keyring on the disk: data keys, each encrypted under the master key, in one file that changes as a whole."""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mahtai.errors import MahtaiError
from mahtai.security.at_rest.envelope import KEY_BYTES
from mahtai.security.at_rest.master_key import MasterKey

FORMAT = "mahtai keyring 1"


class WrongKey(MahtaiError):
    """The master key is not the one of this data folder."""

    kind = "wrong-key"
    title = "The master key is another one"
    status = 500


class KeyringDamaged(MahtaiError):
    """The keyring cannot be read or was changed."""

    kind = "keyring-damaged"
    title = "The keyring is damaged"
    status = 500


@dataclass(frozen=True)
class DataKey:
    """A key that data are encrypted with.

    Attributes:
        made_at: UTC, ISO 8601.
    """

    id: str
    made_at: str
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> DataKey:
        """A random one."""
        made_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(secrets.token_hex(8), made_at, secrets.token_bytes(KEY_BYTES))


@dataclass(frozen=True)
class KeyringContent:
    """What the file holds, decrypted.

    Attributes:
        current: id of the data key that everything new gets.
        keys: all data keys by id, the oldest first; those that nothing uses any more stay, for what comes from backups.
    """

    current: str
    keys: Mapping[str, DataKey]

    @classmethod
    def new(cls) -> KeyringContent:
        """With one random data key."""
        key = DataKey.new()
        return cls(key.id, {key.id: key})

    def with_new_key(self) -> KeyringContent:
        """With one more data key, which is the current one."""
        key = DataKey.new()
        return KeyringContent(key.id, {**self.keys, key.id: key})

    def encode(self, master: MasterKey) -> bytes:
        """The file, under a master key."""
        content = {
            "format": FORMAT,
            "master": master.fingerprint,
            "current": self.current,
            "keys": [
                {"id": key.id, "made_at": key.made_at, "wrapped": _wrap(key, master)} for key in self.keys.values()
            ],
        }
        return json.dumps({**content, "mac": _mac(content, master)}, indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, raw: bytes, master: MasterKey) -> KeyringContent:
        """From the file.

        Raises:
            WrongKey: it is under another master key.
            KeyringDamaged: it was changed.
        """
        content = _parsed(raw)
        if content["master"] != master.fingerprint:
            raise WrongKey(
                f"The key from {master.source} (fingerprint {master.fingerprint}) is not the one that this data folder "
                f"is encrypted with ({content['master']}). Nothing was read or changed.",
                "Give it the key that is in use: after `mahtai keys rotate --new-key-file` the new one, otherwise the "
                "one that it had before; see MAHTAI_KEY_FILE, MAHTAI_KEY, MAHTAI_KEY_COMMAND.",
            )
        mac = content.pop("mac")
        if not hmac.compare_digest(str(mac).encode(), _mac(content, master).encode()):
            raise damaged("was changed by something else than this program")
        try:
            keys = [
                DataKey(entry["id"], entry["made_at"], _unwrap(entry["id"], entry["wrapped"], master))
                for entry in content["keys"]
            ]
            found = cls(content["current"], {key.id: key for key in keys})
        except (InvalidTag, KeyError, TypeError, ValueError) as error:
            raise damaged("holds a key that cannot be decrypted") from error
        if found.current not in found.keys:
            raise damaged("lacks its current key")
        return found


def master_of(raw: bytes) -> str:
    """Fingerprint of the master key that a keyring file is under.

    Raises:
        KeyringDamaged: it is no keyring.
    """
    return str(_parsed(raw)["master"])


def key_ids(raw: bytes) -> set[str]:
    """Ids of the data keys of a keyring file.

    Raises:
        KeyringDamaged: it is no keyring.
    """
    return {str(entry["id"]) for entry in _parsed(raw)["keys"]}


def damaged(what: str) -> KeyringDamaged:
    """What to say of a keyring that cannot be used."""
    return KeyringDamaged(
        f"The keyring of the data folder {what}. Nothing was changed; without it nothing there can be decrypted.",
        "Restore keyring.json from a backup (mahtai restore).",
    )


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        content = json.loads(raw)
        known = content["format"] == FORMAT and {"master", "current", "keys", "mac"} <= set(content)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise damaged("cannot be read") from error
    if not known:
        raise damaged("is of a form that is not known here")
    return dict(content)


def _wrap(key: DataKey, master: MasterKey) -> str:
    nonce = os.urandom(12)
    return base64.b64encode(nonce + _wrapping(master).encrypt(nonce, key.secret, key.id.encode())).decode()


def _unwrap(key_id: str, wrapped: str, master: MasterKey) -> bytes:
    raw = base64.b64decode(wrapped, validate=True)
    return _wrapping(master).decrypt(raw[:12], raw[12:], key_id.encode())


def _wrapping(master: MasterKey) -> AESGCM:
    return AESGCM(master.derive("wrapping"))


def _mac(content: Mapping[str, Any], master: MasterKey) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return hmac.new(master.derive("keyring"), canonical, sha256).hexdigest()
