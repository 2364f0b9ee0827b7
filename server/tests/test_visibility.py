"""What is not for somebody does not exist for them: cases, scans, labels, results, by every way to them."""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from hospital_kit import Hospital, hospital_in
from mahtai.security.permissions import CALLS
from monai_label_wire import StockClient
from server_process import finished, put_volume, sha256, start_job, wait_until
from studies import FAST, synthetic_study

OURS, THEIRS = "neuro", "ortho"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Hospital]:
    with hospital_in(tmp_path_factory.mktemp("hospital"), models) as hospital:
        for name, role, team in (
            ("anna", "radiologist", OURS),
            ("aaron", "annotator", OURS),
            ("abel", "annotator", OURS),
            ("boris", "radiologist", THEIRS),
            ("bella", "viewer", THEIRS),
        ):
            hospital.add(name, role, team)
        yield hospital


@pytest.fixture(scope="module")
def case(hospital: Hospital) -> dict[str, Any]:
    """A case of Anna's team with a finished inference and a label."""
    with hospital.client("anna") as anna:
        volumes = {channel: put_volume(anna, data) for channel, data in synthetic_study().items()}
        made = anna.post("/v1/cases", json={"name": "Case", "task": "brain-tumour", "volumes": volumes})
        assert made.status_code == 201, made.text
        document: dict[str, Any] = made.json()
        assert document["team"] == OURS  # the only team of who made it
        job = finished(anna, start_job(anna, "tiny", volumes, options=FAST)["id"])
        content = anna.get(f"/v1/inferences/{job['id']}/result/segmentation").content
        label = anna.post(
            f"/v1/cases/{document['id']}/labels",
            json={"segmentation": put_volume(anna, content), "author": "somebody else", "role": "admin"},
            headers={"If-None-Match": "*"},
        )
        assert label.status_code == 201, label.text
        assert (label.json()["author"], label.json()["role"]) == ("anna", "radiologist")
        return {**document, "inference": job["id"], "label": label.json()["id"], "content": content}


def named(call: str, case: dict[str, Any]) -> tuple[str, str]:
    """Method and path of a call about the case of the other team."""
    method, template = call.split(" ")
    values = {
        "case": case["id"],
        "inference": case["inference"],
        "sha256": case["volumes"]["t1c"],
        "version": case["label"],
        "part": "segmentation",
        "session": "mine",
    }
    return method, re.sub(r"{(\w+)}", lambda match: str(values[match[1]]), template)


OBJECT_CALLS = [
    call for call in CALLS if re.search("{case}|{inference}|{sha256}", call) and not call.startswith("PUT /v1/v")
]


@pytest.mark.parametrize("name", ["boris", "bella"])
def test_no_call_shows_another_teams_objects(hospital: Hospital, case: dict[str, Any], name: str) -> None:
    """The answer is the one for something that is not there, for every call that names an object."""
    nowhere = {
        "id": str(uuid.uuid4()),
        "inference": str(uuid.uuid4()),
        "volumes": {"t1c": "1" * 64},
        "label": case["label"],
    }
    asked = 0
    with hospital.client(name) as other:
        for call in OBJECT_CALLS:
            answers = []
            for one in (case, {**case, **nowhere}):
                method, path = named(call, one)
                answers.append(other.request(method, path, content=b"{}", headers={"Content-Type": "application/json"}))
            theirs, none = answers
            assert theirs.status_code in (403, 404), (call, theirs.text)
            assert theirs.status_code == none.status_code, call
            if theirs.content:
                assert {**theirs.json(), "instance": ""} == {**none.json(), "instance": ""}, call
            asked += 1
    assert asked >= 25


def test_lists_and_queues_hold_nothing_of_another_team(hospital: Hospital, case: dict[str, Any]) -> None:
    with hospital.client("boris") as boris, hospital.client("anna") as anna:
        assert case["id"] in {each["id"] for each in anna.get("/v1/cases").json()["cases"]}
        assert boris.get("/v1/cases").json()["cases"] == []
        assert boris.get("/v1/cases", params={"volume": case["volumes"]["t1c"]}).json()["cases"] == []
        assert boris.post("/v1/cases/next", json={"strategy": "order"}).status_code == 204
    program = f"/monailabel/{hospital.token('boris')}"
    with hospital.server.client(token="") as client:
        assert client.get(f"{program}/datastore/", params={"output": "all"}).json()["objects"] == {}
        image = f"case-{case['number']}-t1c"
        assert client.get(f"{program}/datastore/image", params={"image": image}).status_code == 404
        ours = f"/monailabel/{hospital.token('anna')}"
        assert client.get(f"{ours}/datastore/image", params={"image": image}).status_code == 200


def test_two_teams_that_have_the_same_scans_each_have_their_case(hospital: Hospital) -> None:
    """Whoever chooses the key of a case by its scans chooses the same one as the other team."""
    for name, team in (("carla", "north"), ("chris", "south")):
        hospital.add(name, "radiologist", team)
    wanted = {"name": "Case", "task": "brain-tumour", "client_key": str(uuid.uuid4())}
    ids, images = set(), set()
    for name in ("carla", "chris"):
        with hospital.client(name) as client:
            volumes = {channel: put_volume(client, data) for channel, data in synthetic_study(8).items()}
            made = [client.post("/v1/cases", json={**wanted, "volumes": volumes}) for _ in range(2)]
            assert [each.status_code for each in made] == [201, 200], made[0].text
            assert made[0].json()["id"] == made[1].json()["id"]
            ids.add(made[0].json()["id"])
            assert {each["id"] for each in client.get("/v1/cases").json()["cases"]} & ids == {made[0].json()["id"]}
        stock = StockClient(f"{hospital.server.url}/monailabel/{hospital.token(name)}")
        for _ in range(2):
            sent = stock.upload("patient one t1", synthetic_study(9 if name == "carla" else 10)["t1"])
            assert sent.status == 200 and sent.json["image"] == "patient one t1"
        images.add(stock.get("/datastore/image?image=patient+one+t1").body)
    assert len(ids) == 2 and len(images) == 2


def test_a_hash_alone_is_no_key_to_a_scan(hospital: Hospital, case: dict[str, Any]) -> None:
    """Who knows the hash of another team's scan is told that it is not there, until they send it themselves."""
    data = synthetic_study()["t1c"]
    identity = sha256(data)
    assert identity == case["volumes"]["t1c"]
    with hospital.client("boris") as boris:
        assert boris.post("/v1/volumes/missing", json={"sha256": [identity]}).json()["missing"] == [identity]
        empty = boris.put(f"/v1/volumes/{identity}", content=b"")
        assert empty.status_code == 422 and boris.get(f"/v1/volumes/{identity}").status_code == 404
        for call, body in (
            ("/v1/inferences", {"model": "tiny", "inputs": case["volumes"]}),
            ("/v1/preparations", {"model": "tiny", "inputs": case["volumes"]}),
            ("/v1/cases", {"name": "stolen", "task": "brain-tumour", "volumes": case["volumes"]}),
        ):
            refused = boris.post(call, json=body)
            assert refused.status_code == 422 and refused.json()["type"].endswith("/volume-missing"), refused.text
        put_volume(boris, data)  # they have it: it is theirs as well
        assert boris.get(f"/v1/volumes/{identity}").content == data
        assert boris.get(f"/v1/cases/{case['id']}").status_code == 404


def test_a_label_is_not_made_of_what_is_not_for_its_maker(hospital: Hospital, case: dict[str, Any]) -> None:
    with hospital.client("boris") as boris:
        volumes = {"t1c": put_volume(boris, synthetic_study(seed=7)["t1c"])}
        own = boris.post("/v1/cases", json={"name": "Own", "task": "brain-tumour", "volumes": volumes}).json()
        label = {"segmentation": sha256(case["content"]), "author": "boris", "role": "radiologist"}
        refused = boris.post(f"/v1/cases/{own['id']}/labels", json=label, headers={"If-None-Match": "*"})
        assert refused.status_code == 422 and refused.json()["type"].endswith("/volume-missing")
        draft = boris.put(f"/v1/cases/{own['id']}/drafts/mine", json={"segmentation": sha256(case["content"])})
        assert draft.status_code == 422
        moved = boris.patch(f"/v1/cases/{own['id']}", json={"team": OURS})
        assert moved.status_code == 403 and moved.json()["type"].endswith("/not-your-team")


def test_what_is_assigned_to_an_annotator_is_not_for_the_other(hospital: Hospital, case: dict[str, Any]) -> None:
    with hospital.client("anna") as anna, hospital.client("aaron") as aaron, hospital.client("abel") as abel:
        assert aaron.get(f"/v1/cases/{case['id']}").status_code == 200
        assert anna.patch(f"/v1/cases/{case['id']}", json={"assignee": "abel"}).status_code == 200
        assert aaron.get(f"/v1/cases/{case['id']}").status_code == 404
        assert aaron.get(f"/v1/volumes/{case['volumes']['flair']}").status_code == 404
        assert abel.get(f"/v1/volumes/{case['volumes']['flair']}").status_code == 200
        assert anna.patch(f"/v1/cases/{case['id']}", json={"assignee": ""}).status_code == 200
        assert aaron.get(f"/v1/cases/{case['id']}").status_code == 200


def test_drafts_and_jobs_are_changed_by_whose_they_are(hospital: Hospital, case: dict[str, Any]) -> None:
    with hospital.client("anna") as anna, hospital.client("aaron") as aaron:
        identity = put_volume(anna, case["content"])
        draft = {"segmentation": identity}
        assert anna.put(f"/v1/cases/{case['id']}/drafts/of-anna", json=draft).status_code == 200
        for answer in (
            aaron.put(f"/v1/cases/{case['id']}/drafts/of-anna", json=draft),
            aaron.delete(f"/v1/cases/{case['id']}/drafts/of-anna"),
        ):
            assert answer.status_code == 409 and answer.json()["type"].endswith("/draft-of-somebody-else")
        cancelled = aaron.delete(f"/v1/inferences/{case['inference']}")
        assert cancelled.status_code == 403 and cancelled.json()["type"].endswith("/not-your-job")


def test_scores_are_made_and_counted_of_ones_own_cases_and_in_ones_own_name(start_server: Any) -> None:
    own = Hospital.open(start_server, "scores")
    own.add("anna", "radiologist", OURS)
    own.add("boris", "radiologist", THEIRS)
    wanted = {"task": "brain-tumour", "model": "tiny"}
    with own.client("anna") as anna, own.client("boris") as boris, own.client("admin") as admin:

        def made(who: httpx.Client, *seeds: int) -> None:
            for seed in seeds:
                volumes = {channel: put_volume(who, data) for channel, data in synthetic_study(seed).items()}
                body = {"name": f"Case {seed}", "task": wanted["task"], "volumes": volumes}
                assert who.post("/v1/cases", json=body).status_code == 201

        def scored(who: httpx.Client) -> tuple[int, int]:
            told = who.get("/v1/scores", params=wanted).json()
            return told["cases"], told["scored"]

        def ready(who: httpx.Client) -> bool:
            told = who.get("/v1/strategies", params=wanted).json()["strategies"]
            return bool(next(each for each in told if each["id"] == "uncertain")["ready"])

        made(anna, 1, 2)
        assert boris.post("/v1/scores", json=wanted).json()["cases"] == 0
        assert boris.post("/v1/cases/next", json={"strategy": "uncertain", "model": "tiny"}).status_code == 204
        assert _asked_by(own) == []
        made(boris, 3)
        wait_until(lambda: boris.post("/v1/scores", json=wanted).json()["scored"] == 1, 120, "his case to be scored")
        assert (scored(anna), scored(boris), scored(admin)) == ((2, 0), (1, 1), (3, 1))
        assert _asked_by(own) == ["boris"]
        made(boris, 4)
        assert not ready(anna) and ready(boris)
        wait_until(lambda: anna.post("/v1/scores", json=wanted).json()["scored"] == 2, 120, "her cases to be scored")
        assert _asked_by(own) == ["boris", "anna", "anna"]
        record = admin.get("/v1/audit", params={"limit": 1000, "kind": "inference"}).json()["entries"]
        asked = [(each["who"], each["object"]) for each in record if each["detail"]["call"] == "POST /v1/scores"]
        both = "model/tiny/brain-tumour"
        assert set(asked) == {("boris", "model/tiny"), ("boris", both), ("anna", both)}


def test_scoring_leaves_room_for_what_its_asker_reads(start_server: Any) -> None:
    small = Hospital.open(start_server, "small-scores", jobs_per_user="2")
    with small.client("radiologist") as own:
        for seed in range(4):
            volumes = {channel: put_volume(own, data) for channel, data in synthetic_study(seed).items()}
            body = {"name": f"Case {seed}", "task": "brain-tumour", "volumes": volumes}
            assert own.post("/v1/cases", json=body).status_code == 201
        told = own.post("/v1/scores", json={"task": "brain-tumour", "model": "tiny"}).json()
        assert told["queued"] <= 1 and told["unfit"] == 0
        assert own.post("/v1/inferences", json={"model": "tiny", "inputs": volumes}).status_code == 202


def _asked_by(hospital: Hospital) -> list[Any]:
    """Who asked for each inference, in order."""
    with closing(sqlite3.connect(hospital.server.data / "mahtai.sqlite")) as tables:
        return [name for (name,) in tables.execute("SELECT requested_by FROM inferences ORDER BY number")]


def test_no_answer_tells_whether_another_team_has_the_patient(hospital: Hospital) -> None:
    def made(who: httpx.Client, patient: str | None, *seeds: int) -> dict[str, Any]:
        scans = [put_volume(who, synthetic_study(seed)["t1c"]) for seed in seeds]
        volumes = dict(zip(("t1c", "t1"), scans, strict=False))
        answer = who.post(
            "/v1/cases", json={"name": "Case", "task": "brain-tumour", "volumes": volumes, "patient": patient}
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def told(who: httpx.Client, *cases: dict[str, Any]) -> list[Any]:
        return [who.get(f"/v1/cases/{case['id']}").json()["patient"] for case in cases]

    with hospital.client("anna") as anna, hospital.client("boris") as boris, hospital.client("admin") as admin:
        theirs = made(anna, "Mrs A", 900)
        by_name = made(boris, "Mrs A", 901)
        by_scan = made(boris, None, 900)
        unknown = made(boris, "Mrs B", 902)
        # each is told to be new, whoever else has the patient
        assert told(boris, by_name, by_scan, unknown) == [f"P{case['number']}" for case in (by_name, by_scan, unknown)]
        assert boris.get("/v1/cases", params={"search": theirs["patient"]}).json()["cases"] == []
        # but for the split they are one
        assert _patients(hospital, theirs, by_name, by_scan) == 1 and _patients(hospital, theirs, unknown) == 2
        assert len({case["split"] for case in (theirs, by_name, by_scan)}) == 1
        # what another team learns of a patient does not show either
        made(anna, "Mrs A", 902)
        assert _patients(hospital, theirs, unknown) == 1
        assert told(boris, by_name, by_scan, unknown) == [f"P{case['number']}" for case in (by_name, by_scan, unknown)]
        # one's own cases do: by the name, and by a scan
        assert made(boris, "mrs b", 903)["patient"] == unknown["patient"]
        both = made(boris, "Mrs A", 903)
        assert told(boris, by_name, unknown, both) == [by_name["patient"]] * 3
        assert told(boris, by_scan) == [by_scan["patient"]]
        # in another team, the case is grouped by what that one knows
        moved = admin.patch(f"/v1/cases/{by_name['id']}", json={"team": OURS}).json()
        assert moved["patient"] == theirs["patient"] != by_name["patient"]


def _patients(hospital: Hospital, *cases: dict[str, Any]) -> int:
    """How many patients these are, by all that the server knows."""
    with closing(sqlite3.connect(hospital.server.data / "mahtai.sqlite")) as tables:
        of_case = "SELECT patient FROM cases WHERE id = ?"
        return len({tables.execute(of_case, (case["id"],)).fetchone() for case in cases})


def test_one_account_does_not_fill_the_line(start_server: Any) -> None:
    small = Hospital.open(start_server, "small", jobs_per_user="2")
    small.add("other", "radiologist")
    with small.client("radiologist") as busy, small.client("other") as other:
        volumes = {channel: put_volume(busy, data) for channel, data in synthetic_study().items()}
        answers: list[httpx.Response] = []
        for _ in range(12):
            answers.append(busy.post("/v1/inferences", json={"model": "tiny", "inputs": volumes, "rerun": True}))
        full = [answer for answer in answers if answer.status_code == 429]
        assert full and all(answer.json()["type"].endswith("/too-many-jobs") for answer in full)
        for data in synthetic_study().values():
            put_volume(other, data)
        assert other.post("/v1/inferences", json={"model": "tiny", "inputs": volumes, "rerun": True}).status_code == 202
