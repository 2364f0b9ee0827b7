"""The system's own place for secrets: that of the desktop on Linux, the keychain of macOS, DPAPI of Windows.

A secret never stands on a command line, where every user of the computer could read it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from MahtAILib.client.dpapi import DpapiKeyring

SERVICE = "MahtAI"
SWITCH = "MAHTAI_KEYRING"
"""Environment variable; ``off`` keeps secrets in a file instead."""

_TIMEOUT_S = 60.0
"""A locked keyring asks its owner for a password."""

_Run = Callable[[list[str], str], "subprocess.CompletedProcess[str]"]


class KeyringError(Exception):
    """The keyring is locked, not there, or does not do what it should."""


class Keyring(Protocol):
    """Secrets by the address of a server."""

    def get(self, name: str) -> str:
        """The secret; empty where there is none.

        Raises:
            KeyringError: it cannot be asked.
        """

    def set(self, name: str, secret: str) -> None:
        """Keep a secret in place of the last one of this name.

        Raises:
            KeyringError: it was not kept.
        """

    def delete(self, name: str) -> None:
        """Forget a secret.

        Raises:
            KeyringError: it cannot be asked.
        """


class SecretTool:
    """The Secret Service of the desktop (GNOME Keyring, KWallet), through ``secret-tool`` of libsecret."""

    def __init__(self, program: str, run: _Run) -> None:
        self._program, self._run = program, run

    def get(self, name: str) -> str:
        """It ends with 1 both where there is no such secret and where there is no keyring."""
        done = self._run([self._program, "lookup", "service", SERVICE, "server", name], "")
        if done.returncode and done.stderr.strip():
            raise KeyringError(done.stderr.strip())
        return done.stdout.strip()

    def set(self, name: str, secret: str) -> None:
        """The secret goes through standard input."""
        arguments = ["store", f"--label=MahtAI, {name}", "service", SERVICE, "server", name]
        _require(self._run([self._program, *arguments], secret))

    def delete(self, name: str) -> None:
        """Nothing happens where there is none."""
        self._run([self._program, "clear", "service", SERVICE, "server", name], "")


class MacKeychain:
    """The user's keychain, through ``security``."""

    def __init__(self, program: str, run: _Run) -> None:
        self._program, self._run = program, run

    def get(self, name: str) -> str:
        """It ends with 44 where there is no such secret."""
        done = self._run([self._program, "find-generic-password", "-s", SERVICE, "-a", name, "-w"], "")
        if done.returncode not in (0, 44):
            raise KeyringError(done.stderr.strip())
        return "" if done.returncode else done.stdout.strip()

    def set(self, name: str, secret: str) -> None:
        """The whole command goes through standard input (``security -i``), so that no argument holds the secret."""
        if any(character in text for text in (name, secret) for character in "\"'\\\n"):
            raise KeyringError("it holds characters that the keychain's program would take for something else")
        _require(
            self._run([self._program, "-i"], f'add-generic-password -U -s "{SERVICE}" -a "{name}" -w "{secret}"\n')
        )

    def delete(self, name: str) -> None:
        """Nothing happens where there is none."""
        self._run([self._program, "delete-generic-password", "-s", SERVICE, "-a", name], "")


def find_keyring(folder: Path, environment: Mapping[str, str] | None = None) -> Keyring | None:
    """The keyring of this system; None where it has none or its user wants none.

    Args:
        folder: for what Windows encrypts for this user.
        environment: in which programs of the system run.
    """
    variables = dict(os.environ if environment is None else environment)
    if variables.get(SWITCH, "").lower() == "off":
        return None
    if sys.platform == "win32":
        return DpapiKeyring(folder / "server-tokens.dpapi")
    name = "security" if sys.platform == "darwin" else "secret-tool"
    program = shutil.which(name, path=variables.get("PATH"))
    if program is None:
        return None
    # libraries of Slicer in front of the system's own would be the wrong ones for a program of the system
    foreign = ("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH")
    clean = {key: value for key, value in variables.items() if key not in foreign}

    def run(command: list[str], given: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                input=given,
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=_TIMEOUT_S,
                env=clean,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired, UnicodeError) as error:
            raise KeyringError(type(error).__name__) from error  # its words may hold what was given

    return MacKeychain(program, run) if sys.platform == "darwin" else SecretTool(program, run)


def _require(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise KeyringError(done.stderr.strip())
