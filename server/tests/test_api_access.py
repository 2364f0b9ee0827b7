"""Who gets in, and what everybody is told who does not: token, problem documents, sizes, the access log."""

from __future__ import annotations

import os
import re
import stat

import httpx
import pytest

from server_process import ServerProcess, wait_until

OPEN = ("/healthz", "/readyz", "/openapi.json", "/docs")
CLOSED = (
    ("GET", "/v1/models"),
    ("GET", "/v1/cases"),
    ("PUT", f"/v1/volumes/{'0' * 64}"),
    ("POST", "/v1/inferences"),
    ("GET", "/v1/nothing"),
    ("GET", "/"),
    ("DELETE", "/v1/inferences/x"),
)


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, str]:
    """The problem document of an answer that must have it, with every member that a reader needs."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, str] = answer.json()
    assert document["type"] == f"https://mahtai.org/problems/{kind}"
    assert document["status"] == status
    assert all(document[member] for member in ("title", "detail", "hint", "instance"))
    return document


@pytest.mark.parametrize("path", OPEN)
def test_signs_of_life_and_the_description_need_no_token(server: ServerProcess, path: str) -> None:
    with server.client(token="") as anonymous:
        assert anonymous.get(path).status_code == 200


def test_health_says_which_service_and_which_api_this_is(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {
        "service": "mahtai",
        "version": "0.1.0",
        "api": 1,
        "status": "ok",
        "sign_in": ["token"],
    }


def test_readiness_names_engine_database_and_disk(client: httpx.Client) -> None:
    wait_until(lambda: client.get("/readyz").json()["engine"]["state"] == "ready", 60, "the engine to be ready")
    state = client.get("/readyz").json()
    assert state["ready"] and state["database"] == "ok" and state["disk"]["ok"]


@pytest.mark.parametrize(("method", "path"), CLOSED)
@pytest.mark.parametrize("token", ["", "wrong", "x" * 5000])
def test_everything_else_is_closed_without_the_token(server: ServerProcess, method: str, path: str, token: str) -> None:
    with server.client(token=token) as stranger:
        answer = stranger.request(method, path, content=b"{not even json")
    problem(answer, 401, "wrong-token")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_another_scheme_than_bearer_is_no_token(server: ServerProcess) -> None:
    answer = httpx.get(f"{server.url}/v1/models", headers={"Authorization": f"Basic {server.token}"}, trust_env=False)
    problem(answer, 401, "wrong-token")


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps access rights elsewhere")
def test_token_and_data_are_readable_by_their_user_only(server: ServerProcess) -> None:
    token = server.root / "config" / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    for path in (server.data, server.data / "mahtai.sqlite", server.data / "jobs.sqlite", server.data / "blobs"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("GET", "/v1/nothing", b"", 404, "not-found"),
        ("PATCH", "/v1/cases", b"", 405, "method-not-allowed"),
        ("POST", "/v1/inferences", b"{", 422, "invalid-request"),
        ("POST", "/v1/inferences", b"\xff\xfe", 422, "invalid-request"),
        ("POST", "/v1/inferences", b"[" * 100_000, 400, "bad-request"),
        ("POST", "/v1/cases", b'{"name": "a\\u0000b", "task": "t", "volumes": {}}', 422, "invalid-request"),
        ("POST", "/v1/cases", b'{"name": "\\ud800", "task": "t", "volumes": {}}', 422, "invalid-request"),
        ("POST", "/v1/cases", b'{"name": "a", "task": "t", "volumes": {}, "path": "/"}', 422, "invalid-request"),
        ("POST", "/v1/inferences", b" " * (2 << 20), 413, "too-large"),
        ("GET", "/v1/volumes/..%2f..%2fetc%2fpasswd", b"", 404, "not-found"),
        ("GET", f"/v1/volumes/{'A' * 64}", b"", 422, "invalid-request"),
        ("GET", "/v1/cases/%00", b"", 404, "unknown-case"),
        ("GET", f"/v1/cases/{'9' * 3000}", b"", 404, "unknown-case"),
        ("GET", "/v1/inferences/%F0%9F%92%A9", b"", 404, "unknown-inference"),
        ("GET", "/v1/models/..", b"", 404, "not-found"),
        ("GET", "/v1/cases?limit=-1", b"", 422, "invalid-request"),
    ],
)
def test_a_bad_request_gets_a_problem_document(
    client: httpx.Client, method: str, path: str, body: bytes, status: int, kind: str
) -> None:
    answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    problem(answer, status, kind)


def test_a_body_of_unknown_length_is_limited_too(client: httpx.Client) -> None:
    answer = client.post("/v1/inferences", content=(b" " * 65536 for _ in range(64)))
    problem(answer, 413, "too-large")


def test_models_are_listed_with_all_that_a_client_needs(client: httpx.Client) -> None:
    models = {model["id"]: model for model in client.get("/v1/models").json()["models"]}
    tiny = models["tiny"]
    assert [channel["id"] for channel in tiny["channels"]] == ["t1c", "t1", "t2", "flair"]
    assert tiny["state"] == "ready" and tiny["task"] == "brain-tumour" and len(tiny["sha256"]) == 64
    assert {label["id"] for label in tiny["labels"]} == {"ncr", "ed", "et"}
    assert tiny["labels"][0]["codes"]["type"]["scheme"] == "SCT"
    assert client.get("/v1/models/tiny").json()["card"] is not None


def test_an_unknown_model_is_answered_with_those_that_there_are(client: httpx.Client) -> None:
    document = problem(client.get("/v1/models/nope"), 404, "unknown-model")
    assert "tiny" in document["hint"]


def test_the_description_declares_token_problems_and_files(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    assert "HTTPValidationError" not in document["components"]["schemas"]
    start = document["paths"]["/v1/inferences"]["post"]["responses"]
    assert set(start) == {"200", "202", "401", "403", "404", "422", "503", "507"}
    for status in ("401", "403", "404", "422", "503", "507"):
        assert start[status]["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        }
    upload = document["paths"]["/v1/volumes/{sha256}"]["put"]
    assert "application/octet-stream" in upload["requestBody"]["content"]
    events = document["paths"]["/v1/inferences/{inference}/events"]["get"]["responses"]["200"]
    assert set(events["content"]) == {"text/event-stream"}
    for form in ("InferenceIn", "CaseIn", "LabelIn", "MissingIn"):
        assert "example" in document["components"]["schemas"][form]


def test_the_reference_page_loads_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert "PUT /v1/volumes/{sha256}" in page
    assert not re.search(r"<script|src=|https?://(?!mahtai\.org)", page)


def test_the_access_log_knows_routes_but_no_ids(client: httpx.Client, server: ServerProcess) -> None:
    secret = "5ecre7" + "0" * 58
    client.get(f"/v1/volumes/{secret}")
    client.get("/v1/inferences/who-is-this?name=Doe")
    lines = wait_until(
        lambda: [line for line in server.log.splitlines() if "GET /v1/inferences/{inference} 404" in line],
        5,
        "the access log",
    )
    assert re.search(r"GET /v1/inferences/\{inference\} 404 \d+\.\d ms$", lines[-1])
    assert secret not in server.log and "who-is-this" not in server.log and "Doe" not in server.log
    assert server.token not in server.log
