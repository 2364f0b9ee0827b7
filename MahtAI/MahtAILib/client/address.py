"""Addresses and tokens as people type them, cleaned or refused."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from MahtAILib.client.errors import BadAddressError, WrongTokenError


def clean_url(url: str) -> str:
    """The address without blanks and trailing slashes; ``http://`` is put in front where no scheme is.

    Raises:
        BadAddressError: it cannot be read, or holds a password, a query or a fragment.
    """
    text = url.strip()
    if "://" not in text:
        text = f"http://{text}"
    hint = "Write it like http://127.0.0.1:8391 or https://mahtai.hospital.example."
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadAddressError(f"“{url}” is not a server address.", hint) from error
    if parts.scheme not in ("http", "https") or not host or port == 0 or any(c.isspace() for c in text):
        raise BadAddressError(f"“{url}” is not a server address.", hint)
    if parts.username is not None or parts.query or parts.fragment:
        raise BadAddressError("The server address must hold no password and no question mark.", hint)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Whether a cleaned address is on this computer."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def clean_token(token: str) -> str:
    """The token without the blanks round it.

    Raises:
        WrongTokenError: it holds characters that no token has.
    """
    token = token.strip()
    if not all("!" <= character <= "~" for character in token):
        raise WrongTokenError(
            "The access token holds blanks or characters that no token has.", "Copy it again, the whole line."
        )
    return token
