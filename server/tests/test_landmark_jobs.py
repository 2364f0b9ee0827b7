"""A cephalogram over HTTP: landmarks and measurements come back, versions say what was moved, bad input is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from image_kit import colours, grey, picture, radiograph
from mahtai.volumes.formats import read_volume
from MahtAILib.client import nrrd
from MahtAILib.client.cases import NewCase, NewLabel, add_label, create_case, label_content, list_labels
from MahtAILib.client.connection import Connection
from MahtAILib.client.markups import LandmarkFile, LandmarkPoint, decode_markups, encode_markups
from MahtAILib.client.study import StudyVolume, detect_landmarks
from server_process import ServerProcess, finished, put_volume, sha256, start_job
from studies import affine, label_file
from test_api_access import problem
from tiny_bundle import write_tiny_bundle
from tiny_landmark_bundle import write_landmark_bundle

FIRST = {"If-None-Match": "*"}
PICTURE = picture(grey("uint8", 480, 384), "PNG")
SIZE = (384, 480)


@pytest.fixture(scope="module")
def ceph_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a model for landmarks and one that segments, both with random weights."""
    models = tmp_path_factory.mktemp("models")
    write_landmark_bundle(models / "points")
    write_tiny_bundle(models / "tiny")
    process = ServerProcess(tmp_path_factory.mktemp("server"), (models,)).start()
    yield process
    process.kill()


@pytest.fixture
def client(ceph_server: ServerProcess) -> Iterator[httpx.Client]:
    with ceph_server.client() as connected:
        yield connected


@pytest.fixture
def connection(ceph_server: ServerProcess) -> Iterator[Connection]:
    with Connection(ceph_server.url, ceph_server.token) as connected:
        yield connected


def run(client: httpx.Client, image: bytes = PICTURE, **options: Any) -> dict[str, Any]:
    """The result of a job on an image."""
    job = start_job(client, "points", {"ceph": put_volume(client, image)}, options=options)
    done = finished(client, job["id"])
    assert done["state"] == "succeeded", done
    return {"job": job["id"], **client.get(f"/v1/inferences/{job['id']}/result").json()}


def test_an_image_goes_in_and_landmarks_and_measurements_come_out(client: httpx.Client) -> None:
    result = run(client)
    parts = {name: result[name] for name in ("landmarks", "measurements")}
    assert "segmentation" not in result
    files = {}
    for name, part in parts.items():
        answer = client.get(f"/v1/inferences/{result['job']}/result/{name}")
        assert (sha256(answer.content), answer.headers["content-type"]) == (part["sha256"], "application/json")
        files[name] = answer
    assert 'filename="landmarks.mrk.json"' in files["landmarks"].headers["content-disposition"]
    file = decode_markups(files["landmarks"].content)
    assert (len(file.points), file.landmark_set, file.mm_per_unit) == (19, "isbi19", None)
    assert file.provenance["Model"] == "points 0.0.1"
    assert files["measurements"].json()["measurements"]
    summary = result["summary"]
    assert summary["task"] == "cephalometry"
    assert summary["spacing"] == {
        "mm_per_unit": None,
        "source": "a PNG file does not say how large a pixel is in the patient",
    }
    assert summary["indeterminate"] and summary["reasons"]
    for name, point in file.positions.items():
        np.testing.assert_allclose(point[:2], summary["landmarks"][name]["pixel"], atol=0.02)


def test_points_lie_in_the_grid_of_the_volume_that_the_panel_sends(client: httpx.Client) -> None:
    array = np.asfortranarray(grey("uint8", SIZE[1], SIZE[0]).T)[:, :, None]
    matrix = np.diag([-0.2, -0.2, 1.0, 1.0])
    matrix[:3, 3] = (5, 7, 3)
    summary = run(client, nrrd.encode(array, matrix), mm_per_unit="1")["summary"]
    assert summary["spacing"]["mm_per_unit"] == 1
    for point in summary["landmarks"].values():
        x, y = point["pixel"]
        np.testing.assert_allclose(point["position_lps"], (0.2 * x - 5, 0.2 * y - 7, 3), atol=0.01)


def test_the_scale_of_a_radiograph_is_found(client: httpx.Client) -> None:
    data = radiograph(
        grey("uint16", 1500, 1200) >> 4,
        ImagerPixelSpacing=[0.165, 0.165],
        EstimatedRadiographicMagnificationFactor=1.1,
        PhotometricInterpretation="MONOCHROME1",
    )
    spacing = run(client, data)["summary"]["spacing"]
    assert spacing["mm_per_unit"] == pytest.approx(1 / 1.1)
    assert "magnification" in spacing["source"]


def test_the_same_request_gives_the_same_job_however_the_scale_is_written(client: httpx.Client) -> None:
    inputs = {"ceph": put_volume(client, PICTURE)}
    jobs = {
        start_job(client, "points", inputs, options={"mm_per_unit": scale})["id"] for scale in ("0.30", 0.3, "3e-1")
    }
    assert len(jobs) == 1


def test_a_blank_image_is_indeterminate_with_the_reason(client: httpx.Client) -> None:
    summary = run(client, picture(np.full((400, 300), 7, np.uint8), "PNG"))["summary"]
    assert summary["indeterminate"]
    assert "blank" in summary["reasons"][0]


def with_spacing(text: str) -> bytes:
    """An NRRD of one slice whose rows are so far apart."""
    header, voxels = nrrd.encode(grey().T[:, :, None], np.diag([-1.0, -1.0, 1.0, 1.0])).split(b"\n\n", 1)
    directions = f"space directions: (1,0,0) (0,{text},0) (0,0,1)".encode()
    return re.sub(rb"space directions: .*", directions, header) + b"\n\n" + voxels


BAD_UPLOADS: dict[str, tuple[Callable[[], bytes], str]] = {
    "corrupt PNG": (lambda: PICTURE[:-200], "damaged or cut off"),
    "CMYK JPEG": (lambda: picture(colours(4), "JPEG", mode="CMYK"), "colours for printing"),
    "multi-frame DICOM": (
        lambda: radiograph(NumberOfFrames=2, PixelData=grey("uint16").tobytes() * 2),
        "holds 2 frames",
    ),
    "NaN spacing": (lambda: with_spacing("nan"), "three finite numbers"),
    "spacing of 0.001 mm": (lambda: with_spacing("0.001"), "spacing is 1 × 0.001"),
    "NaN point": (
        lambda: encode_markups(file_of({"S": (1.0, 2.0, 0.0)})).replace(b"1.0,", b"NaN,", 1),
        "NaN",
    ),
    "JSON of something else": (lambda: b'{"hello": 1}', "no markups"),
}


@pytest.mark.parametrize("name", BAD_UPLOADS)
def test_a_bad_file_is_refused_when_it_is_sent(client: httpx.Client, name: str) -> None:
    make, said = BAD_UPLOADS[name]
    data = make()
    answer = client.put(f"/v1/volumes/{sha256(data)}", content=data)
    assert answer.status_code == 422, answer.text
    assert re.search(said, answer.json()["detail"]), answer.json()
    assert answer.json()["hint"]
    assert client.head(f"/v1/volumes/{sha256(data)}").status_code == 404


def order(client: httpx.Client, model: str, inputs: dict[str, bytes], **options: Any) -> httpx.Response:
    """Ask for a job that is not to be taken."""
    volumes = {channel: put_volume(client, data) for channel, data in inputs.items()}
    return client.post("/v1/inferences", json={"model": model, "inputs": volumes, "options": options})


def test_what_is_no_image_for_landmarks_is_refused_at_once(client: httpx.Client) -> None:
    small = picture(grey("uint8", 32, 32), "PNG")
    problem(order(client, "points", {"ceph": small}), 422, "volume")
    stack = nrrd.encode(np.arange(300 * 300 * 3, dtype=np.uint16).reshape(300, 300, 3), affine())
    answer = order(client, "points", {"ceph": stack})
    problem(answer, 422, "volume")
    assert "3 slices" in answer.json()["detail"]


def test_two_images_are_refused(client: httpx.Client) -> None:
    second = picture(grey("uint8", 500, 384), "PNG")
    problem(order(client, "points", {"ceph": PICTURE, "ceph2": second}), 422, "channel")
    problem(order(client, "points", {}), 422, "channel")


def test_a_single_slice_is_refused_by_a_model_for_volumes(client: httpx.Client) -> None:
    slices = {
        name: nrrd.encode(grey("uint8", 300 + number, 300).T[:, :, None], np.diag([-1.0, -1, 1, 1]))
        for number, name in enumerate(("t1c", "t1", "t2", "flair"))
    }
    answer = order(client, "tiny", slices)
    problem(answer, 422, "volume")
    assert "one slice only" in answer.json()["detail"]


@pytest.mark.parametrize("scale", ["nan", "-0.1", "0", "wide"])
def test_a_scale_that_is_none_is_refused_at_once(client: httpx.Client, scale: str) -> None:
    problem(order(client, "points", {"ceph": PICTURE}, mm_per_unit=scale), 422, "unknown-option")


@pytest.mark.parametrize("scale", ["0.001", "5"])
def test_an_absurd_scale_fails_with_a_sentence(client: httpx.Client, scale: str) -> None:
    job = start_job(client, "points", {"ceph": put_volume(client, PICTURE)}, options={"mm_per_unit": scale})
    failed = finished(client, job["id"])
    assert (failed["state"], failed["kind"]) == ("failed", "calibration")
    assert "not believed" in failed["reason"] and failed["hint"]


def test_landmarks_are_no_scan(client: httpx.Client) -> None:
    problem(order(client, "points", {"ceph": encode_markups(file_of({"S": (1.0, 2.0, 0.0)}))}), 422, "channel")


def file_of(points: dict[str, tuple[float, float, float] | None], mm_per_unit: float | None = None) -> LandmarkFile:
    """Points that a person set."""
    made = (
        LandmarkPoint(name, f"Point {name}", place, "missing" if place is None else "manual")
        for name, place in points.items()
    )
    return LandmarkFile(tuple(made), "isbi19", mm_per_unit)


@pytest.fixture
def case(client: httpx.Client) -> str:
    """A new case on the image."""
    body = {"name": "Ceph 1", "task": "cephalometry", "volumes": {"ceph": put_volume(client, PICTURE)}}
    answer = client.post("/v1/cases", json={**body, "client_key": str(uuid4())})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def send(client: httpx.Client, case: str, data: bytes, headers: dict[str, str], **more: Any) -> httpx.Response:
    wanted = {"landmarks": put_volume(client, data), "author": "reader-1", "role": "orthodontist", **more}
    return client.post(f"/v1/cases/{case}/labels", json=wanted, headers=headers)


def test_versions_of_landmarks_keep_their_bytes_and_say_what_was_moved(client: httpx.Client, case: str) -> None:
    first = file_of({"S": (10.0, 20.0, 0.0), "N": (100.0, 30.0, 0.0), "A": (90.0, 60.0, 0.0), "PNS": None})
    second = file_of({"S": (10.0, 20.0, 0.0), "N": (103.0, 34.0, 0.0), "A": None, "PNS": (50.0, 60.0, 0.0)}, 0.3)
    one = send(client, case, encode_markups(first), FIRST)
    assert one.status_code == 201, one.text
    two = send(client, case, encode_markups(second), {"If-Match": f'"{one.json()["id"]}"'}).json()
    assert (two["kind"], two["segmentation"], two["segments"]) == ("landmarks", None, {})
    assert two["points"]["N"] == {"name": "Point N", "state": "manual", "position_lps": [103.0, 34.0, 0.0]}
    assert two["points"]["A"]["position_lps"] is None
    assert two["against_parent"] == {
        "points_moved": 1,
        "points_added": 1,
        "points_removed": 1,
        "mean_distance": 0.75,
        "largest_distance": 1.5,
        "distance": {"S": 0.0, "N": 1.5},
        "unit": "mm",
    }
    content = client.get(f"/v1/cases/{case}/labels/{two['id']}/content")
    assert content.content == encode_markups(second)
    assert 'filename="label-2.mrk.json"' in content.headers["content-disposition"]
    assert client.get(f"/v1/cases/{case}/labels/{one.json()['id']}").json() == one.json()


def test_a_scale_that_no_cephalogram_has_is_not_saved(client: httpx.Client, case: str) -> None:
    answer = send(client, case, encode_markups(file_of({"S": (10.0, 20.0, 0.0)}, 1e9)), FIRST)
    assert answer.status_code == 422
    assert "wrong scale" in answer.text and "Nothing was saved" in answer.text
    assert not client.get(f"/v1/cases/{case}/labels").json()["labels"]


def test_a_result_of_another_image_is_no_proposal_of_this_case(client: httpx.Client, case: str) -> None:
    job = run(client, picture(grey("uint8", 500, 384), "PNG"))["job"]
    answer = send(client, case, encode_markups(file_of({"S": (10.0, 20.0, 0.0)})), FIRST, inference=job)
    assert answer.status_code in (404, 422)
    assert "other images than those of this case" in answer.text


def test_distances_of_an_image_that_is_not_calibrated_are_in_its_units(client: httpx.Client, case: str) -> None:
    one = send(client, case, encode_markups(file_of({"S": (10.0, 20.0, 0.0)})), FIRST).json()
    moved = encode_markups(file_of({"S": (13.0, 24.0, 0.0)}))
    change = send(client, case, moved, {"If-Match": f'"{one["id"]}"'}).json()["against_parent"]
    assert (change["mean_distance"], change["unit"]) == (5.0, "unit")


def test_versions_without_a_common_point_have_no_distance(client: httpx.Client, case: str) -> None:
    one = send(client, case, encode_markups(file_of({"S": (10.0, 20.0, 0.0)})), FIRST).json()
    other = encode_markups(file_of({"S": None, "N": (1.0, 2.0, 0.0)}))
    change = send(client, case, other, {"If-Match": f'"{one["id"]}"'}).json()["against_parent"]
    assert (change["mean_distance"], change["points_removed"], change["points_added"]) == (None, 1, 1)


def test_points_off_the_plane_of_the_image_are_refused(client: httpx.Client, case: str) -> None:
    data = encode_markups(file_of({"S": (10.0, 20.0, 0.0), "N": (10.0, 20.0, 8.0)}))
    answer = send(client, case, data, FIRST)
    problem(answer, 422, "label-grid")
    assert "landmark N" in answer.json()["detail"]


def test_a_label_is_exactly_one_file_of_the_right_kind(client: httpx.Client, case: str) -> None:
    points = put_volume(client, encode_markups(file_of({"S": (1.0, 2.0, 0.0)})))
    segments = put_volume(client, label_file([(10, 20)]))
    body = {"author": "reader-1", "role": "radiologist"}

    def post(**files: str) -> httpx.Response:
        return client.post(f"/v1/cases/{case}/labels", json={**body, **files}, headers=FIRST)

    problem(post(), 422, "label-file")
    problem(post(landmarks=points, segmentation=segments), 422, "label-file")
    problem(post(landmarks=segments), 422, "label")
    problem(post(segmentation=points), 422, "label")
    problem(post(landmarks=put_volume(client, PICTURE)), 422, "label")


def test_the_way_of_the_panel_from_image_to_second_version(connection: Connection) -> None:
    volume = read_volume(PICTURE)
    image = StudyVolume(volume.array, volume.geometry.ijk_to_ras)
    told: list[str] = []
    result = detect_landmarks(
        connection, image, "points", {"mm_per_unit": "0.3"}, lambda stage, fraction, place: told.append(stage)
    )
    assert {"hashing", "uploading", "downloading"} <= set(told)
    assert json.loads(result.measurements or b"")["mm_per_unit"] == 0.3
    proposal = decode_markups(result.landmarks)
    assert proposal.mm_per_unit == 0.3
    case = create_case(connection, NewCase("Ceph", "cephalometry", result.inputs, str(uuid4())))
    first = add_label(
        connection, case.id, result.landmarks, NewLabel("A", "orthodontist", inference=result.job_id), str(uuid4())
    )
    assert first.kind == "landmarks"
    assert first.document["against_proposal"]["points_moved"] == 0
    assert (first.document["model"], first.document["model_version"]) == ("points", "0.0.1")
    moved = replace(
        proposal,
        points=tuple(
            replace(point, state="moved", position=(200.0, 200.0, 0.0)) if point.id == "S" else point
            for point in proposal.points
        ),
    )
    label = NewLabel("B", "orthodontist", parent=first.id, inference=result.job_id, verdict="disagree")
    add_label(connection, case.id, encode_markups(moved), label, str(uuid4()))
    versions = list_labels(connection, case.id)
    assert [version.number for version in versions] == [1, 2]
    assert versions[1].document["against_proposal"]["points_moved"] == 1
    assert versions[1].document["points"]["S"]["state"] == "moved"
    assert decode_markups(label_content(connection, case.id, versions[1])) == moved


def test_measurements_cannot_be_uploaded_as_such(client: httpx.Client, tmp_path: Path) -> None:
    data = b'{"measurements": []}'
    assert client.put(f"/v1/volumes/{sha256(data)}", content=data).status_code == 422
