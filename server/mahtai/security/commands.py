"""``mahtai users …``: accounts, managed by whoever may read the server's files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import click

from mahtai.cases.person import ROLES
from mahtai.security.permissions import MEANING, permissions_of


@click.group()
def users() -> None:
    """People who may sign in on this server (MAHTAI_ACCOUNTS=on)."""


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


_TEAMS = click.option("--team", "teams", multiple=True, help="Whose cases they see; may be repeated.")
_STDIN = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


@users.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="radiologist", show_default=True)
@_TEAMS
@_STDIN
@click.option("--no-password", is_flag=True, help="For a program: it uses tokens only (mahtai users token).")
def add(name: str, role: str, teams: tuple[str, ...], password_stdin: bool, no_password: bool) -> None:
    """Make an account. Its name is never given to anybody else."""
    password = None if no_password else _password(password_stdin)
    with _opened("add", "C", is_first=True) as desk:
        made = desk.people.accounts.add(name, role, password, teams)
        desk.object = f"account/{made.id}"
    click.echo(f"{made.name} ({made.role}) may sign in.")


@users.command("list")
def list_users() -> None:
    """All accounts."""
    from mahtai.foundation import open_to_read
    from mahtai.security.accounts import Accounts
    from mahtai.settings import Settings

    _, database = open_to_read(Settings.from_environment())
    with closing(database):
        found = Accounts(database).list()
    if not found:
        click.echo("There is no account yet: mahtai users add NAME --role admin", err=True)
    for account in found:
        ways = [
            word
            for word, is_so in (
                ("password", account.has_password),
                ("codes", account.has_codes),
                ("hospital", account.is_foreign),
                ("DISABLED", account.disabled),
            )
            if is_so
        ]
        teams = f"  teams: {', '.join(account.teams)}" if account.teams else ""
        click.echo(f"{account.name:30} {account.role:12} {', '.join(ways)}{teams}")


@users.command("change")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES))
@_TEAMS
@click.option("--no-team", is_flag=True, help="Of no team any more.")
@click.option("--disable/--enable", default=None, help="Let them in no more; or again.")
@click.option("--reset-codes", is_flag=True, help="Want no code any more, for instance because the phone is lost.")
def change(
    name: str, role: str | None, teams: tuple[str, ...], no_team: bool, disable: bool | None, reset_codes: bool
) -> None:
    """Change an account."""
    from mahtai.security.accounts import AccountChange

    if not (role or teams or no_team or reset_codes or disable is not None):
        raise click.UsageError(
            "Nothing was changed: say what shall be, with --role, --team, --no-team, --disable, --enable or "
            "--reset-codes. A new password is given with: mahtai users password NAME"
        )
    with _opened("change", "U") as desk:
        account = desk.people.accounts.named(name)
        desk.object = f"account/{account.id}"
        wanted_teams = () if no_team else teams or None
        desk.people.accounts.change(account.id, AccountChange(role, wanted_teams, disable, None, reset_codes))
        if disable or reset_codes:
            desk.people.sign_out_everywhere(account.id, "changed by an admin")
    click.echo(f"{account.name} was changed.")


@users.command("password")
@click.argument("name")
@_STDIN
def password(name: str, password_stdin: bool) -> None:
    """Give an account a new password; its sessions and tokens end."""
    from mahtai.security.accounts import AccountChange

    new = _password(password_stdin)
    with _opened("password", "U") as desk:
        account = desk.people.accounts.named(name)
        desk.object = f"account/{account.id}"
        desk.people.accounts.change(account.id, AccountChange(password=new))
        desk.people.sign_out_everywhere(account.id, "password changed")
    click.echo(f"{account.name} has a new password and is signed out.")


@users.command("sign-out")
@click.argument("name")
def sign_out(name: str) -> None:
    """End all sessions and tokens of an account, at once."""
    with _opened("sign-out", "U") as desk:
        account = desk.people.accounts.named(name)
        desk.object = f"account/{account.id}"
        desk.people.sign_out_everywhere(account.id, "ended by an admin")
    click.echo(f"{account.name} is signed out.")


@users.command("token")
@click.argument("name")
@click.option("--for", "purpose", required=True, help="What the token is for, as its list will say.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(list(MEANING)),
    metavar="PERMISSION",
    help="Permission that it is limited to, see mahtai users permissions; may be repeated.",
)
@click.option("--days", default=90, show_default=True, help="1 to 365.")
def token(name: str, purpose: str, scopes: tuple[str, ...], days: int) -> None:
    """Make a token for a program, such as a MONAI Label client. It is shown this once."""
    with _opened("token", "C") as desk:
        account = desk.people.accounts.named(name)
        made, shown = desk.people.api_tokens.make(account, permissions_of(account.role), purpose, scopes or None, days)
        desk.object = f"token/{made.id}"
    click.echo(shown)
    click.echo(f"It lasts until {made.expires_at:%Y-%m-%d} and is not shown again.", err=True)


@users.command("tokens")
@click.argument("name")
def list_tokens(name: str) -> None:
    """The tokens of an account that still work, the newest first."""
    from mahtai.foundation import open_to_read
    from mahtai.security.accounts import Accounts
    from mahtai.security.api_tokens import ApiTokens
    from mahtai.settings import Settings

    settings = Settings.from_environment()
    _, database = open_to_read(settings)
    with closing(database):
        account = Accounts(database).named(name)
        found = ApiTokens(database, settings.oidc_token_days).list(account.id)
    for each in found:
        used = "never used" if each.used_at is None else f"used {each.used_at:%Y-%m-%d}"
        click.echo(f"{each.id}  until {each.expires_at:%Y-%m-%d}  {used:15}  {each.name}: {', '.join(each.scopes)}")
    if not found:
        click.echo(f"{account.name} has no token that works.", err=True)


@users.command("revoke-token")
@click.argument("name")
@click.argument("token")
def revoke_token(name: str, token: str) -> None:
    """End one TOKEN of an account, at once; it is named by its id, as mahtai users tokens lists it."""
    with _opened("revoke-token", "D") as desk:
        account = desk.people.accounts.named(name)
        ended = desk.people.api_tokens.revoke(account.id, token)
        desk.object = f"token/{ended}"
    click.echo(f"The token {ended} of {account.name} lets nobody in any more.")


@users.command("permissions")
def permissions() -> None:
    """Who may do what."""
    allowed = {role: permissions_of(role) for role in ROLES}
    click.echo(" " * 22 + "".join(f"{role:13}" for role in ROLES))
    for name, meaning in MEANING.items():
        marks = "".join(f"{'yes' if name in allowed[role] else '-':13}" for role in ROLES)
        click.echo(f"{name:22}{marks}{meaning}")


class _Desk:
    """What the commands work with; ``object`` is what the record says that it was about."""

    def __init__(self, people: object) -> None:
        from mahtai.security.people import People

        assert isinstance(people, People)
        self.people: People = people
        self.object = ""


@contextmanager
def _opened(what: str, action: str, is_first: bool = False) -> Iterator[_Desk]:
    """The accounts of this server's data folder, and the record of what was done to them.

    Args:
        is_first: whether this may be the first that is done with the folder, which is then made.
    """
    from mahtai.foundation import open_tables, require_data
    from mahtai.security.at_rest.keyring import open_keyring
    from mahtai.security.at_rest.secret_file import load_or_create
    from mahtai.security.audit.operator import command_record
    from mahtai.security.people import SESSION_KEY, open_people
    from mahtai.settings import Settings

    settings = Settings.from_environment(accounts="on")
    if not is_first:
        require_data(settings)
    keyring = open_keyring(settings)
    database = open_tables(settings, keyring)
    try:
        desk = _Desk(open_people(settings, database, load_or_create(settings.secrets_dir / SESSION_KEY, keyring)))
        outcome = "failed"
        with command_record(settings, database, keyring) as note:
            try:
                yield desk
                outcome = "success"
            finally:
                note("administration", action, outcome, desk.object, {"call": f"mahtai users {what}"})
    finally:
        database.close()
