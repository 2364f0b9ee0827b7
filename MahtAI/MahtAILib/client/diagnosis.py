"""From what a socket or an answer shows to the typed error that names the cause and the remedy."""

from __future__ import annotations

import email.utils
import errno
import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import LocationParseError

from MahtAILib.client.errors import (
    BadAddressError,
    BusyError,
    CertificateError,
    ClientError,
    ConnectionLostError,
    ForbiddenError,
    NotMahtAIError,
    RefusedError,
    RequestRefusedError,
    ServerFaultError,
    TimedOutError,
    UnknownHostError,
    UnreachableError,
    WrongTokenError,
)

PROBLEM_TYPE = "application/problem+json"
MAX_PROBLEM_BYTES = 2**16

_NOTHING_LOST = "Nothing was lost."
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL, errno.EACCES}
_WINDOWS_REFUSED = 10061


def explain_failure(error: Exception, url: str) -> ClientError:
    """The typed error for a request to ``url`` that got no complete answer.

    Args:
        error: what requests, urllib3 or the socket raised; its causes are searched for the one that tells.
        url: the server's address, for the words.
    """
    causes = list(_causes(error))
    where = _where(url)
    if isinstance(error, requests.exceptions.InvalidURL | LocationParseError):
        return BadAddressError(f"“{url}” is not a server address.", "Write it like http://127.0.0.1:8391.")
    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in causes):
        return UnreachableError(
            f"The proxy of this network does not let requests through to {where}.",
            "Ask IT to except the server's address from the proxy (NO_PROXY).",
        )
    if any(isinstance(cause, requests.exceptions.SSLError) for cause in causes):
        return _certificate_error(error, where)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        host = urlsplit(url).hostname
        return UnknownHostError(
            f"No computer named “{host}” is known on this network.",
            "Check the spelling of the server address, and that this computer is on the hospital network or VPN.",
        )
    if any(isinstance(cause, ConnectionRefusedError) or _winerror(cause) == _WINDOWS_REFUSED for cause in causes):
        return RefusedError(
            f"No server is running at {where}.",
            "Start the MahtAI server, or check the port in the server address.",
        )
    timed_out = (TimeoutError, requests.exceptions.Timeout)
    if any(isinstance(cause, timed_out) for cause in causes):
        return TimedOutError(
            f"The server at {where} did not answer in time. {_NOTHING_LOST}",
            "Try again. If it stays so, check the network, the firewall and whether the server is still alive.",
        )
    if any(isinstance(cause, OSError) and cause.errno in _NO_WAY for cause in causes):
        return UnreachableError(
            f"This computer has no way through the network to {where}.", "Check the network cable, Wi-Fi or VPN."
        )
    if any(_is_no_http(cause) for cause in causes):
        return _not_mahtai(where, "it does not speak HTTP")
    return ConnectionLostError(
        f"The connection to {where} broke. {_NOTHING_LOST}", "Try again; the server may have been restarted."
    )


def explain_answer(response: requests.Response, body: bytes) -> ClientError | None:
    """The typed error for an HTTP answer, or None where the status says that all is well.

    Args:
        response: its status and headers.
        body: at least the first :data:`MAX_PROBLEM_BYTES` of the answer.
    """
    status = response.status_code
    if 200 <= status < 300:
        return None
    where = _where(response.url or "")
    problem = _problem(response, body)
    reason = _text(problem, "detail") or _text(problem, "title")
    hint = _text(problem, "hint")
    if status == 401:
        return WrongTokenError(
            reason or f"The server at {where} does not accept this access token.",
            hint or "Paste the token again, or ask the person who runs the server for it.",
        )
    if status == 403 and problem:
        return ForbiddenError(reason, hint or "Ask the person who runs the server for the permission.")
    if status in (429, 503):
        return BusyError(
            reason or f"The server at {where} is busy or just starting. {_NOTHING_LOST}",
            hint or "Try again in a minute.",
            retry_after_s(response.headers.get("Retry-After", "")),
        )
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
        kind = _text(problem, "type").rstrip("/").rpartition("/")[2]
        return RequestRefusedError(reason or f"The server refused the request (HTTP {status}).", hint, status, kind)
    if 300 <= status < 400:
        return _not_mahtai(where, f"it sends the request on to {_where(response.headers.get('Location', ''))}")
    return _not_mahtai(where, f"it answers with HTTP {status} in words of its own")


def not_mahtai(url: str, observation: str) -> NotMahtAIError:
    """The error for an address where something else answers; ``observation`` ends its sentence."""
    return _not_mahtai(_where(url), observation)


def retry_after_s(header: str) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date, RFC 9110 10.2.3), or None."""
    if header.strip().isascii() and header.strip().isdigit():
        return float(header[:9])
    moment = email.utils.parsedate_tz(header)
    return max(0.0, email.utils.mktime_tz(moment) - time.time()) if moment else None


def _not_mahtai(where: str, observation: str) -> NotMahtAIError:
    return NotMahtAIError(
        f"What answers at {where} is not a MahtAI server: {observation}.",
        "Check the server address: the port, and whether it begins with http:// or https://.",
    )


def _certificate_error(error: Exception, where: str) -> CertificateError:
    if "WRONG_VERSION_NUMBER" in str(error) or "record layer" in str(error):
        return CertificateError(
            f"The server at {where} does not use encryption, but the address begins with https://.",
            "Write http:// if the server is on this computer; otherwise ask the person who runs it.",
        )
    return CertificateError(
        f"The identity of the server at {where} could not be verified: its certificate is not trusted here.",
        "Ask IT to install the hospital's certificate authority on this computer. Do not send images until then.",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that it was made from; requests and urllib3 nest them in three ways."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = (cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args)
        waiting.extend(candidate for candidate in inner if isinstance(candidate, BaseException))


def _is_no_http(cause: BaseException) -> bool:
    lost = isinstance(cause, http.client.RemoteDisconnected)  # a kind of BadStatusLine, but only a closed connection
    return isinstance(cause, http.client.BadStatusLine | http.client.LineTooLong) and not lost


def _winerror(cause: BaseException) -> int | None:
    return getattr(cause, "winerror", None)


def _where(url: str) -> str:
    """Host and port, without path or anything secret."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname or url or "another address")
    except ValueError:
        return "this address"


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
