"""Calls made up from the server's own description, right ones and wrong ones, as everybody who may call it.

``MAHTAI_FUZZ_EXAMPLES`` says how many calls of each kind an operation gets; ``-s`` prints how many came to what.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from hospital_kit import Hospital
from server_process import ServerProcess, put_volume
from studies import synthetic_study

if TYPE_CHECKING:
    from schemathesis import Case

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is for Python 3.11 and later")

EXAMPLES = int(os.environ.get("MAHTAI_FUZZ_EXAMPLES", "3"))
SEED = 7

ANYWHERE = {400, 405, 413, 415, 429}
"""What the doors answer before a call is reached: no HTTP as it should be, too much of it, too often."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, models: Any) -> Iterator[ServerProcess]:
    """A server on one computer."""
    process = ServerProcess(tmp_path_factory.mktemp("fuzz"), (models,), {"requests_per_s": "100000"}).start()
    yield process
    process.kill()


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, models: Any) -> Iterator[Hospital]:
    """A server with accounts."""
    started: list[ServerProcess] = []

    def start(name: str = "own", begin: bool = True, **more: Any) -> ServerProcess:
        process = ServerProcess(tmp_path_factory.mktemp("fuzz") / name, **{"models": (models,), **more})
        started.append(process)
        return process.start() if begin else process

    yield Hospital.open(start)
    for process in started:
        process.kill()


def test_on_one_computer(alone: ServerProcess) -> None:
    seen = fuzz(alone, alone.token, known_things(alone, alone.token))
    assert seen[401] == 0 or seen[401] < sum(seen.values()) / 10


def test_on_one_computer_without_a_token(alone: ServerProcess) -> None:
    seen = fuzz(alone, "", known_things(alone, alone.token))
    assert seen[401] > sum(seen.values()) / 2


@pytest.mark.parametrize("role", ["admin", "radiologist"])
def test_in_a_hospital(hospital: Hospital, role: str) -> None:
    token = hospital.token(role)
    seen = fuzz(hospital.server, token, known_things(hospital.server, hospital.token("radiologist")))
    assert seen[401] < sum(seen.values()) / 2
    with hospital.server.client(token) as client:
        assert client.get("/v1/models").status_code == 200, "its token came to nothing on the way"


def test_in_a_hospital_without_a_token(hospital: Hospital) -> None:
    with hospital.server.client(hospital.token("admin")) as client:
        described = client.get("/openapi.json").json()
    seen = fuzz(hospital.server, "", known_things(hospital.server, hospital.token("radiologist")), described)
    assert seen[401] > sum(seen.values()) / 2


def known_things(server: ServerProcess, token: str) -> dict[str, str]:
    """Names in addresses → what exists, so that calls get behind the first door."""
    volume = synthetic_study()["t1c"]
    with server.client(token) as client:
        sha256 = put_volume(client, volume)
        made = client.post("/v1/cases", json={"name": "fuzz", "task": "brain_tumour", "volumes": {"t1c": sha256}})
        assert made.status_code in (200, 201), made.text
    return {"sha256": sha256, "case": made.json()["id"], "model": "tiny", "version": "1", "account": "viewer"}


def fuzz(
    server: ServerProcess, token: str, known: dict[str, str], described: dict[str, Any] | None = None
) -> Counter[int]:
    """Call every operation; how often each status came.

    Raises:
        AssertionError: naming every answer that is a fault or that the description does not know.
    """
    seen: Counter[int] = Counter()
    wrong: dict[str, str] = {}
    with ExitStack() as stack:
        client = stack.enter_context(server.client(token, timeout=60))
        described = described or client.get("/openapi.json").json()
        for found in schemathesis.openapi.from_dict(described).get_all_operations():
            operation = found.ok()
            for mode in schemathesis.GenerationMode:
                _fuzz_operation(client, operation, mode, known, seen, wrong)
    print(f"{sum(seen.values())} calls: {dict(sorted(seen.items()))}")
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in sorted(wrong.items()))
    return seen


def _fuzz_operation(
    client: httpx.Client,
    operation: Any,
    mode: Any,
    known: dict[str, str],
    seen: Counter[int],
    wrong: dict[str, str],
) -> None:
    responses = operation.definition.raw["responses"]
    turn = 0

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: Case) -> None:
        nonlocal turn
        turn += 1
        if turn % 2 and case.path_parameters:
            case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
        answer = _asked(client, case)
        if answer is None:
            return
        seen[answer.status_code] += 1
        complaint = _complaint(answer, responses)
        if complaint:
            request = answer.request
            wrong.setdefault(
                f"{operation.method.upper()} {operation.path} {answer.status_code}",
                f"{complaint}: {request.url} {request.content[:200]!r} → {answer.text[:200]}",
            )

    try:
        call()
    except Exception as error:
        if "Unsatisfiable" not in type(error).__name__:  # nothing can be wrong with a call without parameters
            raise


def _asked(client: httpx.Client, case: Case) -> httpx.Response | None:
    """The server's answer; None for what HTTP cannot carry."""
    sent = case.as_transport_kwargs(base_url=str(client.base_url))
    headers = {name: value for name, value in sent["headers"].items() if name.lower() != "authorization"}
    parts = {key: sent[key] for key in ("params", "json", "data", "cookies") if sent.get(key) is not None}
    body = parts.pop("data", None)
    if isinstance(body, (bytes, str)):
        parts["content"] = body
    elif body is not None:
        parts["data"] = body
    try:
        request = client.build_request(sent["method"], sent["url"], headers=headers, **parts)
    except (ValueError, TypeError, httpx.InvalidURL):
        return None
    try:
        return client.send(request)
    except (httpx.LocalProtocolError, httpx.UnsupportedProtocol):
        return None


def _complaint(answer: httpx.Response, responses: dict[str, Any]) -> str:
    status = answer.status_code
    if status >= 500 and status not in (502, 503, 507):
        return "a fault"
    declared = responses.get(str(status))
    if declared is None:
        return "" if status in ANYWHERE else "not described"
    kinds = list(declared.get("content", {}))
    kind = answer.headers.get("content-type", "").partition(";")[0]
    has_body = answer.request.method != "HEAD" and status not in (204, 302, 304)
    return f"{kind} is not described" if has_body and kinds and kind not in kinds else ""
