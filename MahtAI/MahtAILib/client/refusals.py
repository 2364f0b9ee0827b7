"""From an answer that is no success to the typed error that names the cause and the remedy."""

from __future__ import annotations

import email.utils
import json
import time
from typing import Any

import requests

from MahtAILib.client.diagnosis import not_mahtai_at, where_is
from MahtAILib.client.errors import (
    AccessTokenExpiredError,
    BusyError,
    ClientError,
    CodeWantedError,
    ForbiddenError,
    NotAllowedError,
    RecordError,
    RequestRefusedError,
    ServerFaultError,
    SessionEndedError,
    TooManyAttemptsError,
    TooManyJobsError,
    TooManyRequestsError,
    UnreachableError,
    WrongCodeError,
    WrongCredentialsError,
    WrongTokenError,
)

PROBLEM_TYPE = "application/problem+json"
MAX_PROBLEM_BYTES = 2**16

_NOTHING_LOST = "Nothing was lost."

_KINDS: dict[str, tuple[type[ClientError], str, str]] = {
    kind.kind: (kind, reason, hint)
    for kind, reason, hint in (
        (WrongCredentialsError, "The name or the password is wrong.", "Type both again."),
        (CodeWantedError, "A code of your authenticator app is wanted besides.", "Type it, and sign in again."),
        (WrongCodeError, "The code is wrong, or was used before.", "Wait for the next code of your app."),
        (AccessTokenExpiredError, "The access token has expired.", "Sign in again."),
        (SessionEndedError, f"You are signed out. {_NOTHING_LOST}", "Sign in again; then what waits here is sent."),
        (NotAllowedError, "Your account does not allow this. Nothing was changed.", "Ask whoever manages accounts."),
        (TooManyJobsError, "You have as many jobs under way as you may.", "Wait for one of them, or cancel it."),
    )
}
"""Slug of a problem → its error, with words for a server that sends none."""


def explain_answer(response: requests.Response, body: bytes) -> ClientError | None:
    """The typed error for an HTTP answer, or None where the status says that all is well.

    Args:
        response: its status and headers.
        body: at least the first :data:`MAX_PROBLEM_BYTES` of the answer.
    """
    status = response.status_code
    if 200 <= status < 300:
        return None
    where = where_is(response.url or "")
    problem = _problem(response, body)
    reason = _text(problem, "detail") or _text(problem, "title")
    hint = _text(problem, "hint")
    slug = _text(problem, "type").rstrip("/").rpartition("/")[2]
    if slug in _KINDS:
        kind, own_reason, own_hint = _KINDS[slug]
        return kind(reason or own_reason, hint or own_hint)
    if status == 401:
        return WrongTokenError(
            reason or f"The server at {where} does not accept this access token.",
            hint or "Paste the token again, or ask the person who runs the server for it.",
        )
    if status == 403 and problem:
        return ForbiddenError(reason, hint or "Ask the person who runs the server for the permission.")
    if status in (429, 503):
        return _busy(slug, where, reason, hint, retry_after_s(response.headers.get("Retry-After", "")))
    if status in (502, 504) and not problem:
        return UnreachableError(
            f"A proxy answers at {where}, but the server behind it does not. {_NOTHING_LOST}",
            "Try again in a minute. If it stays so, tell the person who runs the server.",
        )
    if status >= 500:
        return ServerFaultError(
            reason or f"The server at {where} failed (HTTP {status}). {_NOTHING_LOST}",
            hint or "Try again. If it stays so, tell the person who runs the server the time of the failure.",
        )
    if status == 407:
        return UnreachableError("The proxy of this network wants a password.", "Ask IT to except the server's address.")
    if problem:
        return RequestRefusedError(reason or f"The server refused the request (HTTP {status}).", hint, status, slug)
    if 300 <= status < 400:
        return not_mahtai_at(where, f"it sends the request on to {where_is(response.headers.get('Location', ''))}")
    return not_mahtai_at(where, f"it answers with HTTP {status} in words of its own")


def _busy(slug: str, where: str, reason: str, hint: str, wait_s: float | None) -> ClientError:
    """The server does not do it now."""
    if slug == TooManyAttemptsError.kind:
        when = "in a while" if wait_s is None else f"in {max(1, round(wait_s))} seconds"
        return TooManyAttemptsError(
            reason or "Passwords or codes were tried too often.", f"Sign in again {when}.", wait_s
        )
    if slug == RecordError.kind:
        return RecordError(
            reason or f"The server at {where} cannot write its record of who did what, and does nothing until it can.",
            hint or "Go on with your work: what you save is kept on this computer. Tell whoever runs the server.",
            wait_s,
        )
    kind = TooManyRequestsError if slug == TooManyRequestsError.kind else BusyError
    return kind(
        reason or f"The server at {where} is busy or just starting. {_NOTHING_LOST}",
        hint or "Try again in a minute.",
        wait_s,
    )


def retry_after_s(header: str) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date, RFC 9110 10.2.3), or None."""
    if header.strip().isascii() and header.strip().isdigit():
        return float(header[:9])
    moment = email.utils.parsedate_tz(header)
    return max(0.0, email.utils.mktime_tz(moment) - time.time()) if moment else None


def _problem(response: requests.Response, body: bytes) -> dict[str, Any]:
    """The RFC 9457 problem document, or {} if the answer is none."""
    if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() != PROBLEM_TYPE:
        return {}
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _text(problem: dict[str, Any], key: str) -> str:
    value = problem.get(key)
    return value if isinstance(value, str) else ""
