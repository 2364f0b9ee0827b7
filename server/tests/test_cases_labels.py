"""Label versions over HTTP: immutable, both of two siblings kept, what was changed is measured."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from mahtai.volumes.geometry import Geometry
from mahtai.volumes.segmentation_file import encode_segmentation
from mahtai.volumes.terminology import segments_of_task
from MahtAILib.client import nrrd
from server_process import ServerProcess, finished, put_volume, sha256, start_job
from studies import FAST, SHAPE, TASK, affine, label_file
from test_api_access import problem
from test_cases import make_case

Study = dict[str, str]
FIRST = {"If-None-Match": "*"}


@pytest.fixture
def case(client: httpx.Client, study: Study) -> str:
    """A new case on the small study."""
    return str(make_case(client, study)["id"])


def send(client: httpx.Client, case: str, data: bytes, headers: dict[str, str], **more: Any) -> httpx.Response:
    """Upload a label and ask to save it as a version."""
    wanted = {"segmentation": put_volume(client, data), "author": "reader-1", "role": "radiologist", **more}
    return client.post(f"/v1/cases/{case}/labels", json=wanted, headers=headers)


def save(client: httpx.Client, case: str, data: bytes, parent: str | None = None, **more: Any) -> dict[str, Any]:
    """Save a version that must be taken."""
    answer = send(client, case, data, FIRST if parent is None else {"If-Match": f'"{parent}"'}, **more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_versions_are_numbered_and_keep_their_bytes(client: httpx.Client, case: str) -> None:
    files = [label_file([(10, 20)]), label_file([(10, 22)]), label_file([(8, 22), (24, 30)])]
    parent = None
    for number, data in enumerate(files, start=1):
        version = save(client, case, data, parent, comment=f"take {number}", seconds_of_work=1.5, tools={"Paint": 2})
        assert version["number"] == number and version["parent"] == parent and version["sibling_of"] is None
        parent = version["id"]
    listed = client.get(f"/v1/cases/{case}/labels").json()["labels"]
    assert [version["comment"] for version in listed] == ["take 1", "take 2", "take 3"]
    for version, data in zip(listed, files, strict=True):
        assert client.get(f"/v1/cases/{case}/labels/{version['id']}").json() == version
        content = client.get(f"/v1/cases/{case}/labels/{version['id']}/content")
        assert content.content == data and sha256(data) == version["segmentation"] and version["bytes"] == len(data)
    assert client.get(f"/v1/cases/{case}").json()["label_count"] == 3


def test_changes_against_the_parent_are_counted(client: httpx.Client, case: str) -> None:
    first = save(client, case, label_file([(10, 20)]))
    assert first["against_parent"] is None and first["against_proposal"] is None
    assert first["segments"]["ncr"] == {
        "name": "Necrotic core",
        "label_value": 1,
        "voxels": 1000,
        "volume_ml": 8.0,
    }
    second = save(client, case, label_file([(10, 22), (30, 34)]), first["id"])
    changes = second["against_parent"]
    assert changes["voxels_changed"] == 12**3 - 10**3 + 4**3
    assert changes["dice"]["ncr"] == pytest.approx(2 * 1000 / (1000 + 1728), abs=1e-6)
    assert changes["dice"]["ed"] == 0.0 and changes["dice"]["et"] == 1.0


def test_changes_against_the_proposal_and_its_model_are_kept(client: httpx.Client, study: Study, case: str) -> None:
    job = start_job(client, "tiny", study, options=FAST)["id"]
    end = finished(client, job)
    proposal = client.get(f"/v1/inferences/{job}/result/segmentation").content
    as_it_was = save(client, case, proposal, inference=job, verdict="agree")
    assert as_it_was["against_proposal"]["voxels_changed"] == 0
    assert set(as_it_was["against_proposal"]["dice"].values()) == {1.0}
    assert (as_it_was["model"], as_it_was["model_sha256"]) == ("tiny", end["model_sha256"])
    corrected = save(client, case, label_file([(5, 9)]), as_it_was["id"], inference=job, verdict="disagree")
    assert corrected["against_proposal"] == corrected["against_parent"]
    assert corrected["against_proposal"]["voxels_changed"] > 0


def test_two_versions_of_one_parent_are_both_kept_and_the_second_is_told(client: httpx.Client, case: str) -> None:
    root = save(client, case, label_file([(10, 20)]))
    one = save(client, case, label_file([(10, 21)]), root["id"])
    two = save(client, case, label_file([(10, 22)]), root["id"], author="reader-2")
    assert one["sibling_of"] is None and two["sibling_of"] == one["id"]
    another_root = save(client, case, label_file([(11, 20)]), author="reader-3")
    assert another_root["sibling_of"] == root["id"]
    assert len(client.get(f"/v1/cases/{case}/labels").json()["labels"]) == 4


def test_many_clients_saving_at_once_each_get_a_number_of_their_own(
    server: ServerProcess, client: httpx.Client, case: str
) -> None:
    root = save(client, case, label_file([(10, 20)]))["id"]
    versions: list[dict[str, Any]] = []

    def annotate(number: int) -> None:
        with server.client() as own:
            versions.append(save(own, case, label_file([(10, 21 + number)]), root, author=f"reader-{number}"))

    annotators = [threading.Thread(target=annotate, args=(number,)) for number in range(8)]
    for annotator in annotators:
        annotator.start()
    for annotator in annotators:
        annotator.join()
    assert sorted(version["number"] for version in versions) == list(range(2, 10))
    assert [version["number"] for version in versions if version["sibling_of"] is None] == [2]


def test_a_retry_with_the_same_key_saves_once(client: httpx.Client, case: str) -> None:
    key = str(uuid4())
    data = label_file([(10, 20)])
    first = save(client, case, data, client_key=key)
    again = send(client, case, data, FIRST, client_key=key)
    assert again.status_code == 200 and again.json() == first
    problem(send(client, case, label_file([(10, 21)]), FIRST, client_key=key), 409, "client-key-reused")
    assert len(client.get(f"/v1/cases/{case}/labels").json()["labels"]) == 1


def test_a_file_that_slicer_cut_to_its_segments_is_taken_on_the_grid_of_the_study(
    client: httpx.Client, case: str
) -> None:
    whole = save(client, case, label_file([(10, 20)]))
    matrix = affine()
    matrix[:, 3] = affine() @ [8, 8, 8, 1]
    labelmap = np.zeros((14, 14, 14), np.uint8)
    labelmap[2:12, 2:12, 2:12] = 1
    cut = encode_segmentation(labelmap, Geometry(labelmap.shape, matrix), segments_of_task(TASK))
    version = save(client, case, cut, whole["id"])
    assert version["against_parent"] == {"voxels_changed": 0, "dice": {"ed": 1.0, "et": 1.0, "ncr": 1.0}}
    assert client.get(f"/v1/cases/{case}/labels/{version['id']}/content").content == cut


def on_another_grid() -> bytes:
    """A label that lies half a voxel beside the study."""
    matrix = affine()
    matrix[0, 3] += 1.0
    return encode_segmentation(np.ones(SHAPE, np.uint8), Geometry(SHAPE, matrix), segments_of_task(TASK))


def plain_labelmap() -> bytes:
    """Voxels without the description of segments."""
    labelmap = np.zeros(SHAPE, np.uint8)
    labelmap[5:9] = 1
    return nrrd.encode(labelmap, affine())


@pytest.mark.parametrize(("make", "kind"), [(on_another_grid, "label-grid"), (plain_labelmap, "label")])
def test_a_label_that_does_not_fit_the_study_is_refused(
    client: httpx.Client, case: str, make: Callable[[], bytes], kind: str
) -> None:
    problem(send(client, case, make(), FIRST), 422, kind)
    assert client.get(f"/v1/cases/{case}/labels").json() == {"labels": []}


@pytest.mark.parametrize(
    ("headers", "more", "status", "kind"),
    [
        ({}, {}, 428, "precondition-required"),
        (FIRST, {"parent": str(uuid4())}, 422, "parent-unclear"),
        ({"If-Match": '"a"', "If-None-Match": "*"}, {}, 422, "parent-unclear"),
        ({"If-Match": '"a"'}, {"parent": "b"}, 422, "parent-unclear"),
        ({"If-Match": f'"{uuid4()}"'}, {}, 422, "unknown-parent"),
        ({"If-Match": '"\x7f/../"'}, {}, 422, "unknown-parent"),
        (FIRST, {"inference": str(uuid4())}, 422, "unknown-proposal"),
        (FIRST, {"verdict": "maybe"}, 422, "invalid-request"),
        (FIRST, {"seconds_of_work": -1}, 422, "invalid-request"),
        (FIRST, {"author": ""}, 422, "invalid-request"),
        (FIRST, {"comment": "x" * 10_001}, 422, "invalid-request"),
        (FIRST, {"number": 7}, 422, "invalid-request"),
    ],
)
def test_a_label_that_refers_to_nothing_or_says_nonsense_is_refused(
    client: httpx.Client, case: str, headers: dict[str, str], more: dict[str, Any], status: int, kind: str
) -> None:
    problem(send(client, case, label_file(), headers, **more), status, kind)
    assert client.get(f"/v1/cases/{case}/labels").json() == {"labels": []}


def test_a_parent_of_another_case_is_no_parent(client: httpx.Client, study: Study, case: str) -> None:
    foreign = save(client, str(make_case(client, study)["id"]), label_file())["id"]
    problem(send(client, case, label_file(), {"If-Match": f'"{foreign}"'}), 422, "unknown-parent")
    problem(client.get(f"/v1/cases/{case}/labels/{foreign}"), 404, "unknown-version")


def test_a_label_that_was_not_uploaded_is_asked_for(client: httpx.Client, case: str) -> None:
    wanted = {"segmentation": "e" * 64, "author": "reader", "role": "radiologist"}
    document = problem(client.post(f"/v1/cases/{case}/labels", json=wanted, headers=FIRST), 422, "volume-missing")
    assert document["missing"] == ["e" * 64]


def test_an_id_with_a_path_in_it_finds_nothing(client: httpx.Client, case: str) -> None:
    problem(client.get(f"/v1/cases/{case}/labels/..%2F..%2Ftoken"), 404, "not-found")
    problem(client.get(f"/v1/cases/{case}/labels/%00"), 404, "unknown-version")
