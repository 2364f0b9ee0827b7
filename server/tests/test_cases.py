"""Cases over HTTP: a study under a name, made once however often it is asked for."""

from __future__ import annotations

import json
import threading
from typing import Any
from uuid import uuid4

import httpx
import pytest

from mahtai.api.cases import LARGEST_SOURCE
from server_process import ServerProcess, put_volume
from studies import TASK, label_file, synthetic_study
from test_api_access import problem

Study = dict[str, str]


def make_case(client: httpx.Client, volumes: Study, **more: Any) -> dict[str, Any]:
    """A new case."""
    answer = client.post("/v1/cases", json={"name": "Case 1", "task": TASK, "volumes": volumes, **more})
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def test_a_case_keeps_its_volumes_and_names_the_grid_of_its_labels(client: httpx.Client, study: Study) -> None:
    case = make_case(client, study)
    assert case["volumes"] == study and case["reference"] == "t1c" and case["label_count"] == 0
    assert client.get(f"/v1/cases/{case['id']}").json() == case
    assert (case["state"], case["revision"], case["removed"], case["holder"]) == ("new", 1, False, None)
    without_t1c = {slot: sha for slot, sha in study.items() if slot != "t1c"}
    assert make_case(client, without_t1c)["reference"] == "t1"
    assert make_case(client, {"b-scan": study["t1"], "a-scan": study["t2"]})["reference"] == "a-scan"


def test_a_case_is_made_once_for_one_key(server: ServerProcess, client: httpx.Client, study: Study) -> None:
    key = str(uuid4())
    made: list[dict[str, Any]] = []

    def ask() -> None:
        with server.client() as own:
            made.append(make_case(own, study, client_key=key))

    askers = [threading.Thread(target=ask) for _ in range(6)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len({case["id"] for case in made}) == 1 and len(made) == 6
    # the display name may have been changed meanwhile; other volumes make it another case
    assert make_case(client, study, name="Another", client_key=key)["id"] == made[0]["id"]
    wanted = {"name": "Case 1", "task": TASK, "volumes": {"t1c": study["t1c"]}, "client_key": key}
    problem(client.post("/v1/cases", json=wanted), 409, "client-key-reused")


def test_cases_are_listed_newest_first_page_by_page(client: httpx.Client, study: Study) -> None:
    made = [make_case(client, study, name=f"Case {number}")["id"] for number in range(5)]
    first = client.get("/v1/cases", params={"limit": 3}).json()
    assert [case["id"] for case in first["cases"]] == made[:1:-1]
    second = client.get("/v1/cases", params={"limit": 2, "before": first["next"]}).json()
    assert [case["id"] for case in second["cases"]] == made[1::-1]
    assert client.get("/v1/cases").json()["next"] is None


@pytest.mark.parametrize(
    ("volumes", "kind"),
    [
        ({}, "case"),
        ({"t1c": "0" * 64}, "volume-missing"),
        ({"t1c": "SEGMENTATION"}, "case"),
        ({"t1c": "T1", "t1": "T1"}, "case"),
    ],
)
def test_a_case_of_unusable_volumes_is_refused(client: httpx.Client, study: Study, volumes: Study, kind: str) -> None:
    here = {"SEGMENTATION": put_volume(client, label_file()), "T1": study["t1"]}
    wanted = {"name": "x", "task": TASK, "volumes": {slot: here.get(sha, sha) for slot, sha in volumes.items()}}
    problem(client.post("/v1/cases", json=wanted), 422, kind)


def test_a_source_is_bounded_by_the_bytes_that_are_stored(client: httpx.Client, study: Study) -> None:
    wanted = {"name": "Case 1", "task": TASK, "volumes": study}
    frame = len(json.dumps({"note": ""}))
    for text, bytes_each in (("x", 1), ("ö", 6), ("🧠", 12)):
        fits = (LARGEST_SOURCE - frame) // bytes_each
        kept = client.post("/v1/cases", json={**wanted, "source": {"note": text * fits}})
        assert kept.status_code == 201, kept.text
        assert client.get(f"/v1/cases/{kept.json()['id']}/source").json()["source"] == {"note": text * fits}
        larger = client.post("/v1/cases", json={**wanted, "source": {"note": text * (fits + 1)}})
        assert str(LARGEST_SOURCE) in json.dumps(problem(larger, 422, "invalid-request"))


@pytest.mark.parametrize("odd", ["a\0b", "\ud800"])
def test_a_source_with_characters_that_no_table_holds_is_refused(client: httpx.Client, study: Study, odd: str) -> None:
    for source in ({"note": odd}, {odd: 1}, {"deep": [{"note": ["fine", odd]}]}):
        body = json.dumps({"name": "Case 1", "task": TASK, "volumes": study, "source": source})
        problem(client.post("/v1/cases", content=body), 422, "invalid-request")
    spelled_out = {"note": "\\u0000"}  # six harmless characters
    case = make_case(client, study, source=spelled_out)
    assert client.get(f"/v1/cases/{case['id']}/source").json()["source"] == spelled_out


def test_an_unknown_case_is_named_as_such(client: httpx.Client) -> None:
    for path in ("", "/labels", f"/labels/{uuid4()}"):
        problem(client.get(f"/v1/cases/{uuid4()}{path}"), 404, "unknown-case")


def test_the_cases_of_one_volume_are_found_among_many(client: httpx.Client, study: dict[str, str]) -> None:
    other = {channel: put_volume(client, data) for channel, data in synthetic_study(9).items()}
    made = client.post("/v1/cases", json={"name": "one", "task": TASK, "volumes": other}).json()
    client.post("/v1/cases", json={"name": "another", "task": TASK, "volumes": study})
    found = client.get("/v1/cases", params={"volume": other["t2"]}).json()["cases"]
    assert [case["id"] for case in found] == [made["id"]]
    assert client.get("/v1/cases", params={"volume": "0" * 64}).json() == {"cases": [], "next": None}
    assert client.get("/v1/cases", params={"volume": "../x"}).status_code == 422
