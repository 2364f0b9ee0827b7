"""Signing in at the hospital, the whole way through a real server over HTTP."""

from __future__ import annotations

import sqlite3
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from hospital_kit import mahtai
from issuer import SECRET, FakeIssuer
from MahtAILib.client.connection import Connection
from MahtAILib.client.hospital_sign_in import HospitalSignIn
from oidc_kit import CALLBACK, Program, at_the_issuer, begin_address, environment, own_certificate
from server_process import ServerProcess, StartServer, free_port, wait_until

REDEEM = "/v1/sign-in/hospital"


class Browser:
    """Goes where it is sent, one step at a time."""

    def __init__(self, server: str, trust: Path | None = None) -> None:
        self._server = server
        self._trust = trust

    def get(self, address: str) -> httpx.Response:
        """One page."""
        return httpx.get(address, trust_env=False, timeout=30)

    def sign_in(self, program: Program) -> httpx.Response:
        """From the program to the last answer before it goes back to the program."""
        begun = self.get(begin_address(self._server, program))
        assert begun.status_code == 302, begun.text
        return self.come_back(at_the_issuer(begun.headers["location"], self._trust))

    def come_back(self, query: dict[str, str]) -> httpx.Response:
        """From the issuer."""
        return self.get(f"{self._server}{CALLBACK}?{urlencode(query)}")


class Clinic:
    """A server with its issuer."""

    def __init__(self, issuer: FakeIssuer, server: ServerProcess, trust: Path | None = None) -> None:
        self.issuer, self.server = issuer, server
        self.browser = Browser(server.url, trust)

    def session(self) -> dict[str, Any]:
        """What the program gets in the end."""
        program = Program()
        back = self.browser.sign_in(program)
        assert back.status_code == 302, back.text
        answer = self.redeem(program.code_in(back.headers["location"]), program.verifier)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def redeem(self, code: str, verifier: str) -> httpx.Response:
        """The program's own call."""
        with self.server.client("") as client:
            return client.post(REDEEM, json={"code": code, "verifier": verifier})


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Clinic]:
    folder, port = tmp_path_factory.mktemp("clinic"), free_port()
    pair = own_certificate(folder)
    issuer = FakeIssuer().start(pair)
    variables = environment(issuer, folder, f"http://127.0.0.1:{port}{CALLBACK}", oidc_ca_file=str(pair[0]))
    server = ServerProcess(folder / "server", (models,), variables, port=port).start()
    yield Clinic(issuer, server, pair[0])
    server.kill()
    issuer.stop()


@pytest.fixture(autouse=True)
def usual_issuer(clinic: Clinic) -> Iterator[None]:
    person = dict(clinic.issuer.person)
    yield
    clinic.issuer.person = person
    clinic.issuer.answers.clear()


def test_health_tells_of_it(clinic: Clinic) -> None:
    with clinic.server.client("") as client:
        assert "hospital" in client.get("/healthz").json()["sign_in"]


def test_session_works_and_ends(clinic: Clinic) -> None:
    session = clinic.session()
    assert session["account"]["name"] == "Anna Weber"
    assert session["account"]["role"] == "radiologist"
    assert session["must_enrol"] is False
    with clinic.server.client(session["access_token"]) as client:
        assert client.get("/v1/account").json()["id"] == session["account"]["id"]
        assert client.get("/v1/cases").status_code == 200
        assert client.get("/v1/accounts").status_code == 403
        renewed = client.post("/v1/sign-in/refresh", json={"refresh_token": session["refresh_token"]})
        assert renewed.status_code == 200
        assert client.delete("/v1/session").status_code == 204
        assert client.get("/v1/account").status_code == 401


def test_panels_own_client_gets_in(clinic: Clinic) -> None:
    trust = ssl.create_default_context(cafile=clinic.browser._trust)
    with Connection(clinic.server.url) as connection, HospitalSignIn(connection) as attempt:
        page = httpx.get(attempt.address, follow_redirects=True, verify=trust, trust_env=False)
        assert page.status_code == 200, page.text
        signed_in = attempt.finish(threading.Event(), 10)
        assert (signed_in.account.name, signed_in.account.role) == ("Anna Weber", "radiologist")
        assert connection.json("GET", "/v1/account")["name"] == "Anna Weber"


def test_role_is_taken_away_with_the_next_sign_in(clinic: Clinic) -> None:
    before = clinic.session()
    clinic.issuer.person["roles"] = ["staff"]
    after = clinic.session()
    assert after["account"]["id"] == before["account"]["id"]
    assert after["account"]["role"] == "viewer"
    with clinic.server.client(before["access_token"]) as client:  # also where they were signed in already
        assert client.get("/v1/account").json()["role"] == "viewer"


def test_code_and_state_work_once(clinic: Clinic) -> None:
    program = Program()
    begun = clinic.browser.get(begin_address(clinic.server.url, program))
    query = at_the_issuer(begun.headers["location"], clinic.browser._trust)
    back = clinic.browser.come_back(query)
    code = program.code_in(back.headers["location"])
    assert clinic.browser.come_back(query).status_code == 401
    assert clinic.redeem(code, "x" * 43).status_code == 401
    answer = clinic.redeem(code, program.verifier)
    assert answer.status_code == 401
    assert answer.json()["type"].endswith("/hospital-sign-in")
    assert "token" not in answer.text


def test_who_has_no_role_any_more_is_put_out(clinic: Clinic) -> None:
    session = clinic.session()
    with clinic.server.client(session["access_token"]) as client:
        token = client.post("/v1/account/tokens", json={"name": "x", "days": 365}).json()["token"]
        clinic.issuer.person["roles"] = ["cleaning"]
        assert clinic.browser.sign_in(Program()).status_code == 403
        assert client.get("/v1/account").status_code == 401
        renewed = client.post("/v1/sign-in/refresh", json={"refresh_token": session["refresh_token"]})
        assert renewed.status_code == 401
    with clinic.server.client(token) as program:
        assert program.get("/v1/cases").status_code == 401


def test_tokens_end_with_the_sign_ins_at_the_hospital(clinic: Clinic) -> None:
    session = clinic.session()
    with clinic.server.client(session["access_token"]) as client:
        token = client.post("/v1/account/tokens", json={"name": "x", "days": 365}).json()["token"]
    mahtai(clinic.server, "users", "add", "sorter", "--role", "service", "--no-password")
    local = mahtai(clinic.server, "users", "token", "sorter", "--for", "nights", "--days", "365").stdout.strip()
    with clinic.server.client(token) as program, clinic.server.client(local) as service:
        last_came(clinic, timedelta(days=29))
        assert program.get("/v1/cases").status_code == 200
        for ago in (timedelta(days=30, seconds=1), -timedelta(days=31)):  # the second: a clock that was put back
            last_came(clinic, ago)
            refused = program.get("/v1/cases")
            assert refused.status_code == 401 and refused.json()["type"].endswith("/wrong-token")
            assert "has not signed in at the hospital for 30 days" in refused.json()["detail"]
            assert service.get("/v1/cases").status_code == 200
        clinic.session()
        assert program.get("/v1/cases").status_code == 200


def last_came(clinic: Clinic, ago: timedelta) -> None:
    """Say that all who sign in at the hospital last did so long ago."""
    with closing(sqlite3.connect(clinic.server.data / "mahtai.sqlite")) as tables, tables:
        came = (datetime.now(timezone.utc) - ago).strftime("%Y-%m-%d %H:%M:%S.%f")
        tables.execute("UPDATE accounts SET hospital_at = ? WHERE subject IS NOT NULL", (came,))


def test_pages_say_why_in_words_and_hold_nothing_else(clinic: Clinic) -> None:
    clinic.issuer.person["roles"] = ["cleaning"]
    program = Program()
    begun = clinic.browser.get(begin_address(clinic.server.url, program))
    query = at_the_issuer(begun.headers["location"], clinic.browser._trust)
    page = clinic.browser.come_back(query)
    assert page.status_code == 403
    assert "none of your roles there allows you" in page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for secret in (*query.values(), program.state, program.verifier, SECRET, "Anna", "u-4711", "cleaning"):
        assert secret not in page.text
    assert "<script" not in page.text


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?state=x",
        "?state=%00&code=%ff",
        "?state=%ED%A0%80",
        "?error=%3Cscript%3E&error_description=%3Cscript%3E&state=%3Cscript%3E",
        "?state=a&state=b&code=c",
        f"?state={'x' * 7000}",
    ],
)
def test_callback_that_nobody_began(query: str, clinic: Clinic) -> None:
    page = clinic.browser.get(f"{clinic.server.url}{CALLBACK}{query}")
    assert page.status_code in (400, 401)
    assert page.headers["content-type"].startswith("text/html")
    assert "script" not in page.text
    assert "location" not in page.headers


def test_nobody_is_sent_elsewhere(clinic: Clinic) -> None:
    page = clinic.browser.get(begin_address(clinic.server.url, Program("https://thief.example/")))
    assert page.status_code == 400
    assert "location" not in page.headers
    assert "thief" not in page.text
    begun = clinic.browser.get(f"{begin_address(clinic.server.url, Program())}&redirect=https://thief.example/")
    assert begun.status_code == 400


def test_other_methods_do_nothing(clinic: Clinic) -> None:
    program = Program()
    begun = clinic.browser.get(begin_address(clinic.server.url, program))
    query = at_the_issuer(begun.headers["location"], clinic.browser._trust)
    with clinic.server.client("") as client:
        for method in ("HEAD", "OPTIONS", "POST", "PUT"):
            assert client.request(method, CALLBACK, params=query).status_code in (401, 403, 404, 405)
    assert clinic.browser.come_back(query).status_code == 302


def test_log_names_nobody(clinic: Clinic) -> None:
    session = clinic.session()
    clinic.issuer.person["roles"] = ["cleaning"]
    program = Program()
    clinic.browser.sign_in(program)
    log = clinic.server.log
    assert "GET /v1/sign-in/hospital/callback 302" in log
    assert "nobody signed in: none of the roles" in log
    secrets = (session["access_token"], session["refresh_token"], program.state, SECRET, clinic.issuer.access_token)
    for word in (*secrets, "Anna", "Weber", "u-4711", "cleaning", "state="):
        assert word not in log


def test_others_are_served_while_the_issuer_is_silent(clinic: Clinic) -> None:
    token = clinic.session()["access_token"]
    came_back: list[httpx.Response] = []
    released = threading.Event()

    def silent(request: BaseHTTPRequestHandler) -> None:
        released.wait(60)

    queries = []
    for _ in range(60):
        begun = clinic.browser.get(begin_address(clinic.server.url, Program()))
        queries.append(at_the_issuer(begun.headers["location"], clinic.browser._trust))
    clinic.issuer.answers["/token"] = silent
    threads = [
        threading.Thread(target=lambda query=query: came_back.append(clinic.browser.come_back(query)))
        for query in queries
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: clinic.issuer.requests[-8:].count("/token") == 8, 30, "the server to ask the issuer")
    with clinic.server.client(token) as client:
        for _ in range(5):
            assert client.get("/v1/cases").status_code == 200
    assert came_back == []
    released.set()
    for thread in threads:
        thread.join(60)
    assert {page.status_code for page in came_back} == {502}


def test_server_without_it_says_so(start_server: StartServer) -> None:
    server = start_server()
    with server.client("") as client:
        page = client.get(REDEEM, params=Program().begins)
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert client.post(REDEEM, json={"code": "x", "verifier": "x" * 43}).status_code == 404
        assert "hospital" not in client.get("/healthz").json()["sign_in"]


def test_server_with_half_of_the_settings_does_not_start(start_server: StartServer) -> None:
    with pytest.raises(AssertionError, match="MAHTAI_OIDC_REDIRECT is missing"):
        start_server(environment={"accounts": "on", "oidc_issuer": "https://issuer.example"})
