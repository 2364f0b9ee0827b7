"""Signing in with the hospital's own sign-in: two pages that the browser passes through, and the call that ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from anyio import CapacityLimiter, fail_after, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import Field

from mahtai.api.acting import FromAddress
from mahtai.api.forms import Form, Text
from mahtai.api.openapi import problems
from mahtai.api.pages import HEADERS, problem_page
from mahtai.api.services import Called, Services
from mahtai.api.sign_in import SignedInOut
from mahtai.errors import MahtaiError
from mahtai.security.oidc import HospitalSignIn, IssuerUnavailable, NoRole, NotSetUp, WrongRequest

CONVERSATIONS = 8
"""With the issuer at once. They have threads of their own: an issuer that is slow holds up nobody else's requests."""

LONGEST_WAIT_S = 20.0
_PAGES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": "A page that says what went wrong.",
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
    for status in (400, 401, 403, 404, 502)
}

router = APIRouter(prefix="/v1/sign-in/hospital", tags=["accounts"])
_threads = CapacityLimiter(CONVERSATIONS)


class RedeemIn(Form):
    """What shows that it is the program that began to sign in."""

    code: Annotated[Text, Field(min_length=1, max_length=200)]
    verifier: Annotated[Text, Field(min_length=43, max_length=128, description="Of PKCE (RFC 7636).")]


@router.get("", status_code=302, response_class=RedirectResponse, responses=_PAGES)
async def begin(services: Called, redirect: str = "", challenge: str = "", state: str = "") -> Response:
    """Send the browser to the hospital's own sign-in. It comes back to `redirect` with `code` and `state`.

    `redirect` is where the program listens: plain HTTP at 127.0.0.1 or [::1], with a port. `challenge` is PKCE's, with
    S256 (RFC 7636). The way is that of RFC 8252.
    """
    return await _page(lambda: _hospital(services).begin(redirect, challenge, state))


@router.get("/callback", status_code=302, response_class=RedirectResponse, responses=_PAGES)
async def finish(request: Request, services: Called) -> Response:
    """Take the browser back from the hospital's sign-in, and send it on to the program with a code."""

    def come_back() -> str:
        given = request.query_params.multi_items()
        if len({name for name, _ in given}) != len(given):
            raise WrongRequest("The address holds something twice.", "Begin to sign in again in 3D Slicer.")
        try:
            address, account = _hospital(services).finish(dict(given))
        except NoRole as error:
            if error.account is not None:  # who had a role before loses what they have open
                request.scope["mahtai.claimed"] = error.account.name
                services.people.sign_out_everywhere(error.account.id, "no role any more")
            raise
        request.scope["mahtai.claimed"] = account.name
        return address

    return await _page(come_back)


@router.post("", responses=problems(400, 401, 404, 422))
def redeem(wanted: RedeemIn, request: Request, services: Called, address: FromAddress) -> SignedInOut:
    """Begin a session with the code that came back. It can be used once, within a minute."""
    account = _hospital(services).redeem(wanted.code, wanted.verifier)
    request.scope["mahtai.claimed"] = account.name
    return SignedInOut.of(services.people.sessions.open(account, address))


def _hospital(services: Services) -> HospitalSignIn:
    if services.people.hospital is None:
        raise NotSetUp("This server does not know the hospital's own sign-in.", "Sign in with name and password.")
    return services.people.hospital


async def _page(address_of_next: Callable[[], str]) -> Response:
    """On to the next address; or a page that says why not, because a browser shows it."""
    try:
        try:
            with fail_after(LONGEST_WAIT_S):
                address = await to_thread.run_sync(address_of_next, limiter=_threads)
        except TimeoutError as error:
            raise IssuerUnavailable("Too many people sign in at this moment.", "Try again in a minute.") from error
    except MahtaiError as error:
        return problem_page(error)
    return RedirectResponse(address, 302, headers=HEADERS)
