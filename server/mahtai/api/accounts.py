"""Accounts of others, for those who manage them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from mahtai.api.forms import Answer, Form, Name, Text
from mahtai.api.openapi import problems
from mahtai.api.services import Called
from mahtai.api.sign_in import Password
from mahtai.cases.person import Role
from mahtai.security.accounts import Account, AccountChange

router = APIRouter(prefix="/v1/accounts", tags=["accounts"], responses=problems(401, 403))

Team = Annotated[Text, Field(min_length=1, max_length=64)]


class AccountIn(Form):
    """An account to make."""

    name: Name
    role: Role
    password: Password | None = Field(None, description="None for one that uses tokens only.")
    teams: list[Team] = Field(default_factory=list, max_length=32)


class AccountChangeIn(Form):
    """What is to be different; null leaves it."""

    role: Role | None = None
    teams: list[Team] | None = Field(None, max_length=32)
    disabled: bool | None = None
    password: Password | None = None
    reset_codes: bool = False

    def change(self) -> AccountChange:
        """For the service."""
        teams = None if self.teams is None else tuple(self.teams)
        return AccountChange(self.role, teams, self.disabled, self.password, self.reset_codes)


class ManagedAccountOut(Answer):
    """An account as those see it who manage it."""

    id: str
    name: str
    role: str
    teams: list[str]
    has_password: bool
    is_foreign: bool = Field(description="Signs in at the hospital.")
    has_codes: bool
    disabled: bool
    created_at: datetime

    @classmethod
    def of(cls, account: Account) -> ManagedAccountOut:
        """From the service's view of it."""
        return cls.model_validate({**vars(account), "teams": list(account.teams)})


class AccountsOut(Answer):
    """All accounts, by name."""

    accounts: list[ManagedAccountOut]


@router.get("")
def list_accounts(services: Called) -> AccountsOut:
    """All accounts."""
    return AccountsOut(accounts=[ManagedAccountOut.of(each) for each in services.people.accounts.list()])


@router.post("", status_code=201, responses=problems(409, 422))
def add_account(wanted: AccountIn, services: Called) -> ManagedAccountOut:
    """Make an account. Its name is never given to anybody else."""
    return ManagedAccountOut.of(services.people.accounts.add(wanted.name, wanted.role, wanted.password, wanted.teams))


@router.patch("/{account}", responses=problems(404, 422))
def change_account(account: str, wanted: AccountChangeIn, services: Called) -> ManagedAccountOut:
    """Change an account. A new password, new codes or a disabled account end its sessions."""
    changed = services.people.accounts.change(account, wanted.change())
    if wanted.password is not None or wanted.reset_codes or wanted.disabled:
        services.people.sign_out_everywhere(account, "changed by an admin")
    return ManagedAccountOut.of(changed)


@router.delete("/{account}/sessions", status_code=204, responses=problems(404))
def end_sessions(account: str, services: Called) -> None:
    """Sign somebody out everywhere; their tokens for programs end as well."""
    services.people.sign_out_everywhere(services.people.accounts.get(account).id, "ended by an admin")
