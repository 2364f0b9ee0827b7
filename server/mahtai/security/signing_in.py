"""Showing who one is: password and codes, with the pace of guesses held down."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from mahtai.db.engine import Database
from mahtai.db.trust_tables import AccountRow
from mahtai.errors import MahtaiError
from mahtai.security import one_time_codes, passwords
from mahtai.security.accounts import Account, AccountChange, Accounts, account_of, find_account, login_of
from mahtai.security.guessing import Guessing


class SignInRefused(MahtaiError):
    """Whoever wants in has not shown who they are."""

    kind = "wrong-credentials"
    title = "Signing in failed"
    status = 401


class WrongCredentials(SignInRefused):
    """The name or the password is wrong, or the account is disabled; which of them is not told."""


class CodeWanted(SignInRefused):
    """The password is right, and a code is wanted besides."""

    kind = "code-wanted"


class WrongCode(SignInRefused):
    """The code is wrong, or was used before."""

    kind = "wrong-code"


class CodesThere(MahtaiError):
    """A second set of codes is not set up over the first."""

    kind = "codes-there"
    title = "Codes are set up already"
    status = 409


class SigningIn:
    """Checks passwords and codes.

    Args:
        key: of this server, by which it knows the secrets of codes that it gave out.
    """

    def __init__(self, database: Database, accounts: Accounts, key: bytes) -> None:
        self._database = database
        self._key = key
        self._accounts = accounts
        self._guessing = Guessing(database)

    def check(self, name: str, password: str, code: str | None, address: str) -> Account:
        """Check who wants in.

        Raises:
            TooManyAttempts: nothing was checked.
            WrongCredentials, CodeWanted, WrongCode: they are not let in.
        """
        login = login_of(name)
        with self._database.read() as session:
            row = session.scalar(select(AccountRow).where(AccountRow.login == login))
        attempt = self._guessing.count(login, address, None if row is None else row.id)
        right = passwords.is_right(password, None if row is None else row.password)
        if row is None or not right or row.disabled:
            raise _refused()
        if row.totp is not None:
            if not code:
                # the password was right: to be asked for the code is no failure
                self._guessing.forget(attempt, wholly=False)
                raise CodeWanted("A code of your authenticator app is wanted besides.", "Type it, and sign in again.")
            self._use_code(row.id, code)
        self._guessing.forget(attempt)
        if row.password is not None and passwords.is_outdated(row.password):
            self._rehash(row.id, password)
        return account_of(row)

    def set_password(self, account: str, old: str, new: str, address: str) -> None:
        """Change one's own password.

        Raises:
            TooManyAttempts, WrongCredentials, WeakPassword: nothing was changed.
        """
        login = self._confirm(account, old, address)
        passwords.check_new(new, login)
        self._rehash(account, new)

    def begin_codes(self, account: str, session: str, password: str, address: str) -> str:
        """A secret for an authenticator app; nothing is kept of it until a code of it was shown (``finish_codes``).

        Args:
            session: in which it has to be shown.

        Raises:
            TooManyAttempts, WrongCredentials: it is not they.
            CodesThere: the codes that there are have to be dropped first.
        """
        self._refuse_second(account)
        self._confirm(account, password, address)
        return one_time_codes.new_secret(self._key, f"{account} {session}")

    def finish_codes(self, account: str, session: str, secret: str, code: str) -> Sequence[str]:
        """Want a code with each sign-in from now on.

        Returns:
            Recovery codes, which are shown this once.

        Raises:
            WrongCode: nothing was changed.
            CodesThere: the codes that there are have to be dropped first.
        """
        self._refuse_second(account)
        given_out = one_time_codes.is_given_out(secret, self._key, f"{account} {session}")
        step = one_time_codes.step_of(code, secret, None) if given_out else None
        if step is None:
            raise _wrong_code()
        recovery = one_time_codes.new_recovery_codes()
        with self._database.write() as opened:
            row = find_account(opened, account)
            row.totp, row.totp_step = secret, step
            row.recovery = [one_time_codes.hash_recovery_code(each) for each in recovery]
        return recovery

    def drop_codes(self, account: str, password: str, code: str, address: str) -> None:
        """Want no code any more.

        Raises:
            TooManyAttempts, WrongCredentials, WrongCode: nothing was changed.
        """
        self._confirm(account, password, address, code)
        self._accounts.change(account, AccountChange(reset_codes=True))

    def _refuse_second(self, account: str) -> None:
        if self._accounts.get(account).has_codes:
            raise CodesThere("Codes are set up already. Nothing was changed.", "Drop them first, with one of them.")

    def _confirm(self, account: str, password: str, address: str, code: str | None = None) -> str:
        """Whether somebody who is signed in is still the same; their login."""
        with self._database.read() as session:
            row = find_account(session, account)
        attempt = self._guessing.count(row.login, address, row.id)
        if not passwords.is_right(password, row.password):
            raise WrongCredentials("The password is wrong. Nothing was changed.", "Type it again.")
        if code is not None:
            self._use_code(account, code)
        self._guessing.forget(attempt)
        return row.login

    def _use_code(self, account: str, code: str) -> None:
        """Take a code, once: the row is written in the same transaction in which it was read."""
        with self._database.write() as session:
            row = find_account(session, account)
            if row.totp is None:
                return
            step = one_time_codes.step_of(code, row.totp, row.totp_step)
            hashed = one_time_codes.hash_recovery_code(code)
            if step is not None:
                row.totp_step = step
            elif one_time_codes.looks_like_recovery_code(code) and hashed in row.recovery:
                row.recovery = [each for each in row.recovery if each != hashed]
            else:
                raise _wrong_code()

    def _rehash(self, account: str, password: str) -> None:
        kept = passwords.hash_password(password)
        with self._database.write() as session:
            find_account(session, account).password = kept


def _refused() -> WrongCredentials:
    return WrongCredentials("The name or the password is wrong.", "Type both again.")


def _wrong_code() -> WrongCode:
    return WrongCode("The code is wrong, or was used before.", "Wait for the next code of your app, and type that.")
