"""What the tests of the hospital's sign-in share: the settings, the browser, the program on the reader's computer."""

from __future__ import annotations

import datetime
import ipaddress
import secrets
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from issuer import CLIENT, SECRET, FakeIssuer, s256

LISTENS = "http://127.0.0.1:49152/mahtai"
CALLBACK = "/v1/sign-in/hospital/callback"
ROLES = "chief=admin,radiology=radiologist,staff=viewer"


@dataclass
class Program:
    """The program that wants to sign somebody in."""

    redirect: str = LISTENS
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def begins(self) -> dict[str, str]:
        """The query with which it opens the browser."""
        return {"redirect": self.redirect, "challenge": s256(self.verifier), "state": self.state}

    def code_in(self, address: str) -> str:
        """The code that it gets, if what comes back is for it."""
        assert address.startswith(f"{self.redirect}?"), address
        query = parameters(address)
        assert query.keys() == {"code", "state"}
        assert query["state"] == self.state
        return query["code"]


def parameters(address: str) -> dict[str, str]:
    """The query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def at_the_issuer(address: str, trust: Path | None = None) -> dict[str, str]:
    """What the browser comes back with, whom the server sent there."""
    answer = httpx.get(address, verify=ssl.create_default_context(cafile=trust), trust_env=False)
    assert answer.status_code == 302, answer.text
    assert urlsplit(answer.headers["location"]).path == CALLBACK
    return parameters(answer.headers["location"])


def environment(issuer: FakeIssuer, folder: Path, callback: str, **more: str) -> dict[str, str]:
    """``MAHTAI_*`` of a server that knows the issuer, without the prefix."""
    secret = folder / "issuer-secret"
    secret.write_text(f"{SECRET}\n", encoding="utf-8")
    return {
        "accounts": "on",
        "oidc_issuer": issuer.url,
        "oidc_client": CLIENT,
        "oidc_secret_file": str(secret),
        "oidc_redirect": callback,
        "oidc_roles": ROLES,
        **more,
    }


def begin_address(server: str, program: Program) -> str:
    """What the program opens in the browser."""
    return f"{server}/v1/sign-in/hospital?{urlencode(program.begins)}"


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody signed, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer of the tests")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    places = folder / "issuer.pem", folder / "issuer.key"
    places[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    places[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return places
