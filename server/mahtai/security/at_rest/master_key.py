"""The master key: 32 bytes from a file, a variable, or a command; it encrypts the data keys and nothing else.

A command is the way to a hardware module or a key service: whatever it prints on its standard output is the key.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mahtai.errors import MahtaiError
from mahtai.security.at_rest.envelope import KEY_BYTES
from mahtai.settings import Settings
from mahtai.volumes.durable import write_new

COMMAND_LIMIT_S = 20.0

KEY_VARIABLES = ("MAHTAI_KEY_FILE", "MAHTAI_KEY", "MAHTAI_KEY_COMMAND")

_FEWEST_DIFFERENT_BYTES = 12
"""Of 32 random bytes: fewer come once in 10³⁰ keys, and always where somebody has made a key up."""

_HEX_DIGITS = 2 * KEY_BYTES


class MasterKeyError(MahtaiError):
    """The master key cannot be had, or is none."""

    kind = "master-key"
    title = "The master key cannot be used"
    status = 500


@dataclass(frozen=True)
class MasterKey:
    """A master key.

    Attributes:
        secret: 32 bytes.
        source: where it is from, for the reader.
    """

    secret: bytes = field(repr=False)
    source: str

    @property
    def fingerprint(self) -> str:
        """Tells keys apart and tells nothing of the key: 16 hexadecimal digits."""
        return self.derive("fingerprint")[:8].hex()

    def derive(self, purpose: str) -> bytes:
        """A key of its own for one purpose, 32 bytes."""
        return HKDF(SHA256(), KEY_BYTES, None, f"mahtai master key {purpose}".encode()).derive(self.secret)


def read_master_key(settings: Settings) -> MasterKey | None:
    """The master key that the settings name; None where they name none.

    Raises:
        MasterKeyError: they name several, or the one cannot be had.
    """
    named = dict(zip(KEY_VARIABLES, (settings.key_file, settings.key, settings.key_command), strict=True))
    given = [name for name, value in named.items() if value is not None]
    if len(given) > 1:
        raise MasterKeyError(f"The master key is given {len(given)} times: {', '.join(given)}.", "Keep one of them.")
    if settings.key_file is not None:
        return key_from_file(settings.key_file)
    if settings.key is not None:
        return MasterKey(_parsed(settings.key.encode(), "MAHTAI_KEY"), "MAHTAI_KEY")
    return None if settings.key_command is None else key_from_command(settings.key_command)


def key_from_file(path: Path, named_by: str = "MAHTAI_KEY_FILE") -> MasterKey:
    """Read a key file: 32 bytes as hexadecimal digits, as Base64, or as they are.

    Args:
        named_by: the variable or option that named it, for the words.

    Raises:
        MasterKeyError: it cannot be read, others may read it, or it holds no key.
    """
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read(4096)
    except OSError as error:
        raise MasterKeyError(
            f"The key file {path} cannot be read ({error.strerror}).",
            f"Check {named_by}, and that the user of this command or server owns the file.",
        ) from error
    if os.name == "posix" and mode & 0o077:
        raise MasterKeyError(
            f"Others than its owner may use the key file {path} (mode {mode & 0o777:03o}).",
            f"chmod 600 {path}. A secret that is handed over with other rights is read with "
            "MAHTAI_KEY_COMMAND='cat PATH'.",
        )
    return MasterKey(_parsed(content, f"The key file {path}"), str(path))


def key_from_command(command: str) -> MasterKey:
    """Run a command, without a shell, and take its standard output.

    Raises:
        MasterKeyError: it cannot be run, fails, takes longer than ``COMMAND_LIMIT_S``, or prints no key.
    """
    hint = "Run MAHTAI_KEY_COMMAND by hand as the server's user; it must print the key and end with status 0."
    try:
        words = shlex.split(command, posix=os.name == "posix")
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError) as error:
        said = getattr(error, "strerror", None) or "it is empty or its quotes do not match"
        raise MasterKeyError(f"The command for the master key cannot be run ({said}).", hint) from error
    try:
        output, errors = process.communicate(timeout=COMMAND_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        _end(process)
        raise MasterKeyError(
            f"The command for the master key did not end within {COMMAND_LIMIT_S:.0f} s.", hint
        ) from error
    if process.returncode:
        told = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it says nothing"]
        raise MasterKeyError(
            f"The command for the master key failed with status {process.returncode}: {told[0][:200]}", hint
        )
    return MasterKey(_parsed(output, "The command's output"), "MAHTAI_KEY_COMMAND")


def new_key_file(path: Path) -> MasterKey:
    """Make a master key and write it into a new file that only its owner can read.

    Raises:
        MasterKeyError: the file is there already, or cannot be written.
    """
    key = secrets.token_bytes(KEY_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_new(path, base64.b64encode(key) + b"\n")
    except FileExistsError as error:
        raise MasterKeyError(f"{path} is there already; it was not touched.", "Name a new file.") from error
    except OSError as error:
        raise MasterKeyError(f"{path} cannot be written ({error.strerror}).", "Name another file.") from error
    return MasterKey(key, str(path))


def _parsed(content: bytes, what: str) -> bytes:
    key = _decoded(content)
    if key is None:
        raise MasterKeyError(
            f"{what} holds no key: 32 bytes are wanted, as 64 hexadecimal digits or 44 characters of Base64.",
            "Make one with: mahtai keys new FILE",
        )
    if len(set(key)) < _FEWEST_DIFFERENT_BYTES:
        raise MasterKeyError(f"{what} holds a key that is not random.", "Make one with: mahtai keys new FILE")
    return key


def _decoded(content: bytes) -> bytes | None:
    text = content.strip()
    with suppress(binascii.Error, ValueError):
        if len(text) == _HEX_DIGITS:
            return binascii.unhexlify(text)
    with suppress(binascii.Error, ValueError):
        key = base64.b64decode(text, validate=True)
        if len(key) == KEY_BYTES:
            return key
    # as they are; but 32 letters are a word that somebody has made up
    is_word = all(32 <= byte < 127 for byte in content)
    return content if len(content) == KEY_BYTES and not is_word else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command and what it has started, which would hold its pipes open."""
    if sys.platform != "win32":
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=1.0)
