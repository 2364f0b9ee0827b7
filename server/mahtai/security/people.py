"""Opens what knows people: accounts, sessions, tokens, or the one token of one computer."""

from __future__ import annotations

from dataclasses import dataclass

from mahtai.db.engine import Database
from mahtai.security import passwords
from mahtai.security.accounts import Accounts
from mahtai.security.api_tokens import ApiTokens
from mahtai.security.authentication import Authentication, OneToken, SignedInPeople
from mahtai.security.oidc import HospitalSignIn
from mahtai.security.sessions import Sessions
from mahtai.security.signing_in import SigningIn
from mahtai.security.token import load_or_create
from mahtai.settings import Settings

SESSION_KEY = "sessions.key"


@dataclass(frozen=True)
class People:
    """The services of accounts, and how requests show who they come from; ``hospital`` is its own sign-in, if any."""

    authentication: Authentication
    accounts: Accounts
    signing_in: SigningIn
    sessions: Sessions
    api_tokens: ApiTokens
    hospital: HospitalSignIn | None

    def sign_out_everywhere(self, account: str, why: str, but: str | None = None) -> None:
        """End all sessions of an account and all its tokens for programs.

        Args:
            why: kept with the sessions, up to 32 characters.
            but: a session that goes on.
        """
        self.sessions.end_all(account, why, but)
        self.api_tokens.revoke_all(account)


def open_people(settings: Settings, database: Database, session_key: bytes) -> People:
    """Open them; the database is up to date.

    Raises:
        TokenError: where nobody signs in, and the token's file cannot be used.
        SettingsError: the hospital's sign-in cannot be used as it is set up.
    """
    accounts = Accounts(database)
    sessions = Sessions(database, session_key, settings.session_idle_s, settings.access_token_s, settings.totp_required)
    tokens = ApiTokens(database, settings.oidc_token_days)
    authentication: Authentication
    if settings.accounts:
        passwords.get_ready()
        hospital = HospitalSignIn.from_settings(settings, database, accounts)
        authentication = SignedInPeople(sessions, tokens, hospital is not None)
    else:
        hospital = None
        authentication = OneToken(load_or_create(settings.config_dir))
    return People(authentication, accounts, SigningIn(database, accounts, session_key), sessions, tokens, hospital)
