"""Accounts: made, found, changed, and checked when somebody signs in. Names are never given to somebody else."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql import Select

from mahtai.cases.person import ROLES, Person
from mahtai.db.clock import moment
from mahtai.db.engine import Database, insist
from mahtai.db.trust_tables import AccountRow
from mahtai.errors import MahtaiError
from mahtai.security import passwords
from mahtai.security.naming import LONGEST_NAME
from mahtai.security.permissions import permissions_of

MOST_TEAMS = 32


class AccountError(MahtaiError):
    """An account that cannot be made or changed so."""

    kind = "account"
    title = "The account cannot be so"
    status = 422


class UnknownAccount(AccountError):
    """There is none of that id or name."""

    kind = "unknown-account"
    status = 404


class NameTaken(AccountError):
    """Names are never given twice."""

    kind = "name-taken"
    status = 409


class AccountDisabled(AccountError):
    """Its holder must not come in."""

    kind = "account-disabled"
    status = 403


@dataclass(frozen=True)
class Account:
    """An account at one moment.

    Attributes:
        id: never changes. name: what the person's work is kept under.
        has_password: whether they sign in here; ``is_foreign``: whether they sign in at the hospital.
        has_codes: whether a code is wanted beside the password.
    """

    id: str
    name: str
    role: str
    teams: tuple[str, ...]
    has_password: bool
    is_foreign: bool
    has_codes: bool
    disabled: bool
    created_at: datetime

    def person(self, only: frozenset[str] | None = None) -> Person:
        """Who acts with this account; ``only`` are the permissions that a token or session was limited to."""
        allowed = permissions_of(self.role)
        return Person(self.name, self.role, self.id, self.teams, allowed if only is None else allowed & only)


@dataclass(frozen=True)
class AccountChange:
    """What is to be different about an account; None leaves it."""

    role: str | None = None
    teams: tuple[str, ...] | None = None
    disabled: bool | None = None
    password: str | None = None
    reset_codes: bool = False


class Accounts:
    """The accounts of this server."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def any(self) -> bool:
        """Whether there is an account that can let others in."""
        able = select(AccountRow.id).where(AccountRow.role == "admin", AccountRow.disabled.is_(False))
        with self._database.read() as session:
            return session.scalar(able.limit(1)) is not None

    def add(
        self, name: str, role: str, password: str | None, teams: Sequence[str] = (), subject: str | None = None
    ) -> Account:
        """Make an account.

        Args:
            password: None for one that signs in at the hospital, or with tokens only.

        Raises:
            AccountError, NameTaken, WeakPassword: nothing was changed.
        """
        clean = _clean_name(name)
        login = login_of(clean)
        _check_role(role)
        if password is not None:
            passwords.check_new(password, login)
        row = AccountRow(
            id=str(uuid.uuid4()),
            login=login,
            name=clean,
            role=role,
            teams=list(_clean_teams(teams)),
            password=None if password is None else passwords.hash_password(password),
            recovery=[],
            subject=subject,
            disabled=False,
        )
        with self._database.write() as session:
            if session.scalar(select(AccountRow.id).where(AccountRow.login == login)) is not None:
                raise NameTaken(
                    f"There is an account {clean!r} already, or there was one.",
                    "Choose another name: names are never given to somebody else, because work is kept under them.",
                )
            session.add(row)
            session.flush()
            return account_of(row)

    def for_subject(self, subject: str, name: str, role: str) -> Account:
        """The account of somebody whom the hospital's sign-in knows; made when there is none, and kept up to date.

        A local account of the same name is somebody else: theirs gets a number behind the name.

        Raises:
            AccountDisabled: it is.
        """
        return insist(lambda: self._for_subject(subject, name, role))

    def known_subject(self, subject: str) -> Account | None:
        """The account of somebody whom the hospital's sign-in knows, if they have one."""
        with self._database.read() as session:
            row = session.scalar(select(AccountRow).where(AccountRow.subject == subject))
            return None if row is None else account_of(row)

    def _for_subject(self, subject: str, name: str, role: str) -> Account:
        _check_role(role)
        with self._database.write() as session:
            row = session.scalar(select(AccountRow).where(AccountRow.subject == subject))
            if row is not None and row.disabled:
                raise AccountDisabled("This account is disabled.", "Ask the person who runs the server.")
            if row is None:
                row = AccountRow(
                    id=str(uuid.uuid4()), teams=[], recovery=[], subject=subject, disabled=False, role=role, login=""
                )
                row.name = _free_name(session, _clean_name(name))
                row.login = login_of(row.name)
                session.add(row)
            row.role, row.hospital_at = role, moment(session)
            session.flush()
            return account_of(row)

    def get(self, account: str) -> Account:
        """One account by its id.

        Raises:
            UnknownAccount: there is none.
        """
        with self._database.read() as session:
            return account_of(find_account(session, account))

    def named(self, name: str) -> Account:
        """One account by its name.

        Raises:
            UnknownAccount: there is none.
        """
        with self._database.read() as session:
            row = session.scalar(select(AccountRow).where(AccountRow.login == login_of(name)))
            if row is None:
                raise UnknownAccount(f"There is no account {name[:LONGEST_NAME]!r}.", "`mahtai users list` shows all.")
            return account_of(row)

    def known_name(self, name: str) -> str | None:
        """The name of the account that somebody types, as it is kept; None if there is none."""
        with self._database.read() as session:
            return session.scalar(select(AccountRow.name).where(AccountRow.login == login_of(name)))

    def list(self) -> list[Account]:
        """All accounts by name."""
        with self._database.read() as session:
            return [account_of(row) for row in session.scalars(select(AccountRow).order_by(AccountRow.login))]

    def change(self, account: str, change: AccountChange) -> Account:
        """Change an account; what its sessions may do changes with the next request.

        Raises:
            UnknownAccount, AccountError, WeakPassword: nothing was changed.
        """
        kept = None
        if change.password is not None:
            with self._database.read() as session:
                passwords.check_new(change.password, find_account(session, account).login)
            kept = passwords.hash_password(change.password)  # slow, so not while others wait to write
        with self._database.write() as session:
            row = find_account(session, account)
            had_admin = bool(session.scalar(_admins()))
            if change.role is not None:
                _check_role(change.role)
                row.role = change.role
            if change.teams is not None:
                row.teams = list(_clean_teams(change.teams))
            if change.disabled is not None:
                row.disabled = change.disabled
            if kept is not None:
                row.password = kept
            if change.reset_codes:
                row.totp, row.totp_step, row.recovery = None, None, []
            session.flush()
            if had_admin and not session.scalar(_admins()):
                raise AccountError(
                    "Then nobody could manage accounts any more. Nothing was changed.",
                    "Make somebody else an admin first.",
                )
            return account_of(row)


def login_of(name: str) -> str:
    """The form in which names are compared."""
    return unicodedata.normalize("NFKC", name).strip().casefold()[:LONGEST_NAME]


def _clean_name(name: str) -> str:
    clean = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(clean) <= LONGEST_NAME or not clean.isprintable():
        raise AccountError(
            "The name is empty, too long, or has characters that cannot be shown.",
            f"Give a name of up to {LONGEST_NAME} characters.",
        )
    return clean


def _clean_teams(teams: Sequence[str]) -> tuple[str, ...]:
    clean = tuple(dict.fromkeys(team.strip() for team in teams if team.strip()))
    if len(clean) > MOST_TEAMS or any(len(team) > 64 or not team.isprintable() for team in clean):
        raise AccountError("The teams are not understood.", f"Up to {MOST_TEAMS} names of up to 64 characters.")
    return clean


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise AccountError(f"The role {role[:50]!r} is not known.", f"It is one of: {', '.join(ROLES)}.")


def _free_name(session: Session, name: str) -> str:
    candidate, number = name, 1
    while session.scalar(select(AccountRow.id).where(AccountRow.login == login_of(candidate))) is not None:
        number += 1
        candidate = f"{name[: LONGEST_NAME - 8]}-{number}"
    return candidate


def find_account(session: Session, account: str) -> AccountRow:
    """The row of an account.

    Raises:
        UnknownAccount: there is none of that id.
    """
    row = session.scalar(select(AccountRow).where(AccountRow.id == account)) if len(account) == 36 else None
    if row is None:
        raise UnknownAccount("There is no such account.", "Open the list of accounts again.")
    return row


def _admins() -> Select[int]:
    """How many can manage accounts."""
    return select(func.count()).where(AccountRow.role == "admin", AccountRow.disabled.is_(False))


def account_of(row: AccountRow) -> Account:
    """The account that a row holds."""
    return Account(
        id=row.id,
        name=row.name,
        role=row.role,
        teams=tuple(row.teams),
        has_password=row.password is not None,
        is_foreign=row.subject is not None,
        has_codes=row.totp is not None,
        disabled=row.disabled,
        created_at=row.created_at,
    )
