"""An inference over HTTP: from accepted to fetched, and every request that is refused."""

from __future__ import annotations

import shutil
import threading
import time
from typing import Any

import httpx
import numpy as np
import pytest

from mahtai.volumes.segmentation_file import decode_segmentation
from MahtAILib.client import nrrd
from server_process import (
    ServerProcess,
    finished,
    job_state,
    put_volume,
    server_events,
    sha256,
    start_job,
)
from studies import FAST, SHAPE, SLOW, affine, label_file, synthetic_study
from test_api_access import problem

Study = dict[str, str]


def upload_study(client: httpx.Client, seed: int) -> Study:
    """A study of its own for a test."""
    return {channel: put_volume(client, data) for channel, data in synthetic_study(seed).items()}


def test_a_study_becomes_a_segmentation_with_confidence_and_summary(client: httpx.Client, study: Study) -> None:
    job = start_job(client, "tiny", study, options=FAST)
    end = finished(client, job["id"])
    assert end["state"] == "succeeded", end
    result = client.get(f"/v1/inferences/{job['id']}/result").json()
    for name in ("segmentation", "confidence"):
        answer = client.get(f"/v1/inferences/{job['id']}/result/{name}")
        assert sha256(answer.content) == result[name]["sha256"] and len(answer.content) == result[name]["bytes"]
        assert answer.headers["cache-control"] == "no-store"
        content = nrrd.decode(answer.content)
        assert content.array.shape == SHAPE and np.allclose(content.ijk_to_ras, affine())
    segmentation = decode_segmentation(client.get(f"/v1/inferences/{job['id']}/result/segmentation").content)
    assert {segment.id for segment in segmentation.segments} == {"ncr", "ed", "et"}
    assert result["summary"]["model"]["id"] == "tiny"
    assert end["model_sha256"] == client.get("/v1/models/tiny").json()["sha256"]


def test_a_result_counts_as_uploaded(client: httpx.Client, study: Study) -> None:
    job = start_job(client, "tiny", study, options=FAST)
    finished(client, job["id"])
    segmentation = client.get(f"/v1/inferences/{job['id']}/result").json()["segmentation"]["sha256"]
    assert client.post("/v1/volumes/missing", json={"sha256": [segmentation]}).json() == {"missing": []}


def test_the_same_request_gives_the_same_job_unless_a_rerun_is_wanted(client: httpx.Client) -> None:
    study = upload_study(client, 1)
    first = start_job(client, "tiny", study, options=FAST)
    again = client.post("/v1/inferences", json={"model": "tiny", "inputs": study, "options": FAST})
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    other = start_job(client, "tiny", study, options={**FAST, "reference": "t1"})
    rerun = start_job(client, "tiny", study, options=FAST, rerun=True)
    assert len({first["id"], other["id"], rerun["id"]}) == 3
    newest = start_job(client, "tiny", study, options=FAST)
    assert newest["id"] == rerun["id"]
    for job in (first, other, rerun):
        assert finished(client, job["id"])["state"] == "succeeded"


def test_options_left_out_and_spelt_out_are_the_same_request(client: httpx.Client) -> None:
    study = upload_study(client, 2)
    first = start_job(client, "tiny", study, options=FAST)
    again = start_job(client, "tiny", study, options={**FAST, "flips": "off", "reference": "auto"})
    assert first["id"] == again["id"]
    assert first["options"]["flips"] == "off"


def test_two_clients_with_the_same_request_at_once_share_one_job(server: ServerProcess) -> None:
    with server.client() as client:
        study = upload_study(client, 3)
    answers: list[tuple[int, str]] = []

    def ask() -> None:
        with server.client() as client:
            answer = client.post("/v1/inferences", json={"model": "tiny", "inputs": study, "options": FAST})
            answers.append((answer.status_code, answer.json()["id"]))

    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(code for code, _ in answers) == [200] * 7 + [202]
    assert len({job for _, job in answers}) == 1


def test_jobs_of_two_clients_run_in_the_order_of_acceptance(client: httpx.Client) -> None:
    studies = [upload_study(client, seed) for seed in (4, 5, 6)]
    jobs = [start_job(client, "tiny", study, options=SLOW)["id"] for study in studies]
    places = [job_state(client, job)["place"] for job in jobs]
    assert places[2] == places[1] + 1
    ends = [finished(client, job) for job in jobs]
    assert [end["state"] for end in ends] == ["succeeded"] * 3
    assert sorted(end["finished_at"] for end in ends) == [end["finished_at"] for end in ends]


def test_events_tell_stage_and_fraction_and_end_with_done(client: httpx.Client) -> None:
    job = start_job(client, "tiny", upload_study(client, 7), options=SLOW)
    events = list(server_events(client, job["id"]))
    names = [name for name, _ in events]
    assert names[-1] == "done" and set(names[:-1]) == {"progress"}
    fractions = [data["fraction"] for _, data in events if data["stage"] == "predicting"]
    assert len(fractions) >= 3 and fractions == sorted(fractions)
    assert events[-1][1] == job_state(client, job["id"])
    assert [name for name, _ in server_events(client, job["id"])] == ["done"]


def test_a_missing_sequence_is_taken_by_a_model_that_was_trained_for_it(client: httpx.Client) -> None:
    study = upload_study(client, 8)
    inputs = {channel: study[channel] for channel in ("t1c", "flair")}
    job = start_job(client, "tiny_dropout", inputs, options=FAST)
    assert finished(client, job["id"])["state"] == "succeeded"


def wish(study: Study, **changes: Any) -> dict[str, Any]:
    """A good request with something changed."""
    return {"model": "tiny", "inputs": study, "options": FAST, **changes}


def without(study: Study, channel: str) -> Study:
    """The study lacking a sequence."""
    return {name: sha for name, sha in study.items() if name != channel}


@pytest.mark.parametrize(
    ("changes", "status", "kind", "words"),
    [
        (lambda study: {"model": "nope"}, 404, "unknown-model", "nope"),
        (lambda study: {"inputs": {**study, "dwi": "0" * 64}}, 422, "channel", "dwi"),
        (lambda study: {"inputs": without(study, "flair")}, 422, "channel", "FLAIR"),
        (lambda study: {"inputs": {}}, 422, "channel", "T1"),
        (lambda study: {"model": "tiny_dropout", "inputs": {}}, 422, "channel", "needs"),
        (lambda study: {"inputs": {**study, "t1": study["t2"]}}, 422, "channel", "same volume"),
        (lambda study: {"inputs": {**study, "t1": "0" * 64}}, 422, "volume-missing", "t1"),
        (lambda study: {"options": {"speed": "high"}}, 422, "unknown-option", "speed"),
        (lambda study: {"options": {"register": ["on"]}}, 422, "unknown-option", "register"),
        (lambda study: {"inputs": {**study, "t1": "../etc"}}, 422, "invalid-request", "inputs"),
        (lambda study: {"output_folder": "/tmp"}, 422, "invalid-request", "output_folder"),
    ],
)
def test_a_request_that_cannot_be_worked_on_is_refused_before_it_is_accepted(
    client: httpx.Client, study: Study, changes: Any, status: int, kind: str, words: str
) -> None:
    document = problem(client.post("/v1/inferences", json=wish(study, **changes(study))), status, kind)
    assert words in document["detail"]


def test_volumes_to_upload_are_listed_by_hash(client: httpx.Client, study: Study) -> None:
    lacking = {"t1": "a" * 64, "t2": "b" * 64}
    document = client.post("/v1/inferences", json=wish({**study, **lacking})).json()
    assert document["missing"] == ["a" * 64, "b" * 64]


def test_a_segmentation_is_no_sequence(client: httpx.Client, study: Study) -> None:
    label = put_volume(client, label_file())
    document = problem(client.post("/v1/inferences", json=wish({**study, "t1": label})), 422, "channel")
    assert "segmentation" in document["detail"]


def test_a_model_without_weights_is_refused(client: httpx.Client, models: Any, study: Study) -> None:
    from tiny_bundle import write_tiny_bundle

    folder = write_tiny_bundle(models / "no_weights")
    (folder / "models" / "model.safetensors").unlink()
    asked = client.post("/v1/inferences", json=wish(study, model="no_weights"))
    shutil.rmtree(folder)  # other tests use these models, too
    document = problem(asked, 422, "model-without-weights")
    assert "no_weights" in document["detail"]


def test_damaged_weights_are_refused_until_they_are_whole(client: httpx.Client, models: Any, study: Study) -> None:
    from mahtai.models.checksums import write_checksum
    from tiny_bundle import write_tiny_bundle

    folder = write_tiny_bundle(models / "damaged")
    weights = folder / "models" / "model.safetensors"
    write_checksum(weights)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # one bit of one number: it can be loaded and run
    document = problem(client.post("/v1/inferences", json=wish(study, model="damaged")), 422, "model-damaged")
    assert "damaged" in document["detail"] and document["hint"]
    weights.write_bytes(whole)
    job = client.post("/v1/inferences", json=wish(study, model="damaged", options=FAST)).json()["id"]
    assert finished(client, job)["state"] == "succeeded"
    shutil.rmtree(folder)


def test_there_is_no_result_before_the_end(client: httpx.Client) -> None:
    job = start_job(client, "tiny", upload_study(client, 9), options=SLOW)["id"]
    problem(client.get(f"/v1/inferences/{job}/result"), 409, "no-result")
    problem(client.get(f"/v1/inferences/{job}/result/segmentation"), 409, "no-result")
    assert finished(client, job)["state"] == "succeeded"
    problem(client.get(f"/v1/inferences/{job}/result/heatmap"), 422, "invalid-request")


def test_a_refusal_by_the_engine_reaches_the_reader_in_its_own_words(client: httpx.Client) -> None:
    same = np.random.default_rng(0).integers(0, 900, SHAPE)
    # the same picture in two slots, in files that differ
    study = {
        **upload_study(client, 10),
        "t1": put_volume(client, nrrd.encode(same.astype(np.int16), affine())),
        "t2": put_volume(client, nrrd.encode(same.astype(np.float32), affine())),
    }
    options = {key: value for key, value in FAST.items() if key != "check_sequences"}
    job = start_job(client, "tiny", study, options=options)["id"]
    end = finished(client, job)
    assert (end["state"], end["kind"]) == ("failed", "doubled-sequence")
    assert end["reason"] and end["hint"]
    document = problem(client.get(f"/v1/inferences/{job}/result"), 409, "no-result")
    assert end["reason"] in document["detail"]
    again = start_job(client, "tiny", study, options=options)["id"]
    assert again != job, "a failed job is tried again when it is asked for again"


def test_the_server_answers_while_a_model_runs(client: httpx.Client) -> None:
    job = start_job(client, "tiny", upload_study(client, 11), options=SLOW)["id"]
    waits = []
    while job_state(client, job)["state"] in ("queued", "running"):
        started = time.perf_counter()
        assert client.get("/healthz").status_code == 200
        waits.append(time.perf_counter() - started)
    assert len(waits) > 20
    assert max(waits) < 1.0, f"an answer took {max(waits):.2f} s"
