"""Every call × every role, every scope, and nobody: what the table says, and nothing else, is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import mahtai
from hospital_kit import ROLES, Hospital, hospital_in
from mahtai.api.calls import Calls
from mahtai.api.routers import ROUTERS
from server_process import StartServer

TABLE = json.loads((Path(str(mahtai.__file__)).parent / "security" / "permissions.json").read_text("utf-8"))
PERMISSIONS: dict[str, Any] = TABLE["permissions"]
NEEDS: dict[str, str] = {name: row["needs"] for name, row in TABLE["calls"].items()}
NOBODY = ("", "nonsense", "mahtai_" + "x" * 43, "a.b.c", "eyJhbGciOiJub25lIn0.eyJzaWQiOiJ4In0.")

_PARAMETERS = {"sha256": "0" * 64, "part": "segmentation"}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Hospital]:
    with hospital_in(tmp_path_factory.mktemp("hospital"), models) as opened:
        yield opened


def refused(answer: httpx.Response) -> bool:
    """Whether the gate refused it for want of a permission."""
    if answer.status_code != 403:
        return False
    # an answer to HEAD has no body; no call that HEAD reaches refuses with 403 by itself
    return answer.request.method == "HEAD" or bool(answer.json()["type"].endswith("/not-allowed"))


def ask(client: httpx.Client, call: str) -> httpx.Response:
    """Send a request that no call can do anything with."""
    method, template = call.split(" ")
    path = re.sub(r"{(\w+)}", lambda name: _PARAMETERS.get(name[1], "00000000-0000-0000-0000-000000000000"), template)
    return client.request(method, path, content=b"{nothing", headers={"Content-Type": "application/json"})


def test_the_table_names_every_call_and_no_other() -> None:
    assert set(Calls(ROUTERS).names()) | {"GET /openapi.json"} == set(NEEDS)
    assert set(NEEDS.values()) <= set(PERMISSIONS)
    assert set(TABLE["meaning"]) | {TABLE["anybody"]} == set(PERMISSIONS)


def test_a_browser_is_told_how_to_see_the_reference(hospital: Hospital) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    with hospital.server.client(token="") as stranger:
        page = stranger.get("/docs", headers=browser)
        assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert "curl -o mahtai.html" in page.text and "/v1/cases" not in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        for other in (stranger.get("/docs"), stranger.get("/v1/cases", headers=browser)):
            assert (other.status_code, other.headers["content-type"]) == (401, "application/problem+json")
    with hospital.server.client(token=hospital.token("viewer")) as program:
        assert "GET /v1/cases" in program.get("/docs").text  # as the page says


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_what_the_table_says_and_nothing_else(hospital: Hospital, role: str) -> None:
    with hospital.server.client(token=hospital.token(role)) as client:
        for call, needs in NEEDS.items():
            allowed = needs == TABLE["anybody"] or role in PERMISSIONS[needs]
            answer = ask(client, call)
            assert refused(answer) is not allowed, (call, role, answer.text)
            assert answer.status_code < 500 and (answer.status_code != 401 or "sign-in" in call), (call, answer.text)


def test_each_scope_allows_what_needs_it_and_nothing_else(hospital: Hospital) -> None:
    asked = 0
    for scope, roles in PERMISSIONS.items():
        if scope == TABLE["anybody"]:
            continue
        with hospital.server.client(token=hospital.token(roles[-1], scope)) as client:
            for call, needs in NEEDS.items():
                answer = ask(client, call)
                assert refused(answer) is not (needs in (scope, TABLE["anybody"])), (call, scope, answer.text)
                asked += 1
    assert asked == len(NEEDS) * (len(PERMISSIONS) - 1)


@pytest.mark.parametrize("token", NOBODY)
def test_nobody_gets_anything_but_signs_of_life_and_the_way_in(hospital: Hospital, token: str) -> None:
    with hospital.server.client(token=token) as stranger:
        opened = {call for call in NEEDS if ask(stranger, call).status_code != 401}
        assert stranger.get("/v1/nothing").status_code == 401 and stranger.get("/").status_code == 401
    assert opened == {call for call, needs in NEEDS.items() if needs == TABLE["anybody"] and "sign-in" not in call} | {
        call for call in opened if "sign-in" in call
    }
    assert all("sign-in" in call or call in ("GET /healthz", "GET /readyz") for call in opened)


@pytest.mark.parametrize(
    "path",
    [
        "//v1/accounts",
        "/v1//accounts",
        "/V1/accounts",
        "/v1/accounts/",
        "/v1/./accounts",
        "/v1/models/../accounts",
        "/v1/%61ccounts",
        "/v1/accounts%2f",
        "/v1/accounts;x",
        "/monailabel/../v1/accounts",
        "/healthz/../v1/accounts",
        "/healthz%00/v1/accounts",
    ],
)
def test_no_spelling_of_a_path_gets_round_the_gate(hospital: Hospital, path: str) -> None:
    import http.client

    token = hospital.token("viewer")
    for headers in ({}, {"Authorization": f"Bearer {token}"}):
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            link = http.client.HTTPConnection("127.0.0.1", hospital.server.port, timeout=20)
            link.putrequest(method, path, skip_host=False)
            for name, value in {**headers, "X-HTTP-Method-Override": "GET", "X-Original-URL": "/healthz"}.items():
                link.putheader(name, value)
            link.endheaders()
            answer = link.getresponse()
            body = answer.read()
            assert b'"accounts"' not in body, (method, path, body[:300])
            assert answer.status in (307, 400, 401, 403, 404, 405), (method, path, answer.status)
            link.close()


def test_headers_make_nobody_somebody_else(hospital: Hospital) -> None:
    with hospital.server.client(token=hospital.token("viewer")) as viewer:
        forged = {"MahtAI-User": "admin", "MahtAI-Role": "admin"}
        assert refused(viewer.get("/v1/accounts", headers=forged))
        assert viewer.get("/v1/account", headers=forged).json()["name"] == "viewer"


def test_the_token_of_one_computer_opens_nothing_where_people_sign_in(start_server: StartServer) -> None:
    alone = start_server("alone")
    token = alone.token
    alone.stop()
    alone.environment = {"accounts": "on"}
    from hospital_kit import mahtai as command

    command(alone, "users", "add", "admin", "--role", "admin", "--password-stdin", stdin="correct horse battery\n")
    alone.start()
    with alone.client(token=token) as client:
        assert client.get("/v1/models").status_code == 401
