"""Guessing is slowed down, by what is guessed and from where, without locking out those who belong here.

Three counters, each of failures that were not long ago: of an account from an address, of an account from all
addresses, and of an address. The first is strict. The second slows down guesses from many addresses, but an address
from which the account has signed in of late is not held up by it: nobody can lock a colleague out from elsewhere. The
third slows down one who tries many accounts; it is mild, because a whole ward may share an address.

An attempt is counted before it is checked, so that a thousand at once are a thousand.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from mahtai.db.clock import moment
from mahtai.db.engine import Database
from mahtai.db.trust_tables import FailureRow, SessionRow
from mahtai.errors import MahtaiError

FORGOTTEN_AFTER = timedelta(days=3)
"""By then nothing is left of any count."""

KNOWN_FOR = timedelta(days=30)
"""An address from which an account signed in so recently is known for it."""


@dataclass(frozen=True)
class Patience:
    """So many failures are free; each further one doubles the pause, up to the longest.

    Attributes:
        longest_s: seconds.
        half_life_s: seconds without a failure after which half of them are forgotten.
    """

    free: int
    longest_s: float
    half_life_s: float

    def pause_s(self, failures: int) -> float:
        """Seconds from the last failure until the next attempt is taken."""
        return 0.0 if failures < self.free else min(2.0 ** min(failures - self.free, 30), self.longest_s)


PAIR = Patience(free=5, longest_s=900.0, half_life_s=6 * 3600.0)
ACCOUNT = Patience(free=20, longest_s=300.0, half_life_s=3 * 3600.0)
ADDRESS = Patience(free=100, longest_s=60.0, half_life_s=900.0)


@dataclass(frozen=True)
class Attempt:
    """An attempt that was counted, under these keys."""

    pair: str
    keys: tuple[str, ...]


class TooManyAttempts(MahtaiError):
    """The next attempt has to wait; ``wait_s`` says how long."""

    kind = "too-many-attempts"
    title = "Too many attempts"
    status = 429

    def __init__(self, wait_s: float) -> None:
        self.wait_s = max(1, math.ceil(wait_s))
        super().__init__(
            f"Signing in failed too often. The next attempt is taken in {self.wait_s} seconds.",
            "Wait that long, then try again. If it was not you who tried, tell the person who runs the server.",
        )


class Guessing:
    """Counts attempts to sign in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, login: str, address: str, account: str | None) -> Attempt:
        """Note an attempt as failed; ``forget`` it when it was right.

        Args:
            account: id of the account of that login, if there is one.

        Raises:
            TooManyAttempts: it is not to be checked at all.
        """
        address = network_of(address)
        with self._database.write() as session:
            now = moment(session)
            rules = [(_key("pair", login, address), PAIR), (_key("address", address), ADDRESS)]
            if account is None or not _is_known(session, account, address, now):
                rules.append((_key("account", login), ACCOUNT))
            rows = [(_row(session, key, patience, now), patience) for key, patience in rules]
            wait_s = max(_wait_s(row, patience, now) for row, patience in rows)
            if wait_s <= 0:
                for row, _ in rows:
                    session.add(row)
                    row.count += 1
                    row.last_at = now
                session.execute(delete(FailureRow).where(FailureRow.last_at < now - FORGOTTEN_AFTER))
        if wait_s > 0:
            raise TooManyAttempts(wait_s)
        return Attempt(rules[0][0], tuple(key for key, _ in rules))

    def forget(self, attempt: Attempt, wholly: bool = True) -> None:
        """The attempt was right, so it was no failure; what others guessed goes on counting.

        Args:
            wholly: nor does what this person mistyped before count any more.
        """
        with self._database.write() as session:
            for key in attempt.keys:
                row = session.get(FailureRow, key)
                if row is not None:
                    row.count = 0 if wholly and key == attempt.pair else max(row.count - 1, 0)


def _wait_s(row: FailureRow, patience: Patience, now: datetime) -> float:
    return patience.pause_s(row.count) - (now - row.last_at).total_seconds()


def _row(session: Session, key: str, patience: Patience, now: datetime) -> FailureRow:
    row = session.get(FailureRow, key)
    if row is None:
        return FailureRow(key=key, count=0, last_at=now)  # kept only if the attempt is taken
    row.last_at = min(row.last_at, now)  # a clock that was put back locks nobody out until then
    halvings = int(max((now - row.last_at).total_seconds(), 0.0) // patience.half_life_s)
    if halvings:
        row.count >>= min(halvings, 31)
        row.last_at += timedelta(seconds=halvings * patience.half_life_s)
    return row


def _is_known(session: Session, account: str, address: str, now: datetime) -> bool:
    recent = select(SessionRow.id).where(
        SessionRow.account == account, SessionRow.address == address, SessionRow.created_at > now - KNOWN_FOR
    )
    return session.scalar(recent.limit(1)) is not None


def network_of(address: str) -> str:
    """What counts as one place: an IPv4 address, or the /64 in which whoever has one IPv6 address has them all."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _key(kind: str, *parts: str) -> str:
    """Names what is counted without holding it: what people type for a name may be a password."""
    return f"{kind}:{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}"
