"""A region of a result corrected over HTTP: on its grid, strokes honoured, and what cannot be done said in words."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from MahtAILib.client import nrrd
from MahtAILib.client.segmentation import decode
from server_process import StartServer, finished, start_job
from studies import FAST
from test_api_access import problem
from test_api_inferences import upload_study

BOX = (slice(10, 34), slice(12, 40), slice(8, 30))


@pytest.fixture
def result(client: httpx.Client) -> tuple[str, np.ndarray, np.ndarray]:
    """A finished inference: its id, its labels and their affine."""
    job = start_job(client, "tiny", upload_study(client, 900), options=FAST)["id"]
    assert finished(client, job)["state"] == "succeeded"
    found = decode(client.get(f"/v1/inferences/{job}/result/segmentation").content)
    return job, found.layers[0], found.geometry.ijk_to_ras


def region(labels: np.ndarray, affine: np.ndarray, value: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Labels and strokes of a box, with a cube of one label painted in its middle; and the box's affine."""
    part = labels[BOX]
    strokes = np.zeros_like(part)
    strokes[10:13, 12:15, 9:12] = 1 + value
    moved = affine.copy()
    moved[:, 3] = affine @ [*(axis.start for axis in BOX), 1]
    return np.stack([part, strokes]), moved


def send(client: httpx.Client, job: str, data: bytes) -> httpx.Response:
    """Ask for a correction."""
    return client.post(
        f"/v1/inferences/{job}/corrections", content=data, headers={"Content-Type": "application/x-nrrd"}
    )


@pytest.mark.parametrize("value", [0, 1, 2, 3])
def test_every_stroke_has_the_label_that_the_reader_gave_it(
    client: httpx.Client, result: tuple[str, np.ndarray, np.ndarray], value: int
) -> None:
    job, labels, affine = result
    array, moved = region(labels, affine, value)
    answer = send(client, job, nrrd.encode(array, moved, encoding="gzip"))
    assert answer.status_code == 200, answer.text
    corrected = nrrd.decode(answer.content)
    assert corrected.array.dtype == np.uint8
    assert corrected.array.shape == array.shape[1:]
    assert np.allclose(corrected.ijk_to_ras, moved)
    painted = array[1] > 0
    assert (corrected.array[painted] == value).all()
    assert int(corrected.fields["MahtAI_Changed"]) == np.count_nonzero(corrected.array != array[0])
    assert float(corrected.fields["MahtAI_Seconds"]) > 0
    # the result itself stays as it was
    again = decode(client.get(f"/v1/inferences/{job}/result/segmentation").content)
    assert np.array_equal(again.layers[0], labels)


def test_a_correction_is_the_same_after_the_engine_has_forgotten_the_study(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as client:
        job = start_job(client, "tiny", upload_study(client, 901), options=FAST)["id"]
        finished(client, job)
        found = decode(client.get(f"/v1/inferences/{job}/result/segmentation").content)
        data = nrrd.encode(*region(found.layers[0], found.geometry.ijk_to_ras))
        first = nrrd.decode(send(client, job, data).content).array
    server.kill()
    server.start()
    with server.client() as client:
        assert np.array_equal(nrrd.decode(send(client, job, data).content).array, first)


def test_what_is_no_region_of_the_result_is_refused(
    client: httpx.Client, result: tuple[str, np.ndarray, np.ndarray]
) -> None:
    job, labels, affine = result
    array, moved = region(labels, affine)
    shifted, half, flipped = moved.copy(), moved.copy(), moved.copy()
    shifted[:3, 3] += 1000
    half[:3, 3] += 0.4
    flipped[:3, 0] *= -1
    unknown, blank = array.copy(), array.copy()
    unknown[0, 0, 0, 0] = 77
    blank[1] = 0
    bad = {
        "outside": nrrd.encode(array, shifted),
        "between voxels": nrrd.encode(array, half),
        "mirrored": nrrd.encode(array, flipped),
        "unknown label": nrrd.encode(unknown, moved),
        "no strokes": nrrd.encode(blank, moved),
        "one component": nrrd.encode(array[0], moved),
        "other numbers": nrrd.encode(array.astype(np.int16), moved),
        "cut off": nrrd.encode(array, moved)[:-100],
        "nothing": b"",
        "no NRRD": b"hello",
    }
    for name, data in bad.items():
        document = problem(send(client, job, data), 422, "correction")
        assert "Nothing was changed" in document["hint"] or "Paint" in document["hint"], name


def test_a_region_that_is_too_large_is_refused_before_it_is_read(
    client: httpx.Client, result: tuple[str, np.ndarray, np.ndarray]
) -> None:
    job, _, _ = result
    assert send(client, job, bytes(33 << 20)).status_code == 413


def test_there_must_be_a_result(client: httpx.Client) -> None:
    problem(send(client, "00000000-0000-0000-0000-000000000000", b"x"), 404, "unknown-inference")
    job = start_job(client, "tiny", upload_study(client, 902), options={**FAST, "flips": "on"})["id"]
    client.delete(f"/v1/inferences/{job}")
    problem(send(client, job, b"x"), 409, "no-result")
