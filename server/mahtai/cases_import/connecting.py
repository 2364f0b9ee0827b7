"""The way from ``mahtai cases`` to a running server: its address, the token, and whose certificates are trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mahtai.errors import MahtaiError
from mahtai.security import token
from mahtai.security.local_ca import AUTHORITY_FILE
from mahtai.security.tls import certificate_files, own_files
from mahtai.settings import Settings
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import (
    CertificateError,
    ChangedAuthorityError,
    ConnectionLostError,
    RefusedError,
    UnknownAuthorityError,
)

_PATIENCE_S = 120.0
"""For one answer: a busy server looks at the voxels of a whole study before it makes a case."""

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a server listens that listens everywhere → where this computer reaches it."""


class NoServer(MahtaiError):
    """There is nobody to import into."""

    kind = "no-server"
    title = "No server answers"
    status = 503


@dataclass(frozen=True)
class Where:
    """Which server is meant.

    Attributes:
        settings: of this computer's server.
        url: of another one; None for this computer's.
        token_file: None for the token that this computer's server wrote.
        ca_file: the only authority that is trusted (PEM); None for those that the system knows, and for this computer's
            server the one of ``mahtai tls init``.
    """

    settings: Settings
    url: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None

    @property
    def address(self) -> str:
        """With http:// or https://, unless another server's was given without."""
        if self.url is not None:
            return self.url
        host = _ANYWHERE.get(self.settings.host, self.settings.host)
        scheme = "http" if certificate_files(self.settings) is None else "https"
        return f"{scheme}://[{host}]:{self.settings.port}" if ":" in host else f"{scheme}://{host}:{self.settings.port}"

    @property
    def authority(self) -> Path | None:
        """The file of the authority that is trusted; None for those of the system."""
        own = own_files(self.settings.config_dir)
        is_own = self.url is None and certificate_files(self.settings) == own
        made_here = own.certificate.with_name(AUTHORITY_FILE)
        return made_here if self.ca_file is None and is_own and made_here.exists() else self.ca_file


def open_server(where: Where) -> Connection:
    """A connection to a running server.

    Raises:
        NoServer: nothing listens there, there is no token, or its certificate is not trusted.
        ClientError: what answers is no MahtAI server, or does not take the token.
    """
    address, authority = where.address, where.authority
    if where.ca_file is not None and not address.lower().startswith("https://"):
        raise NoServer(
            f"The address {address} does not begin with https://, so no certificate would be looked at. "
            "Nothing was sent.",
            "Write https:// in front of it, or leave --ca-file away.",
        )
    known = _token(where)
    try:
        connection = Connection(
            address, known, read_timeout_s=_PATIENCE_S, ca_file=None if authority is None else str(authority)
        )
    except CertificateError as error:
        raise NoServer(
            f"There is no certificate in {authority}. Nothing was sent.",
            "--ca-file takes the certificate of the server's authority, in PEM.",
        ) from error
    try:
        connection.probe()
    except RefusedError as error:
        raise NoServer(
            f"No server answers at {address}. Nothing was imported.",
            "Start it with: mahtai serve. Then run this again.",
        ) from error
    except (UnknownAuthorityError, ChangedAuthorityError) as error:
        raise _not_trusted(address, authority) from error
    except ConnectionLostError as error:
        if address.lower().startswith("https://"):
            raise
        raise NoServer(
            f"The server at {address} does not answer to a call in clear. Nothing was imported.",
            "If it has a certificate, as one in a hospital has, write https:// in front of its address.",
        ) from error
    return connection


def _token(where: Where) -> str:
    path = where.token_file or where.settings.config_dir / token.FILE_NAME
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        make = "An account's token is made with: mahtai users token NAME --for import"
        if where.token_file is not None:
            why = error.strerror if isinstance(error, OSError) else "it holds no token"
            raise NoServer(f"The token file {path} cannot be read ({why}). Nothing was imported.", make) from error
        raise NoServer(
            f"There is no token in {path}: no server has run for this user yet, or people sign in on it.",
            "Start one with: mahtai serve. For a server on which people sign in, and for another computer's, give "
            f"--server and --token-file. {make}",
        ) from error


def _not_trusted(address: str, authority: Path | None) -> NoServer:
    if authority is None:
        return NoServer(
            f"The certificate of the server at {address} is from an authority that this computer does not know. "
            "Nothing was sent.",
            "Give the authority's certificate with --ca-file. That of `mahtai tls init` is ca.pem on the server; "
            "`mahtai tls show` says there where it lies, and its fingerprint.",
        )
    return NoServer(
        f"The certificate of the server at {address} is not from the authority in {authority}. Nothing was sent.",
        "Compare with the person who runs the server: `mahtai tls show` says there where its authority lies. If it was "
        "not made anew, somebody may stand between you and the server.",
    )
