"""TLS of the server: which certificate it shows, checked at start, and taken up anew when its files change."""

from __future__ import annotations

import logging
import os
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509

from mahtai.errors import MahtaiError
from mahtai.settings import LOOPBACK, Settings

WARN_BEFORE = timedelta(days=30)

CIPHERS_OF_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Those with forward secrecy and authenticated encryption; TLS 1.3 has no others anyway."""

_OTHERS_MAY = 0o027
"""Bits of a key file's mode that let others read it, or the group change it (a group may read, as on Debian)."""

_log = logging.getLogger(__name__)


class CertificateError(MahtaiError):
    """The certificate or its key cannot be used."""

    kind = "certificate"
    title = "The server's certificate cannot be used"
    status = 500


@dataclass(frozen=True)
class CertificateFiles:
    """PEM files: the certificate with those that signed it, and its key."""

    certificate: Path
    key: Path

    @property
    def state(self) -> tuple[tuple[int, int], ...]:
        """Changes when one of them is replaced."""
        stats = (self.certificate.stat(), self.key.stat())
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


def own_files(config_dir: Path) -> CertificateFiles:
    """Where ``mahtai tls init`` puts them."""
    return CertificateFiles(config_dir / "tls" / "server.pem", config_dir / "tls" / "server.key")


def certificate_files(settings: Settings) -> CertificateFiles | None:
    """The files that are set; else, where other computers reach the server, those of ``mahtai tls init``.

    Raises:
        CertificateError: one is set without the other.
    """
    if settings.tls_certificate is not None and settings.tls_key is not None:
        return CertificateFiles(settings.tls_certificate, settings.tls_key)
    if settings.tls_certificate is not None or settings.tls_key is not None:
        raise CertificateError(
            "Only one of MAHTAI_TLS_CERTIFICATE and MAHTAI_TLS_KEY is set.", "Set both: the certificate and its key."
        )
    files = own_files(settings.config_dir)
    return files if settings.host not in LOOPBACK and files.certificate.exists() else None


class Tls:
    """The context for the next connection.

    Args:
        oldest: oldest version that is spoken, ``1.2`` or ``1.3``.

    Raises:
        CertificateError: the files cannot be used; the sentence says why.
    """

    def __init__(self, files: CertificateFiles, oldest: str = "1.3") -> None:
        self._files = files
        self._oldest = oldest
        self._tried = self._state()
        self._context = self._load()

    @property
    def names(self) -> frozenset[str]:
        """Names and addresses for which the certificate stands, in lower case."""
        return self._names

    def context(self) -> ssl.SSLContext:
        """For a connection that begins now; a pair of files that does not fit leaves the last good one in use."""
        state = self._state()
        if state != self._tried:
            self._tried = state
            try:
                self._context = self._load()
                _log.info("the server's certificate was replaced")
            except CertificateError as error:
                _log.warning("the new certificate is not used: %s", error.reason)
        return self._context

    def _state(self) -> tuple[tuple[int, int], ...]:
        try:
            return self._files.state
        except OSError:
            return ()

    def _load(self) -> ssl.SSLContext:
        certificate = checked_certificate(self._files)
        context = server_context(self._files, self._oldest)
        self._names = names_of(certificate)
        return context


def server_context(files: CertificateFiles, oldest: str) -> ssl.SSLContext:
    """A context that speaks TLS 1.3, and 1.2 where that is the oldest, without compression or renegotiation.

    Raises:
        CertificateError: the certificate and the key do not belong together, or cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2 if oldest == "1.2" else ssl.TLSVersion.TLSv1_3
    context.set_ciphers(CIPHERS_OF_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    try:
        # an encrypted key would else ask at the terminal, where nobody sits
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except (ssl.SSLError, ValueError, OSError) as error:
        raise CertificateError(
            f"{files.certificate.name} and {files.key.name} do not belong together, or cannot be read.",
            "Set MAHTAI_TLS_CERTIFICATE and MAHTAI_TLS_KEY to a certificate and its key, in PEM, without a passphrase.",
        ) from error
    return context


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """Names and addresses for which it stands, in lower case."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return frozenset(name.lower() for name in (*names.get_values_for_type(x509.DNSName), *addresses))


def checked_certificate(files: CertificateFiles) -> x509.Certificate:
    """The certificate, if servers and clients can use it today.

    Raises:
        CertificateError: they cannot; the sentence says why.
    """
    try:
        certificate = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
        mode = files.key.stat().st_mode
    except (OSError, ValueError) as error:
        raise CertificateError(
            f"{files.certificate.name} or {files.key.name} cannot be read as a certificate and its key.",
            "Check MAHTAI_TLS_CERTIFICATE and MAHTAI_TLS_KEY, or make them with: mahtai tls init",
        ) from error
    if os.name == "posix" and mode & _OTHERS_MAY:
        raise CertificateError(
            f"Others on this computer can read or change the key {files.key.name}.",
            f"Take that away with: chmod 600 {files.key}",
        )
    now = datetime.now(timezone.utc)
    if certificate.not_valid_after_utc <= now:
        raise CertificateError(
            f"The certificate has expired on {certificate.not_valid_after_utc:%Y-%m-%d}.",
            "Replace it; one made by mahtai tls init is made anew with: mahtai tls renew",
        )
    if certificate.not_valid_before_utc > now:
        raise CertificateError(
            f"The certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC.",
            "Check the clock of this computer.",
        )
    if not names_of(certificate):
        raise CertificateError(
            "The certificate names no host (subject alternative name), so no program would accept it.",
            "Ask those who issued it for one with the name of this server, or use: mahtai tls init",
        )
    if certificate.not_valid_after_utc - now < WARN_BEFORE:
        _log.warning("the certificate expires on %s; replace it", f"{certificate.not_valid_after_utc:%Y-%m-%d}")
    return certificate
