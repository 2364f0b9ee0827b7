"""Signing in and out of a server with accounts. What is typed goes to the server and is not kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import qt
from slicer.i18n import tr as _

from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import ClientError, CodeWantedError, WrongCodeError
from MahtAILib.client.hospital_sign_in import HospitalSignIn
from MahtAILib.client.session import Session
from MahtAILib.client.sign_in import CodeSecret, begin_codes, finish_codes, own_account, sign_in, sign_out
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand, was_cancelled
from MahtAILib.panel.server_asking import Answer, SignInWanted
from MahtAILib.panel.server_state import ServerState
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.topics import Topic

_LOOK_EVERY_MS = 60_000

Step = Callable[[Connection], None]


class SignInState:
    """Who is signed in.

    Attributes:
        is_busy: an answer is awaited.
        is_in_browser: that of the hospital's sign-in, which may take the reader a while.
        wants_code: the password was right, and a code is wanted besides.
        codes: to be set up in an authenticator app before anything else; None otherwise.
        recovery: codes that let in once each without the app; shown until the reader has written them down.
        message: what became of the last thing asked for.
        error: why it failed, or None.

    ``before_leaving`` is set by whoever has unsaved work: called before signing out, it keeps that work, calls its
    argument once it is safe, and gives back what is to be done in a thread before the session ends.
    """

    def __init__(self, background: Background, server: ServerState, settings: Settings) -> None:
        self.changed = Topic()
        self.is_in_browser = False
        self.wants_code = False
        self.codes: CodeSecret | None = None
        self.recovery: tuple[str, ...] = ()
        self.message = ""
        self.error: ExplainedError | None = None
        self.before_leaving: Callable[[Callable[[Step], None]], None] = lambda then: then(_nothing)
        self._background = background
        self._server = server
        self._settings = settings
        self._enrolling: Connection | None = None
        self._has_password = False
        self._errand: Errand[Any] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_LOOK_EVERY_MS)
        self._timer.timeout.connect(self.look)
        server.changed.subscribe(self._server_changed)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._errand is not None

    @property
    def may_set_up_codes(self) -> bool:
        """Whether whoever is signed in wants no codes yet, and is here with a password."""
        connection, account = self._server.connection, self._server.account
        return self._has_password and connection is not None and account is not None and not account.has_codes

    def sign_in(self, name: str, password: str, code: str) -> None:
        """Sign in to the server that wants it."""
        wanted = self._server.wanted
        if wanted is None or self.is_busy:
            return
        asking = self._server.asking

        def work(_errand: Errand[Any]) -> Answer | tuple[Connection, CodeSecret]:
            connection = asking.connection(wanted.url)
            if sign_in(connection, name, password, code).must_enrol:
                return connection, begin_codes(connection, password)
            return asking.look(connection)

        def done(found: Answer | tuple[Connection, CodeSecret]) -> None:
            self._has_password = True
            if isinstance(found, Answer):
                self._enter(found)
            else:
                self._enrolling, self.codes = found
                self.wants_code = False

        def failed(error: ExplainedError) -> None:
            self.wants_code = isinstance(error, CodeWantedError | WrongCodeError)
            if isinstance(error, CodeWantedError):
                self.message = _("Type the code that your authenticator app shows now, or a recovery code.")
            else:
                self.error = error

        self._run(work, done, failed)

    def sign_in_at_hospital(self) -> None:
        """Sign in with the hospital's own sign-in, in the browser."""
        wanted = self._server.wanted
        if wanted is None or self.is_busy:
            return
        asking = self._server.asking

        def work(errand: Errand[Any]) -> Answer:
            connection = asking.connection(wanted.url)
            connection.require_mahtai()
            with HospitalSignIn(connection) as attempt:
                errand.preview(attempt.address)
                attempt.finish(errand.cancelled)
            return asking.look(connection)

        self.is_in_browser, self._has_password = True, False

        def opened(address: str) -> None:
            if not qt.QDesktopServices.openUrl(qt.QUrl(address)):
                self.message = _("The browser could not be opened. Open this address in it: {address}").format(
                    address=address
                )
                self.changed.publish()

        self._run(work, self._enter, self._note, opened)
        self.message = _("Sign in in the browser that opens; the panel goes on by itself after that.")
        self.changed.publish()

    def cancel(self) -> None:
        """Do not wait for the browser."""
        if self._errand is not None:
            self._errand.cancel()

    def begin_codes(self, password: str) -> None:
        """Set up codes without having to; the password shows that it is still the same person."""
        connection = self._server.connection
        if connection is None or self.is_busy:
            return

        def done(codes: CodeSecret) -> None:
            self._enrolling, self.codes = connection, codes

        self._run(lambda _errand: begin_codes(connection, password), done, self._note)

    def give_up_codes(self) -> None:
        """Not now; nothing was changed on the server."""
        self._enrolling, self.codes = None, None
        self.changed.publish()

    def finish_codes(self, code: str) -> None:
        """The authenticator app is set up, and shows this code."""
        connection, codes = self._enrolling, self.codes
        if connection is None or codes is None or self.is_busy:
            return
        asking = self._server.asking

        def work(_errand: Errand[Any]) -> tuple[tuple[str, ...], Answer]:
            return finish_codes(connection, codes.secret, code), asking.look(connection)

        def done(found: tuple[tuple[str, ...], Answer]) -> None:
            self.recovery, answer = found
            self._enter(answer)

        self._run(work, done, self._note)

    def recovery_written_down(self) -> None:
        """The reader has the recovery codes on paper: they are shown no more."""
        self.recovery = ()
        self.changed.publish()

    def sign_out(self) -> None:
        """Keep what is not saved, then end the session; a token that was typed is forgotten."""
        if self._server.connection is not None and not self.is_busy:
            self.before_leaving(self._leave)

    def look(self) -> None:
        """Ask whether the session still lasts, which does not count as work, and what the account may do now."""
        connection = self._server.connection
        if connection is None or connection.account is None or self.is_busy:
            return

        def done(account: Any) -> None:
            if account is not None and self._server.connection is connection and account != self._server.account:
                self._server.account = account
                self._server.changed.publish()

        # that the session has ended is seen by the server's state
        self._background.run(lambda _errand: own_account(connection), done, lambda _error: None)

    def stop(self) -> None:
        """The panel goes away; the session ends on the server by itself."""
        self._timer.stop()
        self.cancel()

    def _leave(self, last: Step) -> None:
        connection = self._server.connection
        if connection is None:
            return
        url, version, ways = connection.url, self._server.version, self._server.ways

        def work(_errand: Errand[Any]) -> None:
            with suppress(ClientError):
                last(connection)
            if isinstance(connection.login, Session):
                with suppress(ClientError):  # not heard: the session ends by itself after a while
                    sign_out(connection)
            else:
                self._settings.remember_token(url, "")

        def done(_nothing: Any) -> None:
            self.message = _("You are signed out. What you see stays open until you close the scene.")
            self._has_password = False
            self._server.forget_account()
            self._server.left(SignInWanted(url, version, ways))

        self._run(work, done, self._note)

    def _enter(self, answer: Answer) -> None:
        self.wants_code, self.codes, self._enrolling = False, None, None
        if answer.account is not None:
            self._settings.set_text("Account", answer.account.name)
        self._server.entered(answer)

    def _note(self, error: ExplainedError) -> None:
        if was_cancelled(error):
            self.message = _("Cancelled. Nobody is signed in.")
        else:
            self.error = error

    def _run(
        self,
        work: Callable[[Errand[Any]], Any],
        done: Callable[[Any], None],
        failed: Callable[[ExplainedError], None],
        previewed: Callable[[Any], None] = lambda _preview: None,
    ) -> None:
        def ended(answer: Callable[[Any], None]) -> Callable[[Any], None]:
            def end(found: Any) -> None:
                self._errand, self.is_in_browser, self.message = None, False, ""
                answer(found)
                self.changed.publish()

            return end

        self.error, self.message = None, ""
        self._errand = self._background.run(work, ended(done), ended(failed), on_preview=previewed)
        self.changed.publish()

    def _server_changed(self) -> None:
        """While somebody is signed in, their session is looked at now and then."""
        if self._server.connection is not None:
            self.error, self.message = None, ""
        if self._server.connection is not None and self._server.account is not None:
            if not self._timer.isActive():
                self._timer.start()
        else:
            self._timer.stop()
        if self._server.wanted is None:
            self.wants_code = False


def _nothing(_connection: Connection) -> None:
    """There is nothing to be done before leaving."""
