"""Secrets that the server makes for itself, in files that only its user can read, encrypted where there is a key."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from mahtai.errors import MahtaiError
from mahtai.security.at_rest.envelope import is_sealed, seal_bytes, sealed_key_id, unseal_bytes
from mahtai.security.at_rest.keys import Keys, not_set
from mahtai.volumes.durable import PARTIAL, create_once, write_whole

SECRET_BYTES = 32


class SecretDamaged(MahtaiError):
    """A secret's file is too short to be one."""

    kind = "secret-damaged"
    title = "A secret cannot be used"
    status = 500


def load_or_create(path: Path, keys: Keys | None, make: Callable[[], bytes] | None = None) -> bytes:
    """The content of a secret's file, which is made by whoever comes first and never changes. Where there is a key, a
    plain file is encrypted in passing.

    Args:
        keys: of the server; None where it has none.
        make: gives a new secret; 32 random bytes by default.

    Raises:
        KeyNotSet, SealBroken, UnknownDataKey, SecretDamaged: it cannot be used.
        StorageFull: it could not be made.
    """
    if not path.exists():
        secret = secrets.token_bytes(SECRET_BYTES) if make is None else make()
        create_once(path, secret if keys is None else _sealed(path, secret, keys))
    content = read_secret(path, keys)
    if keys is not None and sealed_key_id(path) is None:
        write_whole(path, _sealed(path, content, keys))
    return content


def read_secret(path: Path, keys: Keys | None) -> bytes:
    """The content of a secret's file, which is there; nothing is changed.

    Raises:
        OSError: it is not there, or may not be read.
        KeyNotSet, SealBroken, UnknownDataKey, SecretDamaged: it cannot be used.
    """
    content = path.read_bytes()
    if is_sealed(content):
        if keys is None:
            raise not_set(f"{path.name} is")
        return unseal_bytes(content, keys.key, _place(path))
    if len(content) < SECRET_BYTES:
        raise SecretDamaged(
            f"{path} does not hold the {SECRET_BYTES} bytes of a secret any more.",
            "Bring it back from a backup. If it is sessions.key, it may be deleted: everybody then signs in again.",
        )
    return content


def secret_files(folder: Path) -> list[Path]:
    """Files of secrets in a folder, without what a killed process has left."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if path.is_file() and path.suffix != PARTIAL]


def replace_secret(path: Path, secret: bytes, keys: Keys | None) -> None:
    """Put another secret in the place of one; whoever looks sees the old one or the new one."""
    write_whole(path, secret if keys is None else _sealed(path, secret, keys))


def reseal(path: Path, keys: Keys) -> None:
    """Encrypt a secret's file under the current data key.

    Raises:
        SealBroken, UnknownDataKey: it is encrypted and cannot be read; it stays as it is.
    """
    write_whole(path, _sealed(path, load_or_create(path, keys), keys))


def _sealed(path: Path, content: bytes, keys: Keys) -> bytes:
    key_id, key = keys.current()
    return seal_bytes(content, key, key_id, _place(path))


def _place(path: Path) -> str:
    return f"secret/{path.name}"
