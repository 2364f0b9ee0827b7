"""Certificates that the system does not know: what a server shows, and which authority the reader confirmed for it.

A server with a certificate authority of its own (``mahtai tls init``) is not known to any computer. Its authority is
fetched in a handshake in which nothing is sent, shown once by its fingerprint, and, if the reader says that it is the
right one, kept and trusted for this server alone from then on (trust on first use, with a look). The name in the
certificate is checked all the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from MahtAILib.client.address import clean_url
from MahtAILib.client.diagnosis import explain_failure, where_is
from MahtAILib.client.durable import replace_durably
from MahtAILib.client.errors import CertificateError

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Authority:
    """A certificate authority that stands behind a server's certificate; or that certificate, if it signs itself.

    Attributes:
        pem: the certificate.
        fingerprint: SHA-256 of it, as pairs of hexadecimal digits with colons, the same as ``mahtai tls show`` prints.
    """

    pem: str
    fingerprint: str


def fetch_authority(url: str, timeout_s: float = _TIMEOUT_S) -> Authority:
    """The authority that a server names for its certificate; nothing is sent but a TLS handshake, and nothing trusted.

    Raises:
        CertificateError: trusting it would not help: another name, expired, or the authority was not sent along.
        ClientError: the server does not answer.
    """
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE  # nothing is sent over it, and nothing that it shows is believed
    chain = _shake_hands(url, unverified, timeout_s)
    if not chain:
        raise _not_sent(url)
    der = chain[-1]
    authority = Authority(ssl.DER_cert_to_PEM_cert(der), fingerprint_of(der))
    trusting = ssl.create_default_context(cadata=authority.pem)
    try:
        _shake_hands(url, trusting, timeout_s)
    except CertificateError as error:
        if error.kind == "unknown-authority":
            raise _not_sent(url) from error
        raise
    return authority


def fingerprint_of(der: bytes) -> str:
    """SHA-256 of a certificate, as people compare it."""
    digits = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))


class Pins:
    """The authorities that the reader confirmed: a folder with one file a server.

    Args:
        folder: made when it is needed, readable by its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ca_file(self, url: str) -> str | None:
        """The file with the authority of a server; None where none was confirmed."""
        path = self._path(url)
        return str(path) if path.is_file() else None

    def fingerprint(self, url: str) -> str:
        """Of the authority of a server; empty where none was confirmed."""
        try:
            return fingerprint_of(ssl.PEM_cert_to_DER_cert(self._path(url).read_text(encoding="ascii")))
        except (OSError, ValueError):
            return ""

    def pin(self, url: str, authority: Authority) -> None:
        """Trust this authority, and no other, for this server from now on.

        Raises:
            CertificateError: it could not be kept.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_durably(self._path(url), authority.pem.encode("ascii"))
        except OSError as error:
            raise CertificateError(
                f"The certificate could not be kept on this computer ({error.strerror or error}). Nothing was sent.",
                "Free some space, then connect again.",
            ) from error

    def forget(self, url: str) -> None:
        """Trust it no more; the next time the reader is asked again."""
        with suppress(FileNotFoundError):
            os.unlink(self._path(url))

    def _path(self, url: str) -> Path:
        parts = urlsplit(clean_url(url))
        host = re.sub(r"[^a-z0-9.-]", "_", parts.hostname or "")
        return self._folder / f"{host}-{parts.port or (443 if parts.scheme == 'https' else 80)}.pem"


def _shake_hands(url: str, context: ssl.SSLContext, timeout_s: float) -> list[bytes]:
    """A handshake and no more; the certificates that the server showed, its own first, as DER."""
    parts = urlsplit(url)
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as encrypted,
        ):
            return _unverified_chain(encrypted)
    except OSError as error:
        raise explain_failure(error, url) from error


def _unverified_chain(encrypted: Any) -> list[bytes]:
    if hasattr(encrypted, "get_unverified_chain"):  # Python 3.13 and later
        return [bytes(der) for der in encrypted.get_unverified_chain()]
    # before that the socket does not hand it on
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in encrypted._sslobj.get_unverified_chain() or ()]


def _not_sent(url: str) -> CertificateError:
    return CertificateError(
        f"The server at {where_is(url)} does not show the authority that made its certificate, so that it cannot be "
        "compared. Nothing was sent.",
        "Ask IT to install the hospital's certificate authority on this computer, or the person who runs the server to "
        "send it along.",
    )
