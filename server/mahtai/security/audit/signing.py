"""The key that signs how far the record went (Ed25519, RFC 8032), and the keys by which that is checked.

The private key lies beside the data, for the server only, encrypted where there is a key; the public ones lie in the
settings folder. One that was replaced stays there, so that what it signed can still be checked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mahtai.errors import MahtaiError
from mahtai.security.at_rest.file_lock import changing
from mahtai.security.at_rest.keys import Keys
from mahtai.security.at_rest.secret_file import load_or_create, read_secret
from mahtai.volumes.durable import full_disk_named, write_whole

PRIVATE_FILE = "audit-signing.pem"
PUBLIC_FILE = "audit-public.pem"

BRING_BACK = "mahtai doctor --repair --from BACKUP. If no backup has it: mahtai doctor --repair --new-secrets"
"""What to do where a secret is gone."""

_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----\s*", re.DOTALL)


class SigningKeyBroken(MahtaiError):
    """A key file cannot be used."""

    kind = "audit-key"
    title = "The key of the record cannot be used"
    status = 500


class SigningKey:
    """Signs; ``fingerprint`` names it, ``seal_key`` (32 bytes) is derived from it for the seals of entries."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key()
        self.fingerprint = fingerprint(self.public)
        self.seal_key = HKDF(hashes.SHA256(), 32, None, b"mahtai audit seal").derive(private.private_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._private.sign(message)


def open_signing_key(secrets_dir: Path, config_dir: Path, keys: Keys | None, has_record: bool = False) -> SigningKey:
    """The server's key, made by whoever comes first; its public half is added to those in the settings folder.

    Args:
        keys: of data at rest; None where there are none.
        has_record: whether there are entries, so that there was a key, and none is made in the place of a lost one.

    Raises:
        SigningKeyBroken: the file holds no such key, or cannot be read, or is gone.
        StorageFull: there is no room to make it.
    """
    path = secrets_dir / PRIVATE_FILE
    if has_record and not path.exists():
        raise SigningKeyBroken(
            f"{path} is gone, by which the entries of the record are sealed. Nothing was changed.", BRING_BACK
        )
    try:
        with full_disk_named():
            key = _parsed(path, load_or_create(path, keys, _new_pem))
    except OSError as error:
        raise _broken(path) from error
    try:
        with full_disk_named():
            _publish(key, config_dir / PUBLIC_FILE)
    except OSError as error:
        raise _unpublished(config_dir / PUBLIC_FILE, error) from error
    return key


def existing_signing_key(secrets_dir: Path, keys: Keys | None) -> SigningKey | None:
    """The server's key, or None where there is none or it may not be read: as for somebody who only checks.

    Raises:
        SigningKeyBroken: the file holds no such key.
    """
    path = secrets_dir / PRIVATE_FILE
    try:
        return _parsed(path, read_secret(path, keys))
    except OSError:
        return None


def public_keys(config_dir: Path) -> Mapping[str, Ed25519PublicKey]:
    """Fingerprint → key, of all that this settings folder trusts.

    Raises:
        SigningKeyBroken: the file holds something else.
    """
    path = config_dir / PUBLIC_FILE
    try:
        found = [serialization.load_pem_public_key(pem) for pem in _PEM.findall(path.read_bytes())]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _broken(path) from error
    return {fingerprint(key): key for key in found if isinstance(key, Ed25519PublicKey)}


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the raw public key, hexadecimal."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def is_signed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether the signature is that of the message."""
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _new_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _parsed(path: Path, pem: bytes) -> SigningKey:
    try:
        private = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise _broken(path) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise _broken(path)
    return SigningKey(private)


def _publish(key: SigningKey, path: Path) -> None:
    if key.fingerprint in public_keys(path.parent):
        return
    pem = key.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with changing(path):  # servers of several data folders may share these settings
        if key.fingerprint not in public_keys(path.parent):
            write_whole(path, (path.read_bytes() if path.exists() else b"") + pem)


def _unpublished(path: Path, error: OSError) -> SigningKeyBroken:
    return SigningKeyBroken(
        f"The public key of the record cannot be written to {path} ({error.strerror or error}).",
        "See that the settings folder can be written. The record itself was not touched.",
    )


def _broken(path: Path) -> SigningKeyBroken:
    return SigningKeyBroken(
        f"The key file {path.name} of the record cannot be used.",
        f"Restore {path} from a backup. The record itself was not touched.",
    )
