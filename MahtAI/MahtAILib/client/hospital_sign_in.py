"""Signing in with the hospital's own sign-in, in the browser (RFC 8252, PKCE of RFC 7636).

The browser is sent to the server, from there to the hospital, and comes back to this computer with a code that is of
use to this program only, and once. The password is typed in the browser and never seen here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import CancelledError, SignInError
from MahtAILib.client.login import NO_LOGIN
from MahtAILib.client.sign_in import SignedIn, begin_session, require_encryption

PATIENCE_S = 120.0

_LONGEST_LINE = 2048


class HospitalSignIn:
    """One attempt: listens on this computer until the browser comes back.

    Attributes:
        address: that the browser is to open.

    Usage::

        with HospitalSignIn(connection) as attempt:
            open_browser(attempt.address)
            attempt.finish(cancelled)

    Raises:
        NotEncryptedError: the server is on another computer, and not reached by TLS.
    """

    def __init__(self, connection: Connection) -> None:
        require_encryption(connection.url)
        self._connection = connection
        self._verifier = secrets.token_urlsafe(48)
        self._state = secrets.token_urlsafe(24)
        self._came = threading.Event()
        self._code = ""
        self._server = _Listener(self._answer)
        digest = hashlib.sha256(self._verifier.encode("ascii")).digest()
        query = {
            "redirect": f"http://127.0.0.1:{self._server.server_address[1]}/",
            "challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii"),
            "state": self._state,
        }
        self.address = f"{connection.url}/v1/sign-in/hospital?{urlencode(query)}"

    def __enter__(self) -> HospitalSignIn:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def finish(self, cancelled: threading.Event, patience_s: float = PATIENCE_S) -> SignedIn:
        """Wait for the browser and begin a session; from then on the connection acts for the account.

        Raises:
            CancelledError: ``cancelled`` was set.
            SignInError: nobody came back in time, or the hospital let nobody in.
            ClientError: the server did not take the code.
        """
        left_s = patience_s
        while not self._came.wait(0.1):
            if cancelled.is_set():
                raise CancelledError
            left_s -= 0.1
            if left_s <= 0:
                raise SignInError(
                    f"Nobody came back from the hospital's sign-in within {patience_s:.0f} seconds.",
                    "Press “Sign in at the hospital” again, and sign in in the browser.",
                )
        if not self._code:
            raise SignInError("The hospital's sign-in was not finished.", "Try again, or ask IT for the permission.")
        body = {"code": self._code, "verifier": self._verifier}
        document = self._connection.json("POST", "/v1/sign-in/hospital", body, login=NO_LOGIN)
        return begin_session(self._connection, document)

    def _answer(self, path: str) -> tuple[int, str]:
        """Status and words for what a browser asks for; what does not know our state is nobody that we wait for."""
        parts = urlsplit(path)
        given = parse_qs(parts.query)
        state = given.get("state", [""])[0]
        if parts.path != "/" or not hmac.compare_digest(state.encode(), self._state.encode()) or self._came.is_set():
            return 404, "There is nothing here."
        self._code = given.get("code", [""])[0]
        self._came.set()
        if not self._code:
            return 200, "You are not signed in. Go back to 3D Slicer; this page can be closed."
        return 200, "That was all here. Go back to 3D Slicer; this page can be closed."


class _Listener(ThreadingHTTPServer):
    """Listens on a free port of this computer."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Any) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5.0

            def do_GET(self) -> None:  # noqa: N802
                status, words = (404, "There is nothing here.") if len(self.path) > _LONGEST_LINE else answer(self.path)
                page = f"<!doctype html><html lang=en><meta charset=utf-8><title>MahtAI</title><p>{escape(words)}</p>"
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page.encode())))
                self.send_header("Cache-Control", "no-store")
                self.send_header("Content-Security-Policy", "default-src 'none'")
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, *_arguments: object) -> None:
                """What browsers ask for may hold a code."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True, name="MahtAI sign-in").start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no news."""
