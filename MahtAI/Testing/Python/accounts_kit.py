"""A real server on which people sign in, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyotp
from kit.event_loop import spin

from MahtAILib.client.connection import Connection
from MahtAILib.client.sign_in import SignedIn, begin_codes, finish_codes, sign_in
from server_process import ServerProcess
from tls_kit import TlsServerProcess

PASSWORD = "the ward opens at seven"  # noqa: S105
ANNA, BORIS, VERA = "Anna Ärztin", "Boris", "Vera Viewer"


def hospital_server(root: Path, models: tuple[Path, ...] = (), **environment: str) -> ServerProcess:
    """A server with accounts that has not been started yet."""
    return ServerProcess(root, models, {"accounts": "on", **environment})


def add_user(server: ServerProcess, name: str, role: str = "radiologist") -> None:
    """``mahtai users add``, as whoever looks after the server does it."""
    users(server, "add", name, "--role", role, "--password-stdin", given=f"{PASSWORD}\n")


def users(server: ServerProcess, *arguments: str, given: str = "") -> str:
    """``mahtai users …``; returns what it says."""
    return command(server, "users", *arguments, given=given)


def command(server: ServerProcess, *arguments: str, given: str = "") -> str:
    """``mahtai …`` with the server's settings; returns what it says."""
    done = subprocess.run(
        [sys.executable, "-c", "from mahtai.cli import main; main()", *arguments],
        env=server.variables(),
        input=given,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def signed_in(server: ServerProcess, name: str, code: str = "") -> tuple[Connection, SignedIn]:
    """Somebody at another computer."""
    connection = Connection(server.url, backoff_s=0.01)
    return connection, sign_in(connection, name, PASSWORD, code)


def set_up_codes(connection: Connection) -> tuple[pyotp.TOTP, tuple[str, ...]]:
    """An authenticator app for whoever is signed in, and their recovery codes."""
    secret = begin_codes(connection, PASSWORD)
    app = pyotp.TOTP(secret.secret)
    return app, finish_codes(connection, secret.secret, app.now())


class AtTheDoor:
    """A reader at the part of section Server with which one signs in."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    @property
    def ui(self) -> Any:
        return self.reader.panel.server_section.sign_in.ui

    @property
    def state(self) -> Any:
        return self.reader.panel.sign_in

    def shown(self, name: str) -> bool:
        """Whether a widget can be seen by a reader who has the section open."""
        widget = getattr(self.ui, name)
        while widget is not None and widget is not self.reader.panel.server_section.widget:
            if widget.isHidden():
                return False
            widget = widget.parentWidget()
        return True

    def type(self, name: str, password: str = PASSWORD, code: str = "") -> None:
        """Fill in what is asked for, and press Sign in."""
        self.ui.userLineEdit.text = name
        self.ui.passwordLineEdit.text = password
        self.ui.codeLineEdit.text = code
        self.ui.signInButton.click()
        self.wait()

    def sign_out(self) -> None:
        """Press Sign out."""
        self.ui.signOutButton.click()
        self.wait()

    def wait(self) -> None:
        """Until nothing is awaited."""
        panel = self.reader.panel
        spin(lambda: not panel.sign_in.is_busy and not panel.background.is_busy, 60, "the panel to be at rest")

    def said(self) -> str:
        """What the part says; empty if it says nothing."""
        label = self.ui.signInStateLabel
        return "" if label.isHidden() else str(label.text)


class EncryptedServer(TlsServerProcess):
    """A server with accounts and a certificate of its own authority, as ``mahtai tls init`` makes them."""

    def set_up(self) -> str:
        """Make authority and certificate; returns the fingerprint that ``mahtai tls show`` prints."""
        self.make_certificate("--name", "127.0.0.1")
        lines = command(self, "tls", "show").splitlines()
        return next(line.split()[-1] for line in lines if line.startswith("Fingerprint:"))
