"""Which server the panel talks to, how that stands, and what models it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client.acting import NOBODY, Account, Person
from MahtAILib.client.address import clean_url
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import BadAddressError
from MahtAILib.client.login import Login
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Background, Errand
from MahtAILib.panel.server_asking import Answer, AuthorityUnknown, ServerAsking, SignInWanted
from MahtAILib.panel.settings import Settings
from MahtAILib.panel.topics import Topic

DEFAULT_URL = "http://127.0.0.1:8391"


class ServerState:
    """The connection. Every question is asked in a thread; ``changed`` tells when the answer is there.

    Attributes:
        connection: to a server that answered and took the token; None before.
        version: of that server.
        models: its models that are ready, as the API describes them.
        is_asking: whether an answer is awaited.
        ways: to be let in there.
        account: of whoever is signed in, or was until the session ended; None where there are no accounts.
        wanted: a server that is there and wants somebody to sign in; None otherwise.
        unknown: a certificate authority that only the reader can vouch for; None otherwise.
        error: why there is no connection, or None.
    """

    def __init__(self, background: Background, settings: Settings, asking: ServerAsking) -> None:
        self.changed = Topic()
        self.connection: Connection | None = None
        self.version = ""
        self.models: tuple[dict[str, Any], ...] = ()
        self.ways: tuple[str, ...] = ()
        self.account: Account | None = None
        self.wanted: SignInWanted | None = None
        self.unknown: AuthorityUnknown | None = None
        self.error: ExplainedError | None = None
        self.asking = asking
        self._typed = ""
        self._session: Login | None = None
        self._session_url = ""
        self._person = NOBODY
        self._guests: tuple[dict[str, Any], ...] = ()
        self._background = background
        self._settings = settings
        self._errand: Errand[Answer | SignInWanted] | None = None
        background.ended.subscribe(self.look_at_login)

    @property
    def is_asking(self) -> bool:
        """Whether an answer is awaited."""
        return self._errand is not None

    @property
    def person(self) -> Person:
        """Who reads, as the server is told."""
        return self._person

    @person.setter
    def person(self, person: Person) -> None:
        self._person = person
        if self.connection is not None:
            self.connection.person = person

    def connect(self, address: str, token: str = "", then: Callable[[], None] | None = None) -> None:
        """Ask the server at this address; an empty token means the one that is remembered or lies on this computer.

        Args:
            then: called once when the answer is there, if it is a good one.
        """
        if self._errand is not None:
            self._errand.cancel()
        try:
            url = clean_url(address)
        except BadAddressError as error:
            self._failed(error)
            return
        typed = self._typed = token.strip()
        session = self._session if url == self._session_url else None
        if url != self._session_url:
            self.account = None

        def done(answer: Answer | SignInWanted) -> None:
            if self._errand is errand:
                self._answered(answer)
                if then is not None and self.connection is not None:
                    then()

        def failed(error: ExplainedError) -> None:
            if self._errand is errand:
                self._failed(error)

        errand = self._background.run(lambda _errand: self.asking.ask(url, typed, session), done, failed)
        self._errand = errand
        self.changed.publish()

    def check(self) -> None:
        """Ask the connected server again, for instance after a request failed."""
        if self.connection is not None and self._errand is None:
            self.connect(self.connection.url)

    def disconnect(self) -> None:
        """Forget the connection, for instance because the server was stopped."""
        if self._errand is not None:
            self._errand.cancel()
            self._errand = None
        self.left()

    def may(self, permission: str) -> bool:
        """Whether the account may do this; everybody may where there are no accounts."""
        return self.account is None or self.account.may(permission)

    def set_guests(self, models: Sequence[dict[str, Any]]) -> None:
        """Models of another kind of server, which are offered beside those of this one."""
        self._guests = tuple(models)
        self.changed.publish()

    def models_for(self, task: str) -> list[dict[str, Any]]:
        """Models of a task that can run, those of other servers last."""
        every = (*self.models, *self._guests)
        return [model for model in every if model.get("task") == task and model.get("state") == "ready"]

    def model_for(self, task: str, wanted: str) -> str:
        """Id of the wanted model if this server can run it, else of the first one that it can; empty for none.

        A model of another server is none of this one's.
        """
        if any(model["id"] == wanted for model in self._guests):
            return ""
        ready = [str(model["id"]) for model in self.models_for(task) if model not in self._guests]
        return wanted if wanted in ready else next(iter(ready), "")

    def trust(self, unknown: AuthorityUnknown) -> None:
        """The reader compared the fingerprint: trust the authority for this server, and go on connecting.

        Raises:
            CertificateError: it could not be kept.
        """
        self.asking.pins.pin(unknown.url, unknown.authority)
        self.connect(unknown.url, self._typed)

    def entered(self, answer: Answer) -> None:
        """A server let this user in."""
        self._errand, self._typed = None, ""
        self.connection, self.version, self.models = answer.connection, answer.version, answer.models
        self.ways, self.account, self.wanted, self.unknown, self.error = answer.ways, answer.account, None, None, None
        self._session_url, self._session = answer.connection.url, None
        if self.account is not None:
            self._person, self._session = self.account.person, answer.connection.login
        self.connection.person = self._person
        self._settings.remember_address(answer.connection.url)
        self.changed.publish()

    def left(self, wanted: SignInWanted | None = None, error: ExplainedError | None = None) -> None:
        """There is no connection any more: signed out, or the server is gone."""
        self._errand = None
        self.connection, self.version, self.models = None, "", ()
        self.wanted, self.error = wanted, error
        self.changed.publish()

    def forget_account(self) -> None:
        """Whoever was signed in went away on purpose."""
        self.account, self._session = None, None

    def look_at_login(self) -> None:
        """Whether the session has ended meanwhile: then one signs in again, and all else stays."""
        connection = self.connection
        if connection is None or not connection.login.is_ended:
            return
        words = ExplainedError(
            _("You are signed out, because nothing was done for a while or somebody ended your session."),
            _("Nothing was lost: views and edits stay. Sign in again, and what is saved meanwhile is sent."),
        )
        self.left(SignInWanted(connection.url, self.version, self.ways, words))

    def _answered(self, answer: Answer | SignInWanted) -> None:
        if isinstance(answer, SignInWanted):
            self._typed = ""
            self.left(answer)
        else:
            self.entered(answer)

    def _failed(self, error: ExplainedError) -> None:
        self.unknown = error if isinstance(error, AuthorityUnknown) else None
        self.left(None, error)
