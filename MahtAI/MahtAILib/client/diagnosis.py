"""From what a socket shows to the typed error that names the cause and the remedy."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import LocationParseError

from MahtAILib.client.certificate_errors import certificate_error
from MahtAILib.client.errors import (
    BadAddressError,
    ClientError,
    ConnectionLostError,
    NotMahtAIError,
    RefusedError,
    TimedOutError,
    UnknownHostError,
    UnreachableError,
)

_NOTHING_LOST = "Nothing was lost."
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL, errno.EACCES}
_WINDOWS_REFUSED = 10061


def explain_failure(error: Exception, url: str, is_pinned: bool = False) -> ClientError:
    """The typed error for a request to ``url`` that got no complete answer.

    Args:
        error: what requests, urllib3 or the socket raised; its causes are searched for the one that tells.
        url: the server's address, for the words.
        is_pinned: whether only the authority that the reader confirmed for this server is trusted.
    """
    causes = list(_causes(error))
    where = where_is(url)
    if isinstance(error, requests.exceptions.InvalidURL | LocationParseError):
        return BadAddressError(f"“{url}” is not a server address.", "Write it like http://127.0.0.1:8391.")
    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in causes):
        return UnreachableError(
            f"The proxy of this network does not let requests through to {where}.",
            "Ask IT to except the server's address from the proxy (NO_PROXY).",
        )
    closed = any(isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError) for cause in causes)
    if not closed and any(isinstance(cause, requests.exceptions.SSLError | ssl.SSLError) for cause in causes):
        return certificate_error(causes, where, is_pinned)
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
        return not_mahtai_at(where, "it does not speak HTTP")
    return ConnectionLostError(
        f"The connection to {where} broke. {_NOTHING_LOST}", "Try again; the server may have been restarted."
    )


def not_mahtai(url: str, observation: str) -> NotMahtAIError:
    """The error for an address where something else answers; ``observation`` ends its sentence."""
    return not_mahtai_at(where_is(url), observation)


def not_mahtai_at(where: str, observation: str) -> NotMahtAIError:
    """Likewise, for a host and port."""
    return NotMahtAIError(
        f"What answers at {where} is not a MahtAI server: {observation}.",
        "Check the server address: the port, and whether it begins with http:// or https://.",
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


def where_is(url: str) -> str:
    """Host and port of an address, without path or anything secret, for the words."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname or url or "another address")
    except ValueError:
        return "this address"
