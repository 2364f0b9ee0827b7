"""What every request passes first: who is it, may they, is it for them, is it not too much; and the record of it.

Closed unless the table of permissions opens it (``security/permissions.json``).
"""

from __future__ import annotations

import logging
from urllib.parse import quote

from anyio import to_thread
from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mahtai.api.body_size import TAKES_FILE, small_body
from mahtai.api.calls import Calls, Found
from mahtai.api.pages import problem_page
from mahtai.api.problems import problem_response, unexpected
from mahtai.api.rates import Rates
from mahtai.api.recording import RecordFailed, Recording
from mahtai.api.services import Services
from mahtai.errors import MahtaiError
from mahtai.security.authentication import Principal, WrongToken
from mahtai.security.guessing import network_of
from mahtai.security.permissions import MEANING, permissions_of

MONAI_LABEL = "/monailabel"
"""Clients of MONAI Label have the token in their address behind this, because they send no header with every call."""

DESCRIPTION = "description"

REFERENCE = "GET /docs"
"""Opened in a browser, which sends no token."""

UPLOAD = "PUT /v1/volumes/{sha256}"
"""Names what is not there yet."""

_log = logging.getLogger(__name__)


class NotAllowed(MahtaiError):
    """The account's role or the token's scope does not allow it."""

    kind = "not-allowed"
    title = "Your account does not allow this"
    status = 403


class TooManyRequests(MahtaiError):
    """More requests than one account or address may send."""

    kind = "too-many-requests"
    title = "Too many requests"
    status = 429

    def __init__(self, wait_s: float) -> None:
        super().__init__("More requests came from you than the server takes.", "Nothing was done. Try again soon.")
        self.wait_s = wait_s


class Gate:
    """Lets through who may, and puts it on record."""

    def __init__(self, app: ASGIApp, calls: Calls) -> None:
        self.app = app
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem document, or pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        passage = _Passage(scope, self._calls)
        try:
            await passage.admit()
            if passage.found is None or passage.found.name not in TAKES_FILE:
                receive = await small_body(scope, receive)
        except MahtaiError as error:
            await passage.refuse(error, receive, send)
            return
        try:
            await self.app(scope, receive, passage.recorded(send))
        except Exception:
            if passage.is_answered:
                raise
            # answered here: outside of this it would be neither on record nor under strict headers
            _log.exception("the program failed")
            await unexpected(passage.instance)(scope, receive, passage.recorded(send))


class _Passage:
    """One request on its way through the gate."""

    def __init__(self, scope: Scope, calls: Calls) -> None:
        self.scope = scope
        self.found: Found | None = None
        self.principal: Principal | None = None
        self.is_answered = False
        self._services: Services = scope["app"].state.services
        self._calls = calls
        self._is_monai_label = scope["path"].startswith(f"{MONAI_LABEL}/")

    async def admit(self) -> None:
        """Find out who it is, and let them through or not.

        Raises:
            MahtaiError: not.
        """
        token = self._take_token()
        self.found = self._calls.find(self.scope)
        call = None if self.found is None else self.found.call
        self.scope["mahtai.call"] = None if self.found is None else self.found.name
        # on one computer the description of the calls is for every program there; it holds no data
        is_open = call is not None and (
            call.is_open or (call.needs == DESCRIPTION and not self._services.people.authentication.asks_tables)
        )
        if is_open:
            self._pace(self._services.address_rates, self._address())
            return
        if self._services.people.authentication.asks_tables:
            self._pace(self._services.address_rates, self._address())
            self.principal = await to_thread.run_sync(self._who, token)
        else:
            self.principal = self._who(token)
        self.scope["mahtai.principal"] = self.principal
        self._pace(self._services.rates, self.principal.person.account or self._address())
        if self.found is None:
            return  # there is no such call, and that is what they are told
        if call is None or not self.principal.person.may(call.needs):
            raise _not_allowed(self.principal, "" if call is None else call.needs)
        if self.principal.person.account is not None and self.found.name != UPLOAD:
            visibility = self._services.visibility
            await to_thread.run_sync(visibility.require, self.principal.person, self.found.parameters)

    def recorded(self, send: Send) -> Send:
        """Like ``send``, once what is answered is on record; if it cannot be, that is the answer."""
        replaced = False

        async def record(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                self.is_answered = True
                try:
                    await self._recording.note(self.scope, self.found, self.principal, message["status"])
                except RecordFailed as error:
                    replaced = True
                    await problem_response(error, self.instance)(self.scope, _nothing, send)
            if not replaced:
                await send(message)

        return record

    async def refuse(self, error: MahtaiError, receive: Receive, send: Send) -> None:
        """Tell why not."""
        shown = self._is_reference and "text/html" in Headers(scope=self.scope).get("accept", "")
        response = problem_page(error) if shown else problem_response(error, self.instance)
        await response(self.scope, receive, self.recorded(send))

    @property
    def _recording(self) -> Recording:
        recording = self.scope["app"].state.recording
        assert isinstance(recording, Recording)
        return recording

    @property
    def _is_reference(self) -> bool:
        return self.found is not None and self.found.name == REFERENCE

    @property
    def instance(self) -> str:
        """The path, as it may be shown."""
        # the path may hold a token
        return MONAI_LABEL if self._is_monai_label else str(self.scope["path"])

    def _address(self) -> str:
        return network_of(str(self.scope["client"][0])) if self.scope.get("client") else ""

    def _pace(self, rates: Rates, key: str) -> None:
        wait_s = rates.take(key)
        if wait_s is not None:
            raise TooManyRequests(wait_s)

    def _who(self, token: str | None) -> Principal:
        if token is None:
            raise self._no_token()
        keeps_awake = self.found is not None and self.found.call is not None and not self.found.call.idle
        try:
            return self._services.people.authentication.principal(token, Headers(scope=self.scope), keeps_awake)
        except WrongToken as error:
            raise (self._no_token() if self._is_monai_label else error) from error

    def _take_token(self) -> str | None:
        """The token that is presented; one in the path is taken out, so that no log and no answer can show it."""
        if self._is_monai_label:
            presented, slash, rest = self.scope["path"].removeprefix(f"{MONAI_LABEL}/").partition("/")
            header = _bearer(self.scope)
            if header is not None and not _looks_like_token(presented):
                return header
            self.scope["path"] = MONAI_LABEL + slash + rest
            self.scope["raw_path"] = quote(self.scope["path"]).encode("ascii")
            return presented if _looks_like_token(presented) else None
        return _bearer(self.scope)

    def _no_token(self) -> WrongToken:
        if self._is_monai_label:
            return WrongToken(
                "The address does not hold an access token of this server.",
                f"The address for clients of MONAI Label is http://HOST:PORT{MONAI_LABEL}/TOKEN; on one computer the "
                "token lies in the file `token` of the server's settings folder.",
            )
        if self._is_reference:
            return WrongToken(
                "This server shows what it can be asked to those only who have an account, and a browser cannot tell "
                "it who you are.",
                "Fetch the page with a token of yours, then open it: "
                "curl -o mahtai.html -H 'Authorization: Bearer TOKEN' https://SERVER/docs. "
                "Or run mahtai serve on your own computer: there a browser shows it as it is.",
            )
        if self._services.people.authentication.asks_tables:
            return WrongToken("You are not signed in.", "Sign in with your name and password, or with a token.")
        return WrongToken(
            "The request came without an access token.",
            "Paste the server's token into the server settings; it lies in the file `token` of its settings folder.",
        )


def _not_allowed(principal: Principal, needs: str) -> NotAllowed:
    """Why somebody is not: their role, the token that they use, or codes that they have yet to set up."""
    person = principal.person
    if needs not in permissions_of(person.role):
        wanted = f" It needs the permission {needs}: {MEANING[needs]}." if needs in MEANING else ""
        return NotAllowed(
            f"Your account ({person.role}) is not allowed to do this. Nothing was changed.{wanted}",
            "Ask the person who manages the accounts of this server.",
        )
    if principal.session is not None:  # a session is limited for this one reason
        return NotAllowed(
            "On this server everybody signs in with a code of an authenticator app as well, and your account has none "
            "yet. Nothing was changed.",
            "Set up codes (the panel has a button for it, below who is signed in); then all is open to you.",
        )
    return NotAllowed(
        f"The token is not made for this: its scopes lack {needs} ({MEANING[needs]}). Nothing was changed.",
        f"Make a token that has --scope {needs} as well, or one without any --scope, for all that its account may do.",
    )


def confirm(request: Request) -> None:
    """Refuse a request that reached another call than the one that the gate let through: a second lock."""
    route = request.scope.get("route")
    template = getattr(route, "path", None)
    if template is not None and request.scope.get("mahtai.call") != f"{request.method} {template}":
        raise NotAllowed("The server is not sure what is asked for. Nothing was changed.", "Check the address.")


def _bearer(scope: Scope) -> str | None:
    scheme, _, presented = Headers(scope=scope).get("authorization", "").partition(" ")
    return presented.strip() if scheme.lower() == "bearer" and presented.strip() else None


def _looks_like_token(text: str) -> bool:
    """Tokens are long; the words of the protocol are not."""
    return len(text) >= 32


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
