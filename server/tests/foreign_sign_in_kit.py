"""One server's side of the hospital's sign-in, without the server: a real issuer over HTTP, real tables."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from issuer import FakeIssuer
from mahtai.db.engine import Database
from mahtai.db.migrate import upgrade
from mahtai.db.trust_tables import ForeignSignInRow
from mahtai.security.accounts import Account, Accounts
from mahtai.security.oidc import HospitalSignIn, HospitalSignInError
from mahtai.settings import Settings
from oidc_kit import CALLBACK, Program, at_the_issuer, environment

HERE = f"http://127.0.0.1:8391{CALLBACK}"


class Hospital:
    """One server's side, without the server."""

    def __init__(self, issuer: FakeIssuer, folder: Path, database: Database, **more: str) -> None:
        self.issuer = issuer
        self.database = database
        self.accounts = Accounts(database)
        self.settings = Settings.from_environment(
            {f"MAHTAI_{name.upper()}": value for name, value in environment(issuer, folder, HERE, **more).items()}
        )
        sign_in = HospitalSignIn.from_settings(self.settings, database, self.accounts)
        assert sign_in is not None
        self.sign_in = sign_in

    def come_back(self, program: Program) -> dict[str, str]:
        """What the browser comes back with."""
        return at_the_issuer(self.sign_in.begin(**program.begins), self.settings.oidc_ca_file)

    def whole_way(self, program: Program | None = None) -> Account:
        """All of it."""
        program = program or Program()
        address, _ = self.sign_in.finish(self.come_back(program))
        return self.sign_in.redeem(program.code_in(address), program.verifier)

    def rows(self) -> int:
        """How many are awaited."""
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(ForeignSignInRow)) or 0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{(tmp_path / 'tables.sqlite').as_posix()}")
    upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    started = FakeIssuer().start()
    yield started
    started.stop()


@pytest.fixture
def hospital(issuer: FakeIssuer, tmp_path: Path, database: Database) -> Hospital:
    return Hospital(issuer, tmp_path, database)


def refused(hospital: Hospital, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """That the whole way ends with a refusal, for this reason, and leaves neither an account nor anything awaited."""
    before = hospital.accounts.list()
    with caplog.at_level(logging.WARNING), pytest.raises(HospitalSignInError):
        hospital.whole_way()
    assert why in caplog.text
    assert hospital.accounts.list() == before
    assert hospital.rows() == 0
