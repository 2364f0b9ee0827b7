"""The hospital's sign-in: an issuer that is slow, down, talkative, or not who it should be."""

from __future__ import annotations

import logging
import socket
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from foreign_sign_in_kit import Hospital, database, hospital, issuer
from issuer import FakeIssuer, send_json
from mahtai.db.engine import Database
from mahtai.security import bounded_http
from mahtai.security.oidc import HospitalSignInError, IssuerUnavailable
from mahtai.settings import SettingsError
from oidc_kit import CALLBACK, Program, own_certificate

__all__ = ["database", "hospital", "issuer"]


# an issuer that does not answer as it should


def half_open(request: BaseHTTPRequestHandler) -> None:
    time.sleep(20)


def drip(request: BaseHTTPRequestHandler) -> None:
    """A byte now and then, for ever, never silent for long."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        request.wfile.write(b"x")
        request.wfile.flush()
        time.sleep(0.1)


def drip_body(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        request.wfile.write(b" ")
        request.wfile.flush()
        time.sleep(0.1)


def endless(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        request.wfile.write(b" " * 65536)


def gzip_bomb(request: BaseHTTPRequestHandler) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = packer.compress(b" " * (200 << 20)) + packer.flush()
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + body)


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)


def elsewhere(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")


def text(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n<html>the proxy wants a password</html>")


def says(document: object, status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda request: send_json(request, document, status)


PATHS = ("/.well-known/openid-configuration", "/token", "/keys")
FAULTS = (
    half_open,
    drip,
    drip_body,
    endless,
    gzip_bomb,
    hang_up,
    elsewhere,
    text,
    says({}, 500),
    says([]),
    says({}),
    says("x"),
    says({"keys": 5, "id_token": 5, "issuer": 5}),
    says({"error": "invalid_grant", "error_description": "name of somebody"}, 400),
    says({"access_token": "x", "expires_in": "soon"}),
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fault", FAULTS)
def test_issuer_with_a_fault(
    fault: Callable[[BaseHTTPRequestHandler], None],
    path: str,
    hospital: Hospital,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(bounded_http, "SILENCE_S", 0.3)
    monkeypatch.setattr(bounded_http, "TOTAL_S", 0.8)
    hospital.issuer.answers[path] = fault
    with caplog.at_level(logging.WARNING), pytest.raises(HospitalSignInError):
        hospital.whole_way()
    assert "name of somebody" not in caplog.text
    waiting = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert all(thread.finished.is_set() for thread in waiting)
    hospital.issuer.answers.clear()
    assert hospital.whole_way().name == "Anna Weber"


def test_issuer_is_down(hospital: Hospital) -> None:
    answer = hospital.come_back(Program())
    hospital.issuer.stop()
    with pytest.raises(IssuerUnavailable):
        hospital.sign_in.finish(answer)


def test_half_open_tls(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        issuer = FakeIssuer()
        issuer.url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(IssuerUnavailable):
            Hospital(issuer, tmp_path, database).sign_in.begin(**Program().begins)


@pytest.mark.parametrize(
    "told",
    [
        {"issuer": "https://issuer.example"},
        {"issuer": "{url}/"},
        {"authorization_endpoint": "http://issuer.example/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "/authorize"},
        {"token_endpoint": "http://issuer.example/token"},
        {"token_endpoint": "ftp://127.0.0.1/token"},
        {"token_endpoint": None},
        {"jwks_uri": "http://issuer.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://user:password@issuer.example/keys"},
        {"jwks_uri": "https://issuer.example:port/keys"},
    ],
)
def test_discovery_that_leads_astray(
    told: dict[str, Any], issuer: FakeIssuer, tmp_path: Path, database: Database
) -> None:
    issuer.discovery = {
        name: value.replace("{url}", issuer.url) if isinstance(value, str) else value for name, value in told.items()
    }
    with pytest.raises(IssuerUnavailable):
        Hospital(issuer, tmp_path, database).sign_in.begin(**Program().begins)


def test_certificate_is_checked(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = own_certificate(tmp_path)
    issuer = FakeIssuer().start(pair)
    with pytest.raises(IssuerUnavailable):
        Hospital(issuer, tmp_path, database).sign_in.begin(**Program().begins)
    # another trust that the environment names must neither let it in nor keep it out
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pair[0]))
    with pytest.raises(IssuerUnavailable):
        Hospital(issuer, tmp_path, database).sign_in.begin(**Program().begins)
    (tmp_path / "others").mkdir()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(own_certificate(tmp_path / "others")[0]))
    assert Hospital(issuer, tmp_path, database, oidc_ca_file=str(pair[0])).whole_way().name == "Anna Weber"
    with pytest.raises(IssuerUnavailable):
        other = str(tmp_path / "others" / "issuer.pem")
        Hospital(issuer, tmp_path, database, oidc_ca_file=other).sign_in.begin(**Program().begins)
    issuer.stop()


def test_encrypted_issuer_does_not_lead_to_plain_http(tmp_path: Path, database: Database) -> None:
    pair = own_certificate(tmp_path)
    plain = FakeIssuer().start()
    issuer = FakeIssuer().start(pair)
    hospital = Hospital(issuer, tmp_path, database, oidc_ca_file=str(pair[0]))
    issuer.answers["/token"] = lambda request: (
        request.wfile.write(f"HTTP/1.1 307 There\r\nLocation: {plain.url}/token\r\n\r\n".encode()) and None
    )
    with pytest.raises(IssuerUnavailable):
        hospital.whole_way()
    assert plain.requests == []
    issuer.stop()
    plain.stop()


# settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"oidc_issuer": "http://issuer.example"},
        {"oidc_issuer": "issuer.example"},
        {"oidc_issuer": "https://issuer.example/?x=1"},
        {"oidc_issuer": "https://issuer.example/#x"},
        {"oidc_client": ""},
        {"oidc_redirect": ""},
        {"oidc_redirect": "http://mahtai.example" + CALLBACK},
        {"oidc_redirect": "https://mahtai.example/"},
        {"oidc_roles": ""},
        {"oidc_roles": "radiology=boss"},
        {"oidc_secret_file": "/nowhere/at/all"},
        {"oidc_ca_file": "/nowhere/at/all"},
    ],
)
def test_settings_that_would_not_be_safe(
    wrong: dict[str, str], issuer: FakeIssuer, tmp_path: Path, database: Database
) -> None:
    with pytest.raises(SettingsError) as told:
        Hospital(issuer, tmp_path, database, **wrong)
    assert next(iter(wrong)).upper() in str(told.value)


def test_plain_http_is_for_this_computer_only(tmp_path: Path, issuer: FakeIssuer, database: Database) -> None:
    for name in ("oidc_issuer", "oidc_redirect"):
        for host in ("127.0.0.1.thief.example", "thief.example", "0.0.0.0", "127.0.0.1@thief.example"):
            with pytest.raises(SettingsError):
                Hospital(issuer, tmp_path, database, **{name: f"http://{host}{CALLBACK}"})
