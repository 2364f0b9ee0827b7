"""Encrypts what a sealed column holds: AES-256-GCM, a random nonce a value, bound to its table and column."""

from __future__ import annotations

import base64
import binascii
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mahtai.db.sealed import PREFIX
from mahtai.security.at_rest.envelope import KEY_BYTES, SealBroken
from mahtai.security.at_rest.keys import Keys

_NONCE_BYTES = 12


class Columns:
    """The cipher of a database, see ``db.sealed``.

    A value is ``sealed:KEY_ID:Base64(nonce · encrypted text · tag)``; the column's key is derived from the data key, so
    that files and columns never share one.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def seal(self, text: str, place: str) -> str:
        """Encrypt."""
        key_id, key = self._keys.current()
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + _cipher(key).encrypt(nonce, text.encode("utf-8", "surrogatepass"), _bound(key_id, place))
        return f"{PREFIX}{key_id}:{base64.b64encode(sealed).decode()}"

    def unseal(self, sealed: str, place: str) -> str:
        """Decrypt.

        Raises:
            SealBroken: the value was changed, or is another column's.
            UnknownDataKey: its key is not at hand.
        """
        key_id, _, encoded = sealed.removeprefix(PREFIX).partition(":")
        try:
            raw = base64.b64decode(encoded, validate=True)
            cipher = _cipher(self._keys.key(key_id))
            text = cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound(key_id, place))
            return text.decode("utf-8", "surrogatepass")
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise SealBroken(
                "A value that the server had encrypted was changed, or belongs elsewhere. It is not used.",
                "Run `mahtai doctor` on the server, and restore the database from a backup.",
            ) from error


def is_under(sealed: str, key_id: str) -> bool:
    """Whether a column's raw value is encrypted under this data key."""
    return sealed.startswith(f"{PREFIX}{key_id}:")


@lru_cache(maxsize=64)
def _cipher(key: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, None, b"mahtai columns 1").derive(key))


def _bound(key_id: str, place: str) -> bytes:
    return f"{key_id} {place}".encode()
