"""The work list over HTTP: claims, leases, next cases, drafts, filters, removal."""

from __future__ import annotations

import sqlite3
import threading
from typing import Any
from uuid import uuid4

import httpx
import pytest

from server_process import ServerProcess, StartServer, put_volume, wait_until
from studies import label_file, synthetic_study
from test_api_access import problem
from test_cases import make_case
from test_cases_labels import save

ANNA, BORIS, CLARA = ({"MahtAI-User": name, "MahtAI-Role": "annotator"} for name in ("anna", "boris", "Cl%C3%A1ra"))
FIRST = {"If-None-Match": "*"}


@pytest.fixture
def own_task() -> str:
    """A task that no other test's cases have."""
    return f"task-{uuid4().hex[:12]}"


@pytest.fixture
def cases(client: httpx.Client, study: dict[str, str], own_task: str) -> list[dict[str, Any]]:
    """Five new cases of a task of their own."""
    return [make_case(client, study, name=f"Case {number}", task=own_task) for number in range(5)]


def claim(client: httpx.Client, case: str, person: dict[str, str], lease: str | None = None) -> httpx.Response:
    """Ask for a lease."""
    return client.put(f"/v1/cases/{case}/lease", json={"lease": lease}, headers=person)


def next_case(client: httpx.Client, person: dict[str, str], **more: Any) -> httpx.Response:
    """Ask for the next case."""
    return client.post("/v1/cases/next", json=more, headers=person)


def get(client: httpx.Client, case: str) -> dict[str, Any]:
    """A case as it is now."""
    return dict(client.get(f"/v1/cases/{case}").json())


def test_a_case_is_held_by_one_person_until_it_is_given_back(client: httpx.Client, cases: list[dict[str, Any]]) -> None:
    case = cases[0]["id"]
    lease = claim(client, case, ANNA).json()
    assert lease["holder"] == "anna" and lease["renew_after_s"] == 200
    now = get(client, case)
    assert (now["state"], now["holder"]) == ("claimed", "anna") and now["held_until"] == lease["held_until"]
    refused = problem(claim(client, case, BORIS), 409, "case-held")
    assert "anna" in refused["detail"] and refused["holder"] == "anna" and refused["held_until"] == lease["held_until"]
    # after a crash, or at another computer, the same person takes it over from themselves
    before, lease = lease, claim(client, case, ANNA).json()
    problem(claim(client, case, ANNA, before["lease"]), 409, "case-held")
    renewed = claim(client, case, ANNA, lease["lease"]).json()
    assert renewed["lease"] == lease["lease"] and renewed["held_until"] > lease["held_until"]
    assert client.delete(f"/v1/cases/{case}/lease", params={"lease": str(uuid4())}).status_code == 204
    assert get(client, case)["holder"] == "anna"
    assert client.delete(f"/v1/cases/{case}/lease", params={"lease": lease["lease"]}, headers=ANNA).status_code == 204
    assert (get(client, case)["state"], get(client, case)["holder"]) == ("new", None)
    assert claim(client, case, CLARA).json()["holder"] == "Clára"


def test_a_lease_ends_by_itself_and_what_its_holder_saves_later_is_kept(start_server: StartServer) -> None:
    server = start_server(environment={"lease_s": "1"})
    with server.client() as client:
        study = {slot: put_volume(client, data) for slot, data in synthetic_study().items()}
        case = make_case(client, study)["id"]
        anna = claim(client, case, ANNA).json()
        wait_until(lambda: get(client, case)["state"] == "new", 10, "the lease to end")
        boris = claim(client, case, BORIS).json()
        problem(claim(client, case, ANNA, anna["lease"]), 409, "case-held")
        claim(client, case, BORIS, boris["lease"])
        late = save(client, case, label_file([(10, 20)]), author="anna")
        assert late["held_by"] == "boris"
        own = save(client, case, label_file([(10, 21)]), author="boris")
        assert own["held_by"] is None and own["sibling_of"] == late["id"]
        assert len(client.get(f"/v1/cases/{case}/labels").json()["labels"]) == 2


def test_a_clock_that_goes_back_blocks_a_case_for_one_lease_and_no_longer(
    server: ServerProcess, client: httpx.Client, cases: list[dict[str, Any]]
) -> None:
    case = cases[0]["id"]
    claim(client, case, ANNA)
    with sqlite3.connect(server.data / "mahtai.sqlite") as database:  # as if the clock had been an hour ahead
        database.execute(
            "UPDATE cases SET held_until = datetime(held_until, '+1 hour') WHERE id = ?",
            (case,),
        )
    before = get(client, case)["held_until"]
    refused = problem(claim(client, case, BORIS), 409, "case-held")
    assert refused["held_until"] < before and get(client, case)["held_until"] == refused["held_until"]
    assert claim(client, case, BORIS).json()["held_until"] == refused["held_until"]


def test_many_people_asking_at_once_never_get_the_same_case(
    server: ServerProcess, client: httpx.Client, study: dict[str, str], own_task: str
) -> None:
    wanted = {make_case(client, study, task=own_task)["id"] for _ in range(12)}
    got: list[str] = []
    left: list[int] = []

    def ask(number: int) -> None:
        with server.client() as own:
            for _ in range(3):
                answer = next_case(own, {"MahtAI-User": f"reader {number}"}, task=own_task)
                if answer.status_code == 200:
                    got.append(answer.json()["case"]["id"])
                else:
                    left.append(answer.status_code)

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(got) == sorted(wanted) and left == [204] * 6


def test_the_next_case_is_the_most_urgent_that_is_free_and_meant_for_the_person(
    client: httpx.Client, cases: list[dict[str, Any]], own_task: str
) -> None:
    ids = [case["id"] for case in cases]
    client.patch(f"/v1/cases/{ids[3]}", json={"priority": 5})
    client.patch(f"/v1/cases/{ids[0]}", json={"assignee": "boris"})
    looked = next_case(client, ANNA, task=own_task, claim=False).json()
    assert looked["case"]["id"] == ids[3] and looked["lease"] is None and looked["why"]
    assert get(client, ids[3])["state"] == "new"
    first = next_case(client, ANNA, task=own_task).json()
    assert first["case"]["id"] == ids[3] and first["case"]["holder"] == "anna" and first["lease"]["lease"]
    assert next_case(client, ANNA, task=own_task, exclude=[ids[1]]).json()["case"]["id"] == ids[2]
    assert next_case(client, BORIS, task=own_task).json()["case"]["id"] == ids[0]
    assert next_case(client, ANNA, task="a task without cases").status_code == 204


def test_what_somebody_began_comes_back_to_them_first(
    client: httpx.Client, cases: list[dict[str, Any]], own_task: str
) -> None:
    save(client, cases[4]["id"], label_file(), author="anna")
    assert next_case(client, ANNA, task=own_task, claim=False).json()["case"]["id"] == cases[4]["id"]
    assert next_case(client, BORIS, task=own_task, claim=False).json()["case"]["id"] == cases[0]["id"]


def test_cases_are_found_by_state_person_and_words(
    client: httpx.Client, cases: list[dict[str, Any]], own_task: str
) -> None:
    ids = [case["id"] for case in cases]
    claim(client, ids[0], ANNA)
    client.patch(f"/v1/cases/{ids[1]}", json={"assignee": "boris", "name": "Ödem 50%_x"})
    save(client, ids[2], label_file())
    save(client, ids[3], label_file(), submit=True, verdict="disagree")

    def found(**more: Any) -> set[str]:
        listed = client.get("/v1/cases", params={"task": own_task, **more}).json()["cases"]
        return {case["id"] for case in listed}

    assert found(state="claimed") == found(holder="anna") == {ids[0]}
    assert found(state=["new", "draft"]) == {ids[1], ids[2], ids[4]}
    assert found(state="submitted") == found(hard=True) == {ids[3]}
    assert found(assignee="boris") == found(search="ödem") == found(search="50%_") == {ids[1]}
    assert found(search=str(cases[4]["number"])) >= {ids[4]}
    assert found(search="%") == {ids[1]} and found(search="nothing like it") == set()
    problem(client.get("/v1/cases", params={"state": "nonsense"}), 422, "invalid-request")


def test_a_case_is_changed_only_as_it_was_seen(client: httpx.Client, cases: list[dict[str, Any]]) -> None:
    path = f"/v1/cases/{cases[0]['id']}"
    seen = client.get(path).headers["etag"]
    assert client.patch(path, json={"name": "Renamed"}, headers={"If-Match": seen}).json()["name"] == "Renamed"
    problem(client.patch(path, json={"name": "Lost"}, headers={"If-Match": seen}), 412, "case-changed")
    problem(client.patch(path, json={"name": "Lost"}, headers={"If-Match": '"x"'}), 412, "case-changed")
    assert get(client, cases[0]["id"])["name"] == "Renamed"


def test_a_case_that_is_removed_while_somebody_works_on_it_keeps_what_they_save(
    client: httpx.Client, cases: list[dict[str, Any]], own_task: str
) -> None:
    case = cases[0]["id"]
    lease = claim(client, case, ANNA).json()["lease"]
    problem(client.delete(f"/v1/cases/{case}", headers=BORIS), 409, "case-held")
    assert client.delete(f"/v1/cases/{case}", params={"anyway": True}, headers=BORIS).status_code == 204
    assert case not in {each["id"] for each in client.get("/v1/cases", params={"task": own_task}).json()["cases"]}
    problem(claim(client, case, ANNA, lease), 409, "case-removed")
    kept = save(client, case, label_file(), author="anna")
    assert kept["number"] == 1
    gone = client.get("/v1/cases", params={"task": own_task, "removed": True}).json()["cases"]
    assert [each["id"] for each in gone] == [case]
    back = client.post(f"/v1/cases/{case}/restoration", headers=BORIS).json()
    assert (back["removed"], back["state"], back["label_count"]) == (False, "draft", 1)
    what = [event["what"] for event in client.get(f"/v1/cases/{case}/events").json()["events"]]
    assert what == ["made", "claimed", "removed", "saved", "restored"]


def test_drafts_replace_only_those_of_their_own_session(client: httpx.Client, cases: list[dict[str, Any]]) -> None:
    path = f"/v1/cases/{cases[0]['id']}/drafts"

    def keep(session: str, person: dict[str, str], boxes: tuple[int, int], **more: Any) -> dict[str, Any]:
        content = put_volume(client, label_file([boxes]))
        answer = client.put(f"{path}/{session}", json={"segmentation": content, **more}, headers=person)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    first = keep("s-1", ANNA, (10, 20), seconds_of_work=60, tools={"Paint": 40})
    again = keep("s-1", ANNA, (10, 21), seconds_of_work=120)
    other = keep("s-2", BORIS, (5, 9))
    assert (first["number"], again["number"], other["number"]) == (1, 2, 1)
    listed = client.get(path).json()["drafts"]
    assert {each["session"]: each["segmentation"] for each in listed} == {
        "s-1": again["segmentation"],
        "s-2": other["segmentation"],
    }
    content = client.get(f"/v1/volumes/{again['segmentation']}").content
    assert content == label_file([(10, 21)])
    assert get(client, cases[0]["id"])["state"] == "draft"
    # a version takes the place of its own session's draft
    save(client, cases[0]["id"], label_file([(10, 21)]), author="anna", session="s-1")
    assert [each["session"] for each in client.get(path).json()["drafts"]] == ["s-2"]
    assert client.delete(f"{path}/s-2").status_code == 204 == client.delete(f"{path}/s-2").status_code
    assert get(client, cases[0]["id"])["state"] == "draft"  # a version is there


def test_a_dropped_draft_leaves_a_new_case(client: httpx.Client, cases: list[dict[str, Any]]) -> None:
    path = f"/v1/cases/{cases[0]['id']}"
    client.put(f"{path}/drafts/a", json={"segmentation": put_volume(client, label_file())}).raise_for_status()
    assert get(client, cases[0]["id"])["state"] == "draft"
    client.delete(f"{path}/drafts/a")
    assert get(client, cases[0]["id"])["state"] == "new"


@pytest.mark.parametrize(
    ("wanted", "status", "kind"),
    [
        ({}, 422, "label-file"),
        ({"segmentation": "0" * 64}, 422, "volume-missing"),
        ({"segmentation": "VOLUME"}, 422, "label"),
        ({"segmentation": "LABEL", "parent": str(uuid4())}, 422, "unknown-parent"),
        ({"segmentation": "LABEL", "parent": "../../etc/passwd"}, 422, "unknown-parent"),
        ({"segmentation": "LABEL", "inference": str(uuid4())}, 422, "unknown-proposal"),
        ({"segmentation": "LABEL", "seconds_of_work": -1}, 422, "invalid-request"),
    ],
)
def test_a_draft_of_nothing_is_refused(
    client: httpx.Client, cases: list[dict[str, Any]], wanted: dict[str, Any], status: int, kind: str
) -> None:
    known = {"VOLUME": cases[0]["volumes"]["t1"], "LABEL": put_volume(client, label_file())}
    asked = {name: known.get(value, value) if isinstance(value, str) else value for name, value in wanted.items()}
    problem(client.put(f"/v1/cases/{cases[0]['id']}/drafts/x", json=asked), status, kind)
    assert client.get(f"/v1/cases/{cases[0]['id']}/drafts").json() == {"drafts": []}


ODD_IDS = (
    "..%2f..%2fetc",
    "%00",
    "x" * 5000,
    "%F0%9F%A7%A0",
    "a%0d%0ab",
    "6F1D0C52-9B1E-4C3A-8A57-2E0B7C4D9F10",
    "' OR 1=1 --",
)


@pytest.mark.parametrize("odd", ODD_IDS)
def test_ids_that_are_none_find_nothing(client: httpx.Client, cases: list[dict[str, Any]], odd: str) -> None:
    for method, path, body in (
        ("GET", f"/v1/cases/{odd}", None),
        ("PUT", f"/v1/cases/{odd}/lease", {"lease": None}),
        ("DELETE", f"/v1/cases/{odd}/lease?lease=x", None),
        ("PATCH", f"/v1/cases/{odd}", {"priority": 1}),
        ("DELETE", f"/v1/cases/{odd}", None),
        ("POST", f"/v1/cases/{odd}/reviews", {"version": str(uuid4()), "verdict": "approve"}),
        ("GET", f"/v1/cases/{odd}/drafts", None),
        ("GET", f"/v1/cases/{cases[0]['id']}/labels/{odd}", None),
        ("GET", f"/v1/cases/{cases[0]['id']}/labels/{odd}/comparison?with={odd[:64]}", None),
    ):
        answer = client.request(method, path, json=body)
        assert answer.status_code in (404, 405), (method, path[:80], answer.text)
        assert answer.json()["hint"]


@pytest.mark.parametrize("headers", [{"MahtAI-User": ""}, {"MahtAI-User": "x" * 201}, {"MahtAI-User": "a%00b"}])
def test_a_person_that_nobody_can_be_is_refused(
    client: httpx.Client, cases: list[dict[str, Any]], headers: dict[str, str]
) -> None:
    problem(claim(client, cases[0]["id"], headers), 422, "person")
    problem(claim(client, cases[0]["id"], {"MahtAI-Role": "emperor"}), 422, "person")
    assert get(client, cases[0]["id"])["holder"] is None
