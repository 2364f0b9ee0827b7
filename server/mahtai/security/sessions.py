"""Sessions: somebody who signed in, until they sign out or do nothing for a while.

A session has a short access token (a JWT, RFC 9068 in spirit), which goes with each request, and a refresh token, which
gives the next pair and is then used up. Whether a session still lasts is asked of the tables with each request: ending
one, or disabling an account, takes effect at once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from mahtai.db.clock import moment
from mahtai.db.engine import Database
from mahtai.db.trust_tables import AccountRow, SessionRow
from mahtai.errors import MahtaiError
from mahtai.security.accounts import Account, account_of
from mahtai.security.guessing import network_of

ISSUER = "mahtai"
LONGEST_LIFE = timedelta(hours=12)
"""However busy: a shift. Then one signs in anew."""

MARK_EVERY = timedelta(seconds=15)
"""That somebody is there is written down so often at most."""

ENROLLING = frozenset({"health", "own-account"})
"""What a session may do in which codes have still to be set up."""


class AccessTokenExpired(MahtaiError):
    """The session may go on, with a new access token."""

    kind = "access-token-expired"
    title = "The access token has expired"
    status = 401


class SessionEnded(MahtaiError):
    """Signed out, idle for too long, ended by an admin, or an old refresh token came again."""

    kind = "session-ended"
    title = "You are signed out"
    status = 401


@dataclass(frozen=True)
class SignedIn:
    """A session as its holder is told.

    Attributes:
        expires_in_s: of the access token. idle_s: after which the session ends by itself.
        must_enrol: codes have to be set up before anything else is allowed.
    """

    access_token: str
    expires_in_s: int
    refresh_token: str
    idle_s: int
    account: Account
    must_enrol: bool


@dataclass(frozen=True)
class Access:
    """Whom an access token stands for; ``session`` is its id."""

    account: Account
    session: str
    limited_to: frozenset[str] | None


class Sessions:
    """The sessions of this server.

    Args:
        key: 32 bytes, by which access tokens are signed; the same on servers that share the tables.
        codes_required: whether an account with a password needs codes before it may do anything else.
    """

    def __init__(
        self, database: Database, key: bytes, idle_s: int, access_token_s: int, codes_required: bool = False
    ) -> None:
        self._database = database
        self._key = OctKey.import_key(key)
        self._secret = key
        self._idle = timedelta(seconds=idle_s)
        self._access_token_s = access_token_s
        self._codes_required = codes_required

    def open(self, account: Account, address: str) -> SignedIn:
        """Begin a session for somebody who has shown who they are."""
        must_enrol = self._codes_required and account.has_password and not account.has_codes
        session_id = str(uuid.uuid4())
        refresh = self._new_refresh_token(session_id)
        with self._database.write() as session:
            now = moment(session)
            row = SessionRow(
                id=session_id,
                account=account.id,
                refresh=_hash(refresh),
                enrolling=must_enrol,
                address=network_of(address),
                created_at=now,
                used_at=now,
            )
            session.add(row)
        return self._signed_in(row, account, refresh)

    def refresh(self, refresh_token: str) -> SignedIn:
        """The next pair of tokens. It does not count as a sign of life of the person.

        Raises:
            SessionEnded: it has; or the token was used before, which ends it, for one of the two was a thief.
        """
        session_id = self._named_by(refresh_token)
        new = self._new_refresh_token(session_id)
        with self._database.write() as session:
            row = session.scalar(select(SessionRow).where(SessionRow.id == session_id).with_for_update())
            stands = None
            if row is not None and row.refresh != _hash(refresh_token):
                # it was ours and is used up: one of the two who have it is a thief
                _end(session, SessionRow.id == session_id, "refresh token came twice")
            elif row is not None:
                stands = self._standing(session, row)
                if stands is not None:
                    row.refresh = _hash(new)
        if row is None or stands is None:
            raise _ended()
        return self._signed_in(row, stands, new)

    def check(self, access_token: str, keeps_awake: bool) -> Access:
        """Whom a request comes from.

        Args:
            keeps_awake: whether it is a sign that somebody is there.

        Raises:
            AccessTokenExpired, SessionEnded: nobody, now.
        """
        session_id = self._session_of(access_token)
        with self._database.read() as session:
            now = moment(session)
            row = session.get(SessionRow, session_id)
            account = None if row is None else session.scalar(select(AccountRow).where(AccountRow.id == row.account))
            stands = row is not None and account is not None and not account.disabled and self._lasts(row, now)
        if row is None or account is None or not stands:
            raise _ended()
        if keeps_awake and now - row.used_at > min(MARK_EVERY, self._idle / 4):
            self._mark(session_id)
        return Access(account_of(account), session_id, ENROLLING if row.enrolling else None)

    def end(self, session_id: str, why: str = "signed out") -> None:
        """Sign somebody out; nothing happens if they are."""
        with self._database.write() as session:
            _end(session, SessionRow.id == session_id, why)

    def end_all(self, account: str, why: str, but: str | None = None) -> None:
        """End every session of an account, but one."""
        with self._database.write() as session:
            _end(session, SessionRow.account == account, why, but)

    def enrolled(self, session_id: str) -> None:
        """Codes were set up: the session may do everything from now on."""
        with self._database.write() as session:
            session.execute(update(SessionRow).where(SessionRow.id == session_id).values(enrolling=False))

    def seconds_left(self, session_id: str) -> int:
        """Until the session ends, if nothing more is heard of its holder."""
        with self._database.read() as session:
            row = session.get(SessionRow, session_id)
            if row is None:
                return 0
            now = moment(session)
            return max(0, int(min(row.used_at + self._idle - now, row.created_at + LONGEST_LIFE - now).total_seconds()))

    def _mark(self, session_id: str) -> None:
        with self._database.write_aside() as session:
            mark = update(SessionRow).where(SessionRow.id == session_id, SessionRow.ended_at.is_(None))
            session.execute(mark.values(used_at=moment(session)))

    def _standing(self, session: Session, row: SessionRow) -> Account | None:
        """The account of a session that lasts; one that does not is marked as ended."""
        now = moment(session)
        account = session.scalar(select(AccountRow).where(AccountRow.id == row.account))
        if account is None or account.disabled or not self._lasts(row, now):
            if row.ended_at is None:
                row.ended_at, row.ended_why = now, "idle"
            return None
        return account_of(account)

    def _lasts(self, row: SessionRow, now: datetime) -> bool:
        """Whether a session is not over. One that was last used in the future (the clock was put back) is: else it
        would last until then.
        """
        idle, age = abs(now - row.used_at), abs(now - row.created_at)
        return row.ended_at is None and idle < self._idle and age < LONGEST_LIFE

    def _new_refresh_token(self, session_id: str) -> str:
        """Names its session, so that an old one still does, and shows that it was made here."""
        named = f"{session_id}.{secrets.token_urlsafe(24)}"
        return f"{named}.{self._mark_of(named)}"

    def _named_by(self, refresh_token: str) -> str:
        named, _, mark = refresh_token.rpartition(".")
        if not hmac.compare_digest(mark.encode(), self._mark_of(named).encode()):
            raise _ended()
        return named.partition(".")[0]

    def _mark_of(self, named: str) -> str:
        return hmac.new(self._secret, b"refresh token " + named.encode(), hashlib.sha256).hexdigest()[:32]

    def _signed_in(self, row: SessionRow, account: Account, refresh: str) -> SignedIn:
        issued = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": account.id,
            "sid": row.id,
            "iat": issued,
            "exp": issued + self._access_token_s,
            "jti": secrets.token_hex(8),
        }
        token = jwt.encode({"alg": "HS256", "typ": "at+jwt"}, claims, self._key)
        return SignedIn(
            token, self._access_token_s, refresh, int(self._idle.total_seconds()), account, bool(row.enrolling)
        )

    def _session_of(self, access_token: str) -> str:
        try:
            token = jwt.decode(access_token, self._key, algorithms=["HS256"])
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:  # anything may come
            raise _ended() from error
        claims = token.claims
        if claims.get("iss") != ISSUER or not isinstance(claims.get("sid"), str):
            raise _ended()
        if not isinstance(claims.get("exp"), int) or claims["exp"] <= time.time():
            raise AccessTokenExpired("The access token has expired.", "Renew it with the refresh token, then repeat.")
        return str(claims["sid"])


def _end(session: Session, which: ColumnElement[bool], why: str, but: str | None = None) -> None:
    ending = update(SessionRow).where(which, SessionRow.ended_at.is_(None))
    if but is not None:
        ending = ending.where(SessionRow.id != but)
    session.execute(ending.values(ended_at=moment(session), ended_why=why))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _ended() -> SessionEnded:
    return SessionEnded(
        "You are signed out: you signed out, did nothing for a while, or your account was changed.",
        "Sign in again. What you have not saved is still on your computer.",
    )
