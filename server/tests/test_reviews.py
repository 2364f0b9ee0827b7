"""Reviews over HTTP: a second reader approves, sends back or corrects; versions compared, merged, restored."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
import SimpleITK as sitk

from mahtai.volumes.geometry import Geometry
from mahtai.volumes.segmentation_file import decode_segmentation
from MahtAILib.client.segmentation import Segment, Segmentation, encode
from server_process import StartServer, finished, put_volume, start_job
from studies import FAST, SHAPE, affine, label_file, synthetic_study
from test_api_access import problem
from test_cases import make_case
from test_cases_labels import save, send

ANNA, BORIS = ({"MahtAI-User": name, "MahtAI-Role": "radiologist"} for name in ("anna", "boris"))
GRID = Geometry(SHAPE, affine())


@pytest.fixture
def case(client: httpx.Client, study: dict[str, str]) -> str:
    """A new case on the small study."""
    return str(make_case(client, study)["id"])


def review(client: httpx.Client, case: str, version: str, person: dict[str, str], **more: Any) -> httpx.Response:
    """Ask for a review to be taken."""
    return client.post(
        f"/v1/cases/{case}/reviews", json={"version": version, "verdict": "approve", **more}, headers=person
    )


def state(client: httpx.Client, case: str) -> str:
    """Of a case."""
    return str(client.get(f"/v1/cases/{case}").json()["state"])


def test_a_label_goes_from_the_annotator_to_the_second_reader_and_back_until_it_is_approved(
    client: httpx.Client, case: str
) -> None:
    lease = client.put(f"/v1/cases/{case}/lease", json={}, headers=ANNA).json()
    first = save(client, case, label_file([(10, 20)]), author="anna")
    problem(review(client, case, first["id"], BORIS), 409, "not-submitted")
    submitted = client.post(f"/v1/cases/{case}/submission", json={"version": first["id"]}, headers=ANNA).json()
    assert (submitted["state"], submitted["submitted"], submitted["holder"]) == ("submitted", first["id"], None)
    problem(review(client, case, first["id"], ANNA), 409, "own-work")
    problem(review(client, case, first["id"], BORIS, verdict="reject", comment=" "), 422, "review")
    back = review(client, case, first["id"], BORIS, verdict="reject", comment="Oedema is missing.").json()
    assert back["case"]["state"] == "rejected" and back["case"]["last_review"]["comment"] == "Oedema is missing."
    second = save(client, case, label_file([(10, 20), (25, 30)]), first["id"], author="anna", submit=True)
    taken = review(client, case, second["id"], BORIS, ai_verdict="disagree", client_key="k")
    assert taken.status_code == 201 and taken.json()["case"]["approved"] == second["id"]
    assert review(client, case, second["id"], BORIS, ai_verdict="disagree", client_key="k").status_code == 200
    problem(review(client, case, second["id"], BORIS), 409, "not-submitted")
    listed = client.get(f"/v1/cases/{case}/reviews").json()["reviews"]
    assert [each["verdict"] for each in listed] == ["reject", "approve"]
    assert client.get(f"/v1/cases/{case}/labels/{second['id']}").json()["review"]["reviewer"] == "boris"
    events = client.get(f"/v1/cases/{case}/events").json()["events"]
    told = [(event["what"], event["after"]) for event in events]
    assert told == [
        ("made", "new"),
        ("claimed", "new"),
        ("saved", "draft"),
        ("submitted", "submitted"),
        ("rejected", "rejected"),
        ("saved", "draft"),
        ("submitted", "submitted"),
        ("approved", "approved"),
    ]
    assert lease["holder"] == "anna"


def test_a_reviewer_may_correct_and_approve_what_another_one_handed_in(client: httpx.Client, case: str) -> None:
    first = save(client, case, label_file([(10, 20)]), author="anna", submit=True)
    corrected = save(client, case, label_file([(10, 21)]), first["id"], author="boris", submit=True)
    assert review(client, case, corrected["id"], BORIS).status_code == 201
    # but nobody reviews a chain of their own
    again = save(client, case, label_file([(10, 22)]), corrected["id"], author="boris", submit=True)
    assert state(client, case) == "submitted"
    problem(review(client, case, again["id"], BORIS), 409, "own-work")
    assert client.get(f"/v1/cases/{case}").json()["approved"] == corrected["id"]
    assert review(client, case, again["id"], ANNA).status_code == 201


def test_one_person_alone_can_be_allowed_to_approve(start_server: StartServer) -> None:
    server = start_server(environment={"second_reader": "off"})
    with server.client() as client:
        study = {slot: put_volume(client, data) for slot, data in synthetic_study().items()}
        case = make_case(client, study)["id"]
        version = save(client, case, label_file(), author="local", submit=True)
        assert review(client, case, version["id"], {}).status_code == 201


def test_an_approved_case_is_reopened_by_a_new_version_and_keeps_what_was_approved(
    client: httpx.Client, case: str
) -> None:
    first = save(client, case, label_file([(10, 20)]), author="anna", submit=True)
    review(client, case, first["id"], BORIS).raise_for_status()
    second = save(client, case, label_file([(10, 24)]), first["id"], author="anna")
    now = client.get(f"/v1/cases/{case}").json()
    assert (now["state"], now["approved"]) == ("draft", first["id"])
    restored = send(
        client,
        case,
        label_file([(10, 20)]),
        {"If-Match": f'"{second["id"]}"'},
        author="anna",
        restores=first["id"],
    ).json()
    assert restored["restores"] == first["id"] and restored["segmentation"] == first["segmentation"]
    assert restored["parent"] == second["id"] and restored["number"] == 3
    assert [v["id"] for v in client.get(f"/v1/cases/{case}/labels").json()["labels"]] == [
        first["id"],
        second["id"],
        restored["id"],
    ]


def test_two_versions_are_compared_part_by_part(client: httpx.Client, case: str) -> None:
    first = save(client, case, label_file([(10, 20), (30, 32)]))
    second = save(client, case, label_file([(10, 22)]), first["id"])
    path = f"/v1/cases/{case}/labels/{first['id']}/comparison"
    told = client.get(path, params={"with": second["id"]}).json()
    assert told["first"]["id"] == first["id"] and told["second"]["id"] == second["id"]
    assert told["change"]["dice"]["ed"] == 0 and told["change"]["voxels_changed"] == 12**3 - 10**3 + 8
    problem(client.get(path, params={"with": str(uuid4())}), 404, "unknown-version")


def test_two_versions_of_one_parent_are_merged_segment_by_segment(client: httpx.Client, case: str) -> None:
    parent = save(client, case, label_file([(10, 20), (24, 28)]))
    mine = save(client, case, label_file([(10, 21), (24, 28)]), parent["id"], author="anna")
    theirs = save(client, case, label_file([(10, 20), (24, 30)]), parent["id"], author="boris")
    assert theirs["sibling_of"] == mine["id"]
    wanted = {"first": mine["id"], "second": theirs["id"], "take": {"ed": "second", "ncr": "first"}, "client_key": "m"}
    answer = client.post(f"/v1/cases/{case}/labels/merges", json=wanted, headers=ANNA)
    assert answer.status_code == 201, answer.text
    merged = answer.json()
    assert (merged["parent"], merged["merges"], merged["author"]) == (mine["id"], theirs["id"], "anna")
    assert merged["segments"]["ncr"]["voxels"] == 11**3 and merged["segments"]["ed"]["voxels"] == 6**3
    assert client.post(f"/v1/cases/{case}/labels/merges", json=wanted, headers=ANNA).json()["id"] == merged["id"]
    content = client.get(f"/v1/cases/{case}/labels/{merged['id']}/content").content
    decoded = decode_segmentation(content)
    assert {segment.id: segment.label_value for segment in decoded.segments} == {"ncr": 1, "ed": 2, "et": 3}
    assert all(segment.tags["TerminologyEntry"] for segment in decoded.segments)
    wrong = {**wanted, "take": {"nothing": "second"}, "client_key": "n"}
    problem(client.post(f"/v1/cases/{case}/labels/merges", json=wrong), 422, "label")


def overlapping(boxes: dict[str, tuple[int, int]]) -> bytes:
    """Segments that overlap, each in a layer of its own."""
    layers = np.zeros((len(boxes), *SHAPE), np.uint8)
    segments = []
    for number, (name, (first, last)) in enumerate(boxes.items()):
        layers[number, first:last, first:last, first:last] = number + 1
        segments.append(Segment(name, name.title(), number + 1, layer=number))
    return encode(Segmentation(tuple(segments), layers, GRID))


def test_overlapping_segments_stay_overlapping_when_they_are_saved_and_merged(client: httpx.Client, case: str) -> None:
    first = save(client, case, overlapping({"wt": (5, 25), "tc": (10, 20)}))
    second = save(client, case, overlapping({"wt": (5, 25), "tc": (10, 15), "extra": (4, 8)}), first["id"])
    assert first["segments"]["wt"]["voxels"] == 20**3 and first["segments"]["tc"]["voxels"] == 10**3
    assert sorted(second["unknown_parts"]) == ["Extra", "Tc", "Wt"]
    wanted = {"first": first["id"], "second": second["id"], "take": {"tc": "second", "extra": "second"}}
    merged = client.post(f"/v1/cases/{case}/labels/merges", json=wanted, headers=ANNA).json()
    assert {name: part["voxels"] for name, part in merged["segments"].items()} == {
        "wt": 20**3,
        "tc": 5**3,
        "extra": 4**3,
    }


def test_a_merged_file_lies_where_its_sources_lie_for_an_independent_reader(
    client: httpx.Client, case: str, tmp_path: Any
) -> None:
    first = save(client, case, label_file([(10, 20)]))
    second = save(client, case, label_file([(12, 18)]), first["id"])
    wanted = {"first": first["id"], "second": second["id"], "take": {"ncr": "second"}}
    merged = client.post(f"/v1/cases/{case}/labels/merges", json=wanted, headers=ANNA).json()
    images = []
    for version in (second, merged):
        path = tmp_path / f"{version['number']}.nrrd"
        path.write_bytes(client.get(f"/v1/cases/{case}/labels/{version['id']}/content").content)
        images.append(sitk.ReadImage(str(path)))
    assert images[0].GetOrigin() == images[1].GetOrigin() and images[0].GetDirection() == images[1].GetDirection()
    assert np.array_equal(*(sitk.GetArrayFromImage(image) > 0 for image in images))


def test_segments_that_the_task_does_not_know_are_kept_and_named(client: httpx.Client, case: str) -> None:
    version = save(client, case, overlapping({"haemorrhage": (5, 9), "ncr": (20, 22)}))
    assert version["unknown_parts"] == ["Haemorrhage"] and version["segments"]["haemorrhage"]["voxels"] == 64
    content = client.get(f"/v1/cases/{case}/labels/{version['id']}/content").content
    assert decode_segmentation(content).mask("haemorrhage").sum() == 64


def test_agreement_is_counted_by_version_of_the_model(client: httpx.Client, study: dict[str, str], case: str) -> None:
    job = start_job(client, "tiny", study, options=FAST)["id"]
    end = finished(client, job)
    before = {each["sha256"]: each for each in client.get("/v1/feedback").json()["models"]}
    sha256 = end["model_sha256"]
    had = before.get(sha256, {"versions": 0, "agree": 0, "disagree": 0, "review_agree": 0, "review_disagree": 0})
    first = save(client, case, label_file(), author="anna", inference=job, verdict="disagree", submit=True)
    review(client, case, first["id"], BORIS, ai_verdict="agree").raise_for_status()
    now = {each["sha256"]: each for each in client.get("/v1/feedback").json()["models"]}[sha256]
    assert now["model"] == "tiny" and now["versions"] == had["versions"] + 1
    assert (now["agree"], now["disagree"]) == (had["agree"], had["disagree"] + 1)
    assert (now["review_agree"], now["review_disagree"]) == (had["review_agree"] + 1, had["review_disagree"])
    assert set(now["mean_dice"]) >= {"ncr", "ed", "et"}
    assert case in {each["id"] for each in client.get("/v1/cases", params={"hard": True}).json()["cases"]}
