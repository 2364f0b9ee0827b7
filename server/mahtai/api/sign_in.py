"""Signing in and out, and one's own account."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from typing import Annotated

import segno
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from pydantic import Field

from mahtai.api.acting import ActingIn, FromAddress
from mahtai.api.forms import Answer, Form, Identifier, Name, Text
from mahtai.api.openapi import problems
from mahtai.api.services import Called, Services
from mahtai.errors import MahtaiError
from mahtai.security.accounts import Account
from mahtai.security.api_tokens import MOST_DAYS, ApiToken
from mahtai.security.authentication import Principal
from mahtai.security.one_time_codes import uri_of
from mahtai.security.passwords import LONGEST
from mahtai.security.permissions import permissions_of
from mahtai.security.sessions import SignedIn

SIGNING_IN = 4
"""At once. They have threads of their own, because a password takes a while to check, and nobody else shall wait."""

MOST_WAITING = 64

router = APIRouter(prefix="/v1", tags=["accounts"])
_threads = CapacityLimiter(SIGNING_IN)

Password = Annotated[Text, Field(min_length=1, max_length=LONGEST)]
Code = Annotated[Text, Field(min_length=1, max_length=32)]


class NoAccounts(MahtaiError):
    """Nobody signs in on this server."""

    kind = "no-accounts"
    title = "This server has no accounts"
    status = 409


class TooManyAtOnce(MahtaiError):
    """More people sign in than can be checked."""

    kind = "too-many-requests"
    title = "Too many requests"
    status = 429


class NoSession(MahtaiError):
    """What is only for people who signed in was asked for with another token."""

    kind = "no-session"
    title = "Sign in for this"
    status = 403


class SignInIn(Form):
    """Who wants in."""

    name: Name
    password: Password
    code: Code | None = Field(None, description="Of the authenticator app, or a recovery code.")


class RefreshIn(Form):
    """The token that renews a session."""

    refresh_token: Annotated[Text, Field(min_length=1, max_length=200)]


class AccountOut(Answer):
    """An account and what it may do."""

    id: str | None
    name: str
    role: str
    teams: list[str]
    permissions: list[str]
    has_codes: bool = False
    session_ends_in_s: int | None = Field(None, description="If nothing more is heard; None without a session.")

    @classmethod
    def of(cls, account: Account) -> AccountOut:
        """With all that its role allows."""
        return cls(
            id=account.id,
            name=account.name,
            role=account.role,
            teams=list(account.teams),
            permissions=sorted(permissions_of(account.role)),
            has_codes=account.has_codes,
            session_ends_in_s=None,
        )


class SignedInOut(Answer):
    """A session. The access token goes with each request, the refresh token gives the next pair and is then void."""

    access_token: str
    expires_in_s: int
    refresh_token: str
    idle_s: int = Field(description="The session ends when nothing was heard of its holder for so long.")
    account: AccountOut
    must_enrol: bool = Field(description="Codes have to be set up before anything else is allowed.")

    @classmethod
    def of(cls, session: SignedIn) -> SignedInOut:
        """From the service's view of the session."""
        return cls.model_validate({**vars(session), "account": AccountOut.of(session.account)})


class PasswordIn(Form):
    """A new password."""

    old: Password
    new: Password


class OwnPasswordIn(Form):
    """That it is still the same person."""

    password: Password


class CodesOut(Answer):
    """What an authenticator app needs. Nothing is wanted until a code of it was shown."""

    secret: str
    uri: str
    qr_svg: str


class FirstCodeIn(Form):
    """The secret that was given out, and a code that the app made of it."""

    secret: Annotated[Text, Field(pattern=r"^[A-Z2-7]{32}$")]
    code: Code


class RecoveryOut(Answer):
    """To be written down: each lets in once without the app."""

    recovery_codes: list[str]


class DropCodesIn(Form):
    """Password and code, to want no code any more."""

    password: Password
    code: Code


class TokenIn(Form):
    """A token to make for a program."""

    name: Name
    scopes: list[Identifier] | None = Field(None, max_length=50, description="Permissions; all of one's own if null.")
    days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = 90


class TokenOut(Answer):
    """A token, without the token."""

    id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


class NewTokenOut(TokenOut):
    """A token, shown this once."""

    token: str

    @classmethod
    def of_new(cls, made: ApiToken, token: str) -> NewTokenOut:
        """From the service's view of it."""
        return cls.model_validate({**vars(made), "token": token})


class TokensOut(Answer):
    """One's tokens."""

    tokens: list[TokenOut]


@router.post("/sign-in", responses=problems(401, 409, 422, 429))
async def sign_in(wanted: SignInIn, request: Request, services: Called, address: FromAddress) -> SignedInOut:
    """Begin a session with name, password and, where one is set up, a code."""
    _require_accounts(services)
    if _threads.statistics().tasks_waiting >= MOST_WAITING:
        raise TooManyAtOnce("Very many people sign in at this moment. Nobody was let in.", "Try again in a minute.")

    def checked() -> SignedInOut:
        # only the name of an account goes on record: what else is typed there may be a password
        request.scope["mahtai.claimed"] = services.people.accounts.known_name(wanted.name)
        account = services.people.signing_in.check(wanted.name, wanted.password, wanted.code, address)
        return SignedInOut.of(services.people.sessions.open(account, address))

    return await to_thread.run_sync(checked, limiter=_threads)


@router.post("/sign-in/refresh", responses=problems(401, 409, 422, 429))
def refresh(wanted: RefreshIn, services: Called) -> SignedInOut:
    """The next access token. This does not count as work: a session that idles still ends."""
    _require_accounts(services)
    return SignedInOut.of(services.people.sessions.refresh(wanted.refresh_token))


@router.delete("/session", status_code=204, responses=problems(401, 403, 409))
def sign_out(services: Called, acting: ActingIn) -> None:
    """End the session."""
    services.people.sessions.end(_session(acting))


@router.get("/account", responses=problems(401))
def own_account(services: Called, acting: ActingIn) -> AccountOut:
    """Who one is, and what one may do."""
    person = acting.person
    account = None if person.account is None else services.people.accounts.get(person.account)
    return AccountOut(
        id=person.account,
        name=person.name,
        role=person.role,
        teams=list(person.teams),
        permissions=sorted(person.permissions),
        has_codes=account is not None and account.has_codes,
        session_ends_in_s=None if acting.session is None else services.people.sessions.seconds_left(acting.session),
    )


@router.put("/account/password", status_code=204, responses=problems(401, 403, 409, 422, 429))
def change_password(wanted: PasswordIn, services: Called, acting: ActingIn, address: FromAddress) -> None:
    """Change one's password; other sessions and all tokens of one's own end: somebody else may have made them."""
    account, session = _account(acting), _session(acting)
    services.people.signing_in.set_password(account, wanted.old, wanted.new, address)
    services.people.sign_out_everywhere(account, "password changed", but=session)


@router.post("/account/codes", responses=problems(401, 403, 409, 422, 429))
def begin_codes(wanted: OwnPasswordIn, services: Called, acting: ActingIn, address: FromAddress) -> CodesOut:
    """A new secret for an authenticator app."""
    secret = services.people.signing_in.begin_codes(_account(acting), _session(acting), wanted.password, address)
    uri = uri_of(secret, acting.person.name)
    picture = BytesIO()
    segno.make(uri, error="m").save(picture, kind="svg", scale=5, xmldecl=False)
    return CodesOut(secret=secret, uri=uri, qr_svg=picture.getvalue().decode())


@router.put("/account/codes", responses=problems(401, 403, 409, 422))
def finish_codes(wanted: FirstCodeIn, services: Called, acting: ActingIn) -> RecoveryOut:
    """Show a code of the app: from now on one is wanted with each sign-in."""
    session = _session(acting)
    recovery = services.people.signing_in.finish_codes(_account(acting), session, wanted.secret, wanted.code)
    services.people.sessions.enrolled(session)
    return RecoveryOut(recovery_codes=list(recovery))


@router.delete("/account/codes", status_code=204, responses=problems(401, 403, 409, 422, 429))
def drop_codes(wanted: DropCodesIn, services: Called, acting: ActingIn, address: FromAddress) -> None:
    """Want no code any more."""
    _session(acting)
    services.people.signing_in.drop_codes(_account(acting), wanted.password, wanted.code, address)


@router.get("/account/tokens", responses=problems(401, 403, 409))
def list_tokens(services: Called, acting: ActingIn) -> TokensOut:
    """One's tokens for programs."""
    theirs = services.people.api_tokens.list(_account(acting))
    return TokensOut(tokens=[TokenOut.model_validate(each) for each in theirs])


@router.post("/account/tokens", status_code=201, responses=problems(401, 403, 409, 422))
def make_token(wanted: TokenIn, services: Called, acting: ActingIn) -> NewTokenOut:
    """Make a token for a program. It is shown once, and can never do more than its maker."""
    _session(acting)  # a token cannot make another one, or it would never end
    people = services.people
    account = people.accounts.get(_account(acting))
    made, token = people.api_tokens.make(account, acting.person.permissions, wanted.name, wanted.scopes, wanted.days)
    return NewTokenOut.of_new(made, token)


@router.delete("/account/tokens/{token}", status_code=204, responses=problems(401, 403, 404, 409))
def revoke_token(token: str, request: Request, services: Called, acting: ActingIn) -> None:
    """End a token of one's own; `token` is its id, or the token itself."""
    revoked = services.people.api_tokens.revoke(_account(acting), token)
    request.scope["mahtai.object"] = f"token/{revoked}"  # the token itself must not come on record


def _require_accounts(services: Services) -> None:
    if "password" not in services.people.authentication.ways:
        raise NoAccounts(
            "Nobody signs in on this server: it is for one computer.", "Use the token of its settings folder."
        )


def _account(acting: Principal) -> str:
    if acting.person.account is None:
        raise NoAccounts(
            "Nobody signs in on this server: it is for one computer.", "Use the token of its settings folder."
        )
    return acting.person.account


def _session(acting: Principal) -> str:
    _account(acting)
    if acting.session is None:
        raise NoSession("This is only for somebody who has signed in, not for a token.", "Sign in, then try again.")
    return acting.session
