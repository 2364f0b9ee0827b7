"""Encrypted servers: one that cannot be verified gets nothing; what the reader confirmed is all that counts."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_in_server import TOKEN, Handler, StandIn, State, free_port
from tls_server_kit import Issued, TlsStandIn, make_authority, make_certificate

from MahtAILib.client.certificates import Authority, Pins, fetch_authority, fingerprint_of
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import (
    CertificateError,
    ChangedAuthorityError,
    ConnectionLostError,
    RefusedError,
    UnknownAuthorityError,
)


@pytest.fixture
def authority() -> Issued:
    return make_authority()


@pytest.fixture
def encrypted(tmp_path: Path, authority: Issued) -> Iterator[TlsStandIn]:
    """Shows its certificate and its authority's, as ``mahtai tls init`` sets it up."""
    with TlsStandIn(tmp_path, make_certificate(authority), authority) as server:
        yield server


@pytest.fixture
def pins(tmp_path: Path) -> Pins:
    return Pins(tmp_path / "settings" / "trusted")


def _connect(server: StandIn, pins: Pins) -> Connection:
    return Connection(server.url, TOKEN, retries=0, ca_file=pins.ca_file(server.url))


def test_a_server_that_nobody_knows_gets_nothing(encrypted: TlsStandIn, pins: Pins) -> None:
    with _connect(encrypted, pins) as connection, pytest.raises(UnknownAuthorityError) as told:
        connection.probe()
    assert "not trusted" in told.value.reason
    assert encrypted.state.requests == []


def test_its_authority_is_fetched_in_a_handshake_and_nothing_is_sent(encrypted: TlsStandIn, authority: Issued) -> None:
    found = fetch_authority(encrypted.url)
    assert found.fingerprint == authority.fingerprint
    assert re.fullmatch(r"([0-9A-F]{2}:){31}[0-9A-F]{2}", found.fingerprint)
    assert found.pem.encode() == authority.pem
    assert encrypted.state.requests == []


def test_the_fingerprint_is_the_one_that_openssl_prints(tmp_path: Path, authority: Issued) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(authority.pem)
    done = subprocess.run(
        ["openssl", "x509", "-in", str(file), "-noout", "-fingerprint", "-sha256"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.strip().endswith(f"={fingerprint_of(ssl.PEM_cert_to_DER_cert(authority.pem.decode()))}")


def test_what_the_reader_confirmed_is_trusted_from_then_on(encrypted: TlsStandIn, pins: Pins) -> None:
    found = fetch_authority(encrypted.url)
    pins.pin(encrypted.url, found)
    assert pins.fingerprint(encrypted.url) == found.fingerprint
    file = Path(pins.ca_file(encrypted.url) or "")
    assert file.name == f"127.0.0.1-{encrypted.port}.pem"
    if os.name == "posix":
        assert file.parent.stat().st_mode & 0o077 == 0
    with _connect(encrypted, pins) as connection:
        assert connection.probe().api == 1


def test_a_pin_is_for_one_server_alone(encrypted: TlsStandIn, pins: Pins, tmp_path: Path, authority: Issued) -> None:
    pins.pin(encrypted.url, fetch_authority(encrypted.url))
    with (
        TlsStandIn(tmp_path, make_certificate(authority), authority) as other,
        _connect(other, pins) as connection,
        pytest.raises(UnknownAuthorityError),
    ):
        connection.probe()


def test_another_authority_later_is_refused_and_the_reader_is_told_what_to_do(
    tmp_path: Path, pins: Pins, authority: Issued
) -> None:
    other = make_authority("Ward CA")  # of the same name
    with TlsStandIn(tmp_path, make_certificate(other), other) as impostor:
        pins.pin(impostor.url, Authority(authority.pem.decode(), authority.fingerprint))
        with _connect(impostor, pins) as connection, pytest.raises(ChangedAuthorityError) as told:
            connection.probe()
        assert "Nothing was sent" in told.value.reason
        assert "Forget its certificate" in told.value.hint
        assert impostor.state.requests == []
        pins.forget(impostor.url)
        with _connect(impostor, pins) as connection, pytest.raises(UnknownAuthorityError):
            connection.probe()


def test_a_pin_holds_where_the_environment_names_other_authorities(
    encrypted: TlsStandIn, pins: Pins, tmp_path: Path, authority: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirmed = make_authority("confirmed")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(authority.pem)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    pins.pin(encrypted.url, Authority(confirmed.pem.decode(), confirmed.fingerprint))
    with _connect(encrypted, pins) as connection:
        connection._session.trust_env = True  # as for a server on another computer
        with pytest.raises(ChangedAuthorityError):
            connection.probe()


def test_authorities_that_it_installed_are_known_and_a_pin_counts_alone(
    encrypted: TlsStandIn, pins: Pins, tmp_path: Path, authority: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "installed.pem"
    installed.write_bytes(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(installed))  # OpenSSL's place for the authorities of the system
    with _connect(encrypted, pins) as connection:
        assert connection.probe().api == 1
    confirmed = make_authority("confirmed")
    pins.pin(encrypted.url, Authority(confirmed.pem.decode(), confirmed.fingerprint))
    with _connect(encrypted, pins) as connection, pytest.raises(ChangedAuthorityError):
        connection.probe()


def test_a_renewed_certificate_of_the_same_authority_is_no_news(tmp_path: Path, pins: Pins, authority: Issued) -> None:
    with TlsStandIn(tmp_path, make_certificate(authority, name="renewed"), authority) as server:
        pins.pin(server.url, Authority(authority.pem.decode(), authority.fingerprint))
        with _connect(server, pins) as connection:
            connection.probe()


def test_a_certificate_that_signs_itself_can_be_confirmed(tmp_path: Path, pins: Pins) -> None:
    own = make_certificate(None)
    with TlsStandIn(tmp_path, own) as server:
        found = fetch_authority(server.url)
        assert found.fingerprint == own.fingerprint
        pins.pin(server.url, found)
        with _connect(server, pins) as connection:
            connection.probe()


def test_the_name_is_checked_also_where_the_authority_is_confirmed(
    tmp_path: Path, pins: Pins, authority: Issued
) -> None:
    with TlsStandIn(tmp_path, make_certificate(authority, host="other.example"), authority) as server:
        with pytest.raises(CertificateError) as told:
            fetch_authority(server.url)
        assert "another name" in told.value.reason
        pins.pin(server.url, Authority(authority.pem.decode(), authority.fingerprint))
        with _connect(server, pins) as connection, pytest.raises(CertificateError) as told:
            connection.probe()
        assert "another name" in told.value.reason
        assert server.state.requests == []


def test_an_expired_certificate_is_called_expired(tmp_path: Path, pins: Pins, authority: Issued) -> None:
    with TlsStandIn(tmp_path, make_certificate(authority, expired=True), authority) as server:
        with pytest.raises(CertificateError) as told:
            fetch_authority(server.url)
        assert "expired" in told.value.reason
        pins.pin(server.url, Authority(authority.pem.decode(), authority.fingerprint))
        with _connect(server, pins) as connection, pytest.raises(CertificateError) as told:
            connection.probe()
        assert "expired" in told.value.reason


def test_an_authority_that_is_not_shown_cannot_be_confirmed(tmp_path: Path, authority: Issued) -> None:
    with TlsStandIn(tmp_path, make_certificate(authority)) as server, pytest.raises(CertificateError) as told:
        fetch_authority(server.url)
    assert "does not show the authority" in told.value.reason


def test_an_authority_that_did_not_make_the_certificate_cannot_be_confirmed(tmp_path: Path, authority: Issued) -> None:
    stranger = make_authority("somebody else")
    with TlsStandIn(tmp_path, make_certificate(authority), stranger) as server, pytest.raises(CertificateError) as told:
        fetch_authority(server.url)
    assert "does not show the authority" in told.value.reason


def test_old_versions_of_tls_are_refused(tmp_path: Path, pins: Pins, authority: Issued) -> None:
    with TlsStandIn(tmp_path, make_certificate(authority), authority, version=ssl.TLSVersion.TLSv1_2) as server:
        pins.pin(server.url, fetch_authority(server.url))
        with _connect(server, pins) as connection:
            connection.probe()
            context = connection._session.get_adapter(server.url)._context  # type: ignore[attr-defined]
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_server_without_encryption_and_one_that_is_not_there_are_told_apart(server: StandIn) -> None:
    with pytest.raises(CertificateError) as told:
        fetch_authority(server.url.replace("http:", "https:"))
    assert "does not use encryption" in told.value.reason
    with pytest.raises(RefusedError):
        fetch_authority(f"https://127.0.0.1:{free_port()}")


def test_a_connection_that_breaks_is_no_matter_of_certificates(encrypted: TlsStandIn, pins: Pins) -> None:
    pins.pin(encrypted.url, fetch_authority(encrypted.url))

    def vanish(handler: Handler) -> bool:
        handler.close_connection = True
        handler.connection.close()
        return True

    encrypted.misbehaviour = vanish
    with _connect(encrypted, pins) as connection, pytest.raises(ConnectionLostError):
        connection.probe()


def test_a_damaged_pin_is_refused_and_never_taken_for_none(encrypted: TlsStandIn, pins: Pins) -> None:
    pins.pin(encrypted.url, fetch_authority(encrypted.url))
    Path(pins.ca_file(encrypted.url) or "").write_text("no certificate", encoding="ascii")
    with pytest.raises(CertificateError) as told:
        _connect(encrypted, pins)
    assert "Forget its certificate" in told.value.hint
    assert encrypted.state.requests == []


def test_uploads_and_downloads_go_through_encryption(tmp_path: Path, pins: Pins, authority: Issued) -> None:
    from MahtAILib.client.volumes import Blob, fetch, upload

    state = State()
    with TlsStandIn(tmp_path, make_certificate(authority), authority, state=state) as server:
        pins.pin(server.url, fetch_authority(server.url))
        blob = Blob(os.urandom(300_000))
        with _connect(server, pins) as connection:
            upload(connection, [blob])
            assert state.volumes == {blob.sha256: blob.data}
            assert fetch(connection, f"/v1/volumes/{blob.sha256}", blob.sha256, 2**20) == blob.data
