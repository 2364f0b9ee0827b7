"""TLS as a client meets it: a real server, its local authority, wrong names, old versions, renewal."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mahtai.cli import main
from mahtai.security.local_ca import LocalCa, fingerprint
from mahtai.security.tls import CertificateError, Tls, own_files
from server_process import ServerProcess
from tls_kit import TlsServerProcess, mahtai


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[TlsServerProcess]:
    process = TlsServerProcess(tmp_path_factory.mktemp("tls"), (models,)).make_certificate("--name", "mahtai.example")
    process.start()
    yield process
    process.kill()


def handshake(process: ServerProcess, context: ssl.SSLContext, name: str = "127.0.0.1") -> ssl.SSLSocket:
    """A connection whose handshake is done."""
    return context.wrap_socket(socket.create_connection(("127.0.0.1", process.port), 10), server_hostname=name)


def test_a_client_that_trusts_the_authority_works(secure: TlsServerProcess) -> None:
    with secure.client() as client:
        assert client.get("/v1/models").status_code == 200
        assert client.get("/healthz").headers["strict-transport-security"].startswith("max-age=")
    ca = str(secure.root / "config" / "tls" / "ca.pem")
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(f"{secure.url}/healthz", verify=ca, timeout=10).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            session.get(f"{secure.url}/healthz", timeout=10)


def test_it_speaks_1_3_and_nothing_older(secure: TlsServerProcess) -> None:
    with handshake(secure, secure.trust()) as connection:
        assert connection.version() == "TLSv1.3"
        assert connection.compression() is None
    older = secure.trust()
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(secure, older)


def test_the_names_are_those_of_the_certificate(secure: TlsServerProcess) -> None:
    for name in ("localhost", "mahtai.example"):
        handshake(secure, secure.trust(), name).close()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(secure, secure.trust(), "other.example")


def test_the_authority_comes_with_the_chain_and_its_fingerprint_is_shown(secure: TlsServerProcess) -> None:
    ca = LocalCa(secure.root / "config" / "tls").authority()
    assert fingerprint(ca) in mahtai(secure, "tls", "show")
    chain = x509.load_pem_x509_certificates((secure.root / "config" / "tls" / "server.pem").read_bytes())
    assert chain[1] == ca
    said = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{secure.port}", "-showcerts"],
        input="", capture_output=True, encoding="utf-8", timeout=30, check=False,
    ).stdout  # fmt: skip
    assert said.count("BEGIN CERTIFICATE") >= 2
    assert ca.public_bytes(Encoding.PEM).decode().splitlines()[3] in said


def test_plain_http_gets_nothing(secure: TlsServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), 10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionError):  # cut at once is as good
            assert b"HTTP" not in connection.recv(1000)


def test_a_renewed_certificate_is_shown_without_a_restart(secure: TlsServerProcess) -> None:
    def serial() -> int:
        with handshake(secure, secure.trust()) as connection:
            der = connection.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number

    before = serial()
    mahtai(secure, "tls", "renew")
    assert serial() != before
    with secure.client() as client:
        assert client.get("/healthz").status_code == 200


def test_1_2_is_spoken_where_it_is_asked_for(tmp_path: Path, models: Path) -> None:
    process = TlsServerProcess(tmp_path, (models,), {"tls_oldest": "1.2"}).make_certificate().start()
    try:
        context = process.trust()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with handshake(process, context) as connection:
            cipher = connection.cipher()
        assert cipher is not None
        assert cipher[0].startswith("ECDHE-")
        assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]
        context.set_ciphers("ECDHE+AES:!AESGCM:!AESCCM")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(process, context)
    finally:
        process.kill()


@pytest.fixture
def ca(tmp_path: Path) -> LocalCa:
    return LocalCa(tmp_path / "tls")


def test_files_that_cannot_be_used_are_refused_with_the_reason(ca: LocalCa, tmp_path: Path) -> None:
    ca.make(["localhost"], 100)
    files = own_files(tmp_path)
    assert Tls(files).names == {"localhost"}
    if os.name == "posix":
        assert (ca.folder / "ca.key").stat().st_mode & 0o777 == 0o600
        files.key.chmod(0o644)
        with pytest.raises(CertificateError, match="Others on this computer"):
            Tls(files)
        files.key.chmod(0o600)
    files.key.write_bytes((ca.folder / "ca.key").read_bytes())
    with pytest.raises(CertificateError, match="do not belong together"):
        Tls(files)
    files.certificate.write_text("nothing", encoding="utf-8")
    with pytest.raises(CertificateError, match="cannot be read"):
        Tls(files)


def test_an_expired_certificate_is_refused(
    ca: LocalCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    then = datetime.now(timezone.utc) - timedelta(days=50)
    with monkeypatch.context() as patch:
        patch.setattr("mahtai.security.local_ca._now", lambda: then)
        ca.make(["localhost"], 49)
    with pytest.raises(CertificateError, match="expired"):
        Tls(own_files(tmp_path))
    ca.renew(20)
    Tls(own_files(tmp_path))
    assert "expires on" in caplog.text


def test_the_authority_signs_for_its_own_names_only(ca: LocalCa, tmp_path: Path) -> None:
    ca.make(["mahtai.example"], 100)
    constraints = ca.authority().extensions.get_extension_for_class(x509.NameConstraints).value
    assert constraints.permitted_subtrees == [x509.DNSName("mahtai.example")]
    basic = ca.authority().extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, 0)


def test_a_forgotten_or_sealed_key_renews_nothing(tmp_path: Path) -> None:
    forgotten = LocalCa(tmp_path / "forgotten")
    forgotten.make(["localhost"], 100, keep_key=False)
    assert not (forgotten.folder / "ca.key").exists()
    with pytest.raises(CertificateError, match="not here"):
        forgotten.renew(100)
    sealed = LocalCa(tmp_path / "sealed" / "tls")
    sealed.make(["localhost"], 100, "a passphrase")
    with pytest.raises(CertificateError, match="cannot be opened"):
        sealed.renew(100)
    sealed.renew(100, "a passphrase")
    with pytest.raises(CertificateError, match="already"):
        sealed.make(["localhost"], 100)


def test_a_certificate_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    variables = {"MAHTAI_CONFIG_DIR": str(tmp_path)}
    for command in ("show", "renew"):
        never = CliRunner().invoke(main, ["tls", command], env=variables)
        assert never.exit_code == 1 and f"There is no local authority in {tmp_path / 'tls'}" in never.output
        assert "mahtai tls init" in never.output
    assert CliRunner().invoke(main, ["tls", "init"], env=variables).exit_code == 0
    (tmp_path / "tls" / "server.pem").unlink()
    for command in ("show", "renew"):
        lost = CliRunner().invoke(main, ["tls", command], env=variables)
        assert lost.exit_code == 1 and "There is no certificate in" in lost.output, lost.output
