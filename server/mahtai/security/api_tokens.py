"""Tokens for programs: made by an account, limited to some of its permissions and to a time, kept as hashes."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update

from mahtai.db.clock import moment
from mahtai.db.engine import Database
from mahtai.db.trust_tables import AccountRow, ApiTokenRow
from mahtai.errors import MahtaiError
from mahtai.security.accounts import Account, account_of
from mahtai.security.permissions import EVERYTHING

PREFIX = "mahtai_"
"""So that scanners for leaked secrets find them, and so that they are told from the tokens of sessions."""

MOST_DAYS = 365
MOST_TOKENS = 50
MARK_EVERY = timedelta(seconds=60)


class TokenRefused(MahtaiError):
    """A token that cannot be made so."""

    kind = "api-token"
    title = "The token cannot be made"
    status = 422


class UnknownToken(MahtaiError):
    """A token that one does not have."""

    kind = "unknown-token"
    title = "There is no such token"
    status = 404


class InvalidToken(MahtaiError):
    """A token that does not exist, has expired or was revoked."""

    kind = "wrong-token"
    title = "The access token is missing or wrong"
    status = 401


@dataclass(frozen=True)
class ApiToken:
    """A token as its owner sees it later; the token itself is shown once.

    Attributes:
        scopes: the permissions that it is limited to.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


class ApiTokens:
    """The tokens of all accounts.

    Args:
        hospital_days: days without a sign-in at the hospital after which the tokens of an account that signs in there
            stop working; nobody tells this server who has left.
    """

    def __init__(self, database: Database, hospital_days: int) -> None:
        self._database = database
        self._hospital_days = hospital_days

    def make(
        self, account: Account, allowed: frozenset[str], name: str, scopes: Iterable[str] | None, days: int
    ) -> tuple[ApiToken, str]:
        """Make a token.

        Args:
            allowed: what its maker may do now; a token never allows more.
            scopes: the permissions that it is limited to; None for all that its maker has.

        Returns:
            what is kept, and the token, which nobody can be told again.

        Raises:
            TokenRefused: nothing was made.
        """
        wanted = allowed if scopes is None else frozenset(scopes)
        if not wanted <= allowed:
            unknown = ", ".join(sorted(wanted - EVERYTHING))[:200]
            lacking = ", ".join(sorted(wanted - allowed))[:200]
            said = f"There is no permission {unknown}." if unknown else f"{account.name} does not have: {lacking}."
            raise TokenRefused(said, f"Choose among: {', '.join(sorted(allowed))}.")
        if not 1 <= days <= MOST_DAYS:
            raise TokenRefused(f"A token lasts 1 to {MOST_DAYS} days.", "Make a new one when it has expired.")
        token = PREFIX + secrets.token_urlsafe(32)
        with self._database.write() as session:
            now = moment(session)
            live = select(ApiTokenRow.id).where(
                ApiTokenRow.account == account.id, ApiTokenRow.revoked_at.is_(None), ApiTokenRow.expires_at > now
            )
            if len(session.scalars(live).all()) >= MOST_TOKENS:
                raise TokenRefused(f"You have {MOST_TOKENS} tokens already.", "Revoke those that you do not need.")
            row = ApiTokenRow(
                id=str(uuid.uuid4()),
                account=account.id,
                name=name,
                sha256=_hash(token),
                scopes=sorted(wanted),
                created_at=now,
                expires_at=now + timedelta(days=days),
            )
            session.add(row)
        return _view(row), token

    def list(self, account: str) -> list[ApiToken]:
        """The tokens of an account that still work, the newest first."""
        with self._database.read() as session:
            live = select(ApiTokenRow).where(
                ApiTokenRow.account == account,
                ApiTokenRow.revoked_at.is_(None),
                ApiTokenRow.expires_at > moment(session),
            )
            return [_view(row) for row in session.scalars(live.order_by(ApiTokenRow.created_at.desc()))]

    def revoke(self, account: str, token: str) -> str:
        """End a token of an account; its id.

        Args:
            token: its id, or the token itself.

        Raises:
            UnknownToken: it is none of this account's.
        """
        with self._database.write() as session:
            this = or_(ApiTokenRow.id == token, ApiTokenRow.sha256 == _hash(token))
            row = session.scalar(select(ApiTokenRow).where(this, ApiTokenRow.account == account))
            if row is None:
                raise UnknownToken("The account has no such token. Nothing was changed.", "Look at its list of tokens.")
            row.revoked_at = row.revoked_at or moment(session)
            return row.id

    def revoke_all(self, account: str) -> None:
        """End all tokens of an account."""
        with self._database.write() as session:
            theirs = update(ApiTokenRow).where(ApiTokenRow.account == account, ApiTokenRow.revoked_at.is_(None))
            session.execute(theirs.values(revoked_at=moment(session)))

    def check(self, token: str) -> tuple[Account, frozenset[str]]:
        """Whose token it is, and what it is limited to.

        Raises:
            InvalidToken: nobody's, now.
        """
        with self._database.read() as session:
            now = moment(session)
            row = session.scalar(select(ApiTokenRow).where(ApiTokenRow.sha256 == _hash(token)))
            account = None if row is None else session.scalar(select(AccountRow).where(AccountRow.id == row.account))
        if row is None or account is None or account.disabled or row.revoked_at is not None or now >= row.expires_at:
            raise InvalidToken(
                "The access token is not known here, has expired, or was revoked.",
                "Make a new one with your account, or ask who runs the server.",
            )
        if account.subject is not None and not self._came_lately(account, now):
            raise InvalidToken(
                f"Whose token this is has not signed in at the hospital for {self._hospital_days} days, and until they "
                "do it does not work.",
                "Sign in at the hospital once, with 3D Slicer; then the token works again.",
            )
        if row.used_at is None or now - row.used_at > MARK_EVERY:
            with self._database.write_aside() as session:
                session.execute(update(ApiTokenRow).where(ApiTokenRow.id == row.id).values(used_at=now))
        return account_of(account), frozenset(row.scopes)

    def _came_lately(self, account: AccountRow, now: datetime) -> bool:
        """Whether somebody has signed in at the hospital of late; not if it was in the future (the clock was put back),
        or their tokens would work until then.
        """
        return account.hospital_at is not None and abs(now - account.hospital_at) < timedelta(days=self._hospital_days)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _view(row: ApiTokenRow) -> ApiToken:
    return ApiToken(row.id, row.name, tuple(row.scopes), row.created_at, row.expires_at, row.used_at)
