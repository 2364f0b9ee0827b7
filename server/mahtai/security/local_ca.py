"""A certificate authority of the server's own, for where the hospital has none: made once, trusted by fingerprint."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mahtai.security.tls import CertificateError, names_of, own_files
from mahtai.volumes.durable import write_whole

AUTHORITY_FILE = "ca.pem"
CA_DAYS = 3650

_CLOCKS_DIFFER = timedelta(hours=1)
_SIGNS = {"key_cert_sign", "crl_sign"}
_IS_SERVER = {"digital_signature"}
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class LocalCa:
    """The authority and the server's certificate in a folder.

    ``ca.pem``, ``ca.key``, ``server.pem`` (the server's certificate, then the authority's, so that a client can show
    the authority before it is trusted) and ``server.key``.
    """

    folder: Path

    def make(self, names: Iterable[str], days: int, passphrase: str | None = None, keep_key: bool = True) -> None:
        """Make the authority and the certificate; the authority may sign for these host names only.

        Raises:
            CertificateError: there is one already, or a name cannot be used.
        """
        if (self.folder / AUTHORITY_FILE).exists():
            raise CertificateError(
                "There is a local authority already; nothing was changed.",
                "Renew the server's certificate with mahtai tls renew. To begin anew, move the folder "
                f"{self.folder} away first; every client then has to accept the new fingerprint.",
            )
        alternatives = [_general_name(name) for name in dict.fromkeys(names)]
        key = ec.generate_private_key(ec.SECP256R1())
        authority = _authority(key, alternatives)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if keep_key:
            sealing = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
            write_whole(self.folder / "ca.key", _pem(key, sealing))
        self._issue(authority, key, alternatives, days)
        write_whole(self.folder / AUTHORITY_FILE, authority.public_bytes(Encoding.PEM))

    def renew(self, days: int, passphrase: str | None = None) -> None:
        """Make a new certificate for the same names; clients notice nothing.

        Raises:
            CertificateError: the authority is not there, or its key cannot be opened.
        """
        authority = self.authority()
        try:
            key = load_pem_private_key(
                (self.folder / "ca.key").read_bytes(), passphrase.encode() if passphrase else None
            )
        except FileNotFoundError as error:
            raise CertificateError(
                "The authority's key is not here, so it cannot sign anything more.",
                f"Put ca.key back into {self.folder}, or move the folder away and run mahtai tls init.",
            ) from error
        except (ValueError, TypeError) as error:
            raise CertificateError(
                "The authority's key cannot be opened; nothing was changed.",
                "Give its passphrase: mahtai tls renew --passphrase",
            ) from error
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._issue(authority, key, [_general_name(name) for name in sorted(names_of(self.certificate()))], days)

    def authority(self) -> x509.Certificate:
        """The authority's certificate.

        Raises:
            CertificateError: there is none.
        """
        try:
            return x509.load_pem_x509_certificate((self.folder / AUTHORITY_FILE).read_bytes())
        except (OSError, ValueError) as error:
            raise CertificateError(
                f"There is no local authority in {self.folder}.",
                "Make one with: mahtai tls init. If there is one, set MAHTAI_CONFIG_DIR as the server has it.",
            ) from error

    def certificate(self) -> x509.Certificate:
        """The server's certificate.

        Raises:
            CertificateError: there is none.
        """
        file = own_files(self.folder.parent).certificate
        try:
            return x509.load_pem_x509_certificates(file.read_bytes())[0]
        except (OSError, ValueError) as error:
            raise CertificateError(
                f"There is no certificate in {file}, though there is an authority.",
                f"Put {file.name} back, or move the folder {self.folder} away and run mahtai tls init; every client "
                "then has to accept the new fingerprint.",
            ) from error

    def _issue(
        self,
        authority: x509.Certificate,
        ca_key: ec.EllipticCurvePrivateKey,
        alternatives: list[x509.GeneralName],
        days: int,
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "MahtAI server")])
        builder = (
            _builder(name, authority.subject, key, min(_now() + timedelta(days=days), authority.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(_IS_SERVER), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        leaf = builder.sign(ca_key, hashes.SHA256())
        # a server that runs takes the pair when both are there, and keeps the old one until then
        write_whole(self.folder / "server.key", _pem(key, NoEncryption()))
        write_whole(
            self.folder / "server.pem",
            leaf.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM),
        )


def own_names() -> list[str]:
    """How this computer is called, and its addresses."""
    host = socket.gethostname().lower()
    names = ["localhost", "127.0.0.1", "::1", host, socket.getfqdn().lower()]
    with contextlib.suppress(OSError):
        names += [str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(host, None)]
    return [name for name in dict.fromkeys(names) if _is_name(name)]


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 as pairs of hexadecimal digits with colons, as the panel shows it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _authority(key: ec.EllipticCurvePrivateKey, alternatives: list[x509.GeneralName]) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"MahtAI on {socket.gethostname()}"[:64])])
    hosts = [alternative for alternative in alternatives if isinstance(alternative, x509.DNSName)]
    builder = (
        _builder(name, name, key, _now() + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(_SIGNS), critical=True)
    )
    if hosts:  # addresses stay free, as they change
        builder = builder.add_extension(x509.NameConstraints(hosts, None), critical=True)
    return builder.sign(key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _CLOCKS_DIFFER)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(wanted: set[str]) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in wanted for usage in _USAGES})


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _is_name(name: str) -> bool:
    try:
        _general_name(name)
    except CertificateError:
        return False
    return True


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    labels = name.lower().rstrip(".").split(".")
    if len(name) > 253 or not all(
        label.isascii() and label.replace("-", "").isalnum() and len(label) < 64 for label in labels
    ):
        raise CertificateError(
            f"{name[:80]!r} is no host name or address.", "Give names such as mahtai.hospital.example."
        )
    return x509.DNSName(".".join(labels))


def _pem(key: ec.EllipticCurvePrivateKey, sealing: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealing)
