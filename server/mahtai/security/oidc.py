"""Signing in with the hospital's own sign-in (OpenID Connect), for a program on the reader's computer (RFC 8252).

The program opens the browser at this server (``begin``), which sends it on to the issuer. The issuer sends it back
(``finish``), and this server sends it on to the program, which listens on its own computer, with a code that only that
program can use (``redeem``; PKCE, RFC 7636). What the issuer told never leaves this server.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from mahtai.db.clock import moment
from mahtai.db.engine import Database
from mahtai.db.trust_tables import ForeignSignInRow
from mahtai.errors import MahtaiError
from mahtai.security.accounts import Account, AccountDisabled, Accounts
from mahtai.security.id_token import IdTokenRefused, check_id_token
from mahtai.security.oidc_issuer import CodeRefused, Issuer, IssuerFault
from mahtai.security.oidc_settings import issuer_of
from mahtai.settings import Settings

AWAITED_FOR = timedelta(minutes=10)
CODE_LASTS = timedelta(seconds=60)
MOST_AWAITED = 20_000
"""Whoever begins sign-ins without end pushes out the oldest, and takes no more room than this."""

LONGEST_SUBJECT = 400

# Only what every reader of an address reads in the same way: no user, no query, no backslash, nothing encoded.
_REDIRECT = re.compile(r"http://(?:127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})(?:/[A-Za-z0-9._~/-]{0,200})?")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_STATE = re.compile(r"[A-Za-z0-9._~-]{8,200}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")

_log = logging.getLogger(__name__)


class HospitalSignInError(MahtaiError):
    """Signing in at the hospital did not work; whoever tried is not signed in."""

    kind = "hospital-sign-in"
    title = "Signing in at the hospital did not work"
    status = 401


class NotSetUp(HospitalSignInError):
    """This server knows of no sign-in but its own."""

    status = 404


class WrongRequest(HospitalSignInError):
    """The program did not ask as it should."""

    status = 400


class NoRole(HospitalSignInError):
    """The hospital knows the person, and nobody has given them a role here; ``account`` if they had one before."""

    status = 403

    def __init__(self, account: Account | None) -> None:
        super().__init__(
            "The hospital's sign-in knows you, but none of your roles there allows you to work with MahtAI.",
            "Ask those who look after the accounts of your hospital for a role in MahtAI.",
        )
        self.account = account


class IssuerUnavailable(HospitalSignInError):
    """The hospital's sign-in gives no answer, or one that cannot be used."""

    status = 502


class HospitalSignIn:
    """Signing in at one issuer.

    Args:
        roles: (theirs, ours) pairs; the first that somebody has is theirs here.
        role_claim: claim that holds the roles: its name, or a path of names with dots between them.
    """

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        issuer: Issuer,
        role_claim: str,
        roles: tuple[tuple[str, str], ...],
    ) -> None:
        self._database, self._accounts, self._issuer = database, accounts, issuer
        self._role_claim, self._roles = role_claim, roles

    @classmethod
    def from_settings(cls, settings: Settings, database: Database, accounts: Accounts) -> HospitalSignIn | None:
        """The hospital's sign-in as it is set up; None where it is not.

        Raises:
            SettingsError: half of the settings are missing, or would not be safe.
        """
        issuer = issuer_of(settings)
        if issuer is None:
            return None
        return cls(database, accounts, issuer, settings.oidc_role_claim, settings.oidc_roles)

    def begin(self, redirect: str, challenge: str, state: str) -> str:
        """Await somebody.

        Args:
            redirect: where the program listens, ``http://127.0.0.1:PORT/…``.
            challenge: of PKCE with S256. state: comes back with the code.

        Returns:
            the address of the issuer that the browser is sent to.

        Raises:
            WrongRequest, IssuerUnavailable: nothing is awaited.
        """
        _check_request(redirect, challenge, state)
        ours, nonce, verifier = (secrets.token_urlsafe(48) for _ in range(3))
        try:
            wanted = {self._role_claim} & self._issuer.discovery().scopes
            address = self._issuer.sign_in_address(" ".join(["openid", "profile", *wanted]), ours, nonce, verifier)
        except IssuerFault as error:
            raise _unavailable(error) from error
        body = {"redirect": redirect, "challenge": challenge, "state": state, "nonce": nonce, "verifier": verifier}
        with self._database.write() as session:
            _sweep(session)
            session.add(ForeignSignInRow(state=_hash(ours), body=body, created_at=moment(session)))
        return address

    def finish(self, answer: Mapping[str, str]) -> tuple[str, Account]:
        """Take somebody back from the issuer.

        Args:
            answer: the query with which the browser came: ``state``, ``code`` or ``error``, perhaps ``iss``.

        Returns:
            where the program listens, with the code that it can use once; and who it is.

        Raises:
            HospitalSignInError: nobody is signed in; they have to begin anew.
        """
        awaited = self._take(ForeignSignInRow.state == _hash(answer.get("state", "")), AWAITED_FOR)
        if awaited is None:
            raise _refused("the state is not known", "It was used before, or it took longer than ten minutes.")
        if "error" in answer:
            raise _refused("the issuer refused", "The hospital's sign-in did not let you in, or you cancelled.")
        try:
            claims = self._ask_issuer(answer, awaited.body)
        except IssuerFault as error:
            raise _unavailable(error) from error
        except (CodeRefused, IdTokenRefused) as error:
            told = f"What the hospital's sign-in answered is not what it must be ({error})."
            raise _refused(f"{error.__class__.__name__}: {error}", told) from error
        account = self._account(claims)
        code = secrets.token_urlsafe(48)
        with self._database.write() as session:
            row = ForeignSignInRow(state=_hash(secrets.token_urlsafe(48)), code=_hash(code), account=account.id)
            row.body, row.created_at = {"challenge": awaited.body["challenge"]}, moment(session)
            session.add(row)
        return f"{awaited.body['redirect']}?{urlencode({'code': code, 'state': awaited.body['state']})}", account

    def redeem(self, code: str, verifier: str) -> Account:
        """Who the code is for; it is used up, whoever brings it.

        Raises:
            HospitalSignInError: the code is not known, was used, is a minute old, or is somebody else's.
        """
        row = self._take(ForeignSignInRow.code == _hash(code), CODE_LASTS)
        if row is None or row.account is None:
            raise _refused("the code is not known", "It was used before, or it is older than a minute.")
        proven = _VERIFIER.fullmatch(verifier) and hmac.compare_digest(_challenge(verifier), row.body["challenge"])
        if not proven:
            raise _refused("the verifier is wrong", "It was another program that began to sign in.")
        account = self._accounts.get(row.account)
        if account.disabled:
            raise _disabled()
        return account

    def _take(self, which: Any, lasts: timedelta) -> ForeignSignInRow | None:
        """A row, once, if it is not too old; writers take turns, so no two get it."""
        with self._database.write() as session:
            row = session.scalar(select(ForeignSignInRow).where(which))
            if row is None:
                return None
            session.delete(row)
            age = moment(session) - row.created_at
        return row if -lasts < age < lasts else None

    def _ask_issuer(self, answer: Mapping[str, str], awaited: Mapping[str, str]) -> dict[str, Any]:
        """What the issuer says about the person whom it sent.

        Raises:
            IssuerFault, CodeRefused, IdTokenRefused: nothing that counts.
        """
        named = answer.get("iss")  # RFC 9207: an answer of another issuer is not even asked about
        if named != self._issuer.url and (named is not None or self._issuer.discovery().names_itself):
            raise IdTokenRefused("another issuer")
        if not answer.get("code"):
            raise IdTokenRefused("no code")
        tokens = self._issuer.exchange(answer["code"], awaited["verifier"])
        return check_id_token(
            tokens.id_token,
            self._issuer.keys,
            issuer=self._issuer.url,
            client=self._issuer.client,
            nonce=awaited["nonce"],
            access_token=tokens.access_token,
        )

    def _account(self, claims: Mapping[str, Any]) -> Account:
        """The account of the person that an ID token is about."""
        subject = f"{self._issuer.url}|{claims['sub']}"
        if len(subject) > LONGEST_SUBJECT or not subject.isprintable():
            raise _refused("the subject cannot be kept", "The hospital's sign-in names you in a way that is too long.")
        role = role_of(claims, self._role_claim, self._roles)
        if role is None:
            _log.warning("nobody signed in: none of the roles in MAHTAI_OIDC_ROLES is in %s", self._role_claim)
            raise NoRole(self._accounts.known_subject(subject))
        try:
            return self._accounts.for_subject(subject, name_of(claims), role)
        except AccountDisabled as error:
            raise _disabled() from error


def role_of(claims: Mapping[str, Any], path: str, roles: tuple[tuple[str, str], ...]) -> str | None:
    """The role here of somebody with these claims: the first pair's whose left side is among their roles."""
    found: Any = claims.get(path)  # a name may have dots in it, such as https://hospital.example/roles
    if found is None:
        found = claims
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
    theirs = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return next((ours for name, ours in roles if name in theirs), None)


def name_of(claims: Mapping[str, Any]) -> str:
    """What a new account is called: by what is shown to readers, never by an address of e-mail."""
    for claim in ("name", "preferred_username", "sub"):
        told = claims.get(claim)
        clean = " ".join("".join(c if c.isprintable() else " " for c in told).split()) if isinstance(told, str) else ""
        if clean:
            return clean[:100]
    return "somebody"


def _check_request(redirect: str, challenge: str, state: str) -> None:
    listens = _REDIRECT.fullmatch(redirect)
    if listens is None or int(listens[1]) > 65535:
        raise WrongRequest(
            "The program that wants to sign in does not listen on this computer.",
            "Do not go on, if you did not begin to sign in yourself. Else update the program.",
        )
    if not _CHALLENGE.fullmatch(challenge) or not _STATE.fullmatch(state):
        raise WrongRequest("The program that wants to sign in did not ask as it should.", "Update the program.")


def _sweep(session: Session) -> None:
    """Remove what nobody comes back for."""
    now = moment(session)
    session.execute(delete(ForeignSignInRow).where(ForeignSignInRow.created_at < now - AWAITED_FOR))
    newest = select(ForeignSignInRow.created_at).order_by(ForeignSignInRow.created_at.desc())
    full_since = session.scalar(newest.offset(MOST_AWAITED - 1).limit(1))
    if full_since is not None:
        session.execute(delete(ForeignSignInRow).where(ForeignSignInRow.created_at <= full_since))


def _challenge(verifier: str) -> str:
    """PKCE's S256 (RFC 7636, 4.6)."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _refused(why: str, told: str) -> HospitalSignInError:
    _log.warning("nobody signed in: %s", why)
    return HospitalSignInError(told, "Close this page, and begin to sign in again in 3D Slicer.")


def _disabled() -> HospitalSignInError:
    _log.warning("nobody signed in: the account is disabled")
    return HospitalSignInError(
        "Your account in MahtAI is disabled.", "Ask those who look after MahtAI, if you should be let in."
    )


def _unavailable(error: IssuerFault) -> IssuerUnavailable:
    _log.warning("the hospital's sign-in cannot be used: %s", error)
    return IssuerUnavailable(
        "The hospital's sign-in does not answer as it should.",
        "Try again in a minute. If it happens again, tell those who look after MahtAI: its log says what is wrong.",
    )
