"""Headers of every answer, and names under which the server answers."""

from __future__ import annotations

import socket

import httpx
import pytest

from mahtai.api.headers import ALWAYS, is_ours
from server_process import ServerProcess


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/v1/cases/nothing", "/nowhere", "/openapi.json"])
def test_every_answer_is_strict(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    for name, value in ALWAYS.items():
        assert answer.headers[name] == value, name
    assert "strict-transport-security" not in answer.headers  # it would mean nothing without TLS


def test_a_refusal_is_strict_too(server: ServerProcess) -> None:
    with server.client(token="wrong") as stranger:
        answer = stranger.get("/v1/models")
    assert answer.status_code == 401
    assert answer.headers["x-frame-options"] == "DENY"


def test_no_other_site_may_read(client: httpx.Client) -> None:
    origin = {"Origin": "https://elsewhere.example"}
    preflight = {**origin, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    for answer in (client.get("/healthz", headers=origin), client.options("/v1/models", headers=preflight)):
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert client.options("/v1/models", headers=preflight).status_code >= 400


def test_a_foreign_name_is_refused(client: httpx.Client) -> None:
    answer = client.get("/v1/models", headers={"Host": f"rebound.example:{client.base_url.port}"})
    assert answer.status_code == 421
    assert answer.json()["type"].endswith("/unknown-host-name")
    assert answer.headers["x-frame-options"] == "DENY"
    for own in ("localhost", "127.0.0.1", "[::1]", socket.gethostname()):
        assert client.get("/v1/models", headers={"Host": f"{own}:{client.base_url.port}"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("a.example:1", True),
        ("A.EXAMPLE.", True),
        ("x.b.example", True),
        ("y.x.b.example", False),
        ("b.example", False),
        ("10.0.0.1:99", True),
        ("[fe80::1]:5", True),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("", True),
    ],
)
def test_names(host: str, ours: bool) -> None:
    assert is_ours(host, frozenset({"a.example", "*.b.example", "localhost"})) is ours
