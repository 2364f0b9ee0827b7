"""Readers before unattended work, studies prepared ahead, coarse results: over HTTP, with a real engine."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

from mahtai.volumes.segmentation_file import decode_segmentation
from MahtAILib.client import nrrd
from server_process import StartServer, finished, job_state, put_volume, start_job, wait_until
from studies import FAST, SLOW, affine, synthetic_study
from test_api_access import problem
from test_api_inferences import upload_study
from test_jobs import running, slow_job


def unattended(client: httpx.Client, seed: int) -> str:
    """A job of several passes for which nobody waits."""
    return str(start_job(client, "tiny", upload_study(client, seed), options=SLOW, priority="unattended")["id"])


def test_an_unattended_job_makes_room_for_a_reader_and_is_finished_afterwards(start_server: StartServer) -> None:
    with start_server().client() as client:
        batch = unattended(client, 1)
        running(client, batch)
        reader = start_job(client, "tiny", upload_study(client, 2), options=SLOW)["id"]
        end, later = finished(client, reader), finished(client, batch)
        assert end["state"] == later["state"] == "succeeded"
        assert end["finished_at"] < later["finished_at"]
        # it was put back, and its second start is the one that counts
        assert later["started_at"] > end["started_at"]


def test_readers_go_before_all_unattended_jobs_that_wait(start_server: StartServer) -> None:
    with start_server().client() as client:
        first = slow_job(client, 10)
        batch = [unattended(client, seed) for seed in (11, 12)]
        reader = start_job(client, "tiny", upload_study(client, 13), options=FAST)["id"]
        assert job_state(client, reader)["place"] in (None, 1)
        assert job_state(client, batch[0])["place"] == 2
        ends = [finished(client, job)["finished_at"] for job in (first, reader, *batch)]
        assert ends == sorted(ends)


def test_a_job_for_which_a_reader_asks_meanwhile_becomes_a_readers(start_server: StartServer) -> None:
    with start_server().client() as client:
        first = slow_job(client, 20)
        others = [unattended(client, seed) for seed in (21, 22)]
        asked = start_job(client, "tiny", upload_study(client, 22), options=SLOW)
        assert asked["id"] == others[1]
        ends = [finished(client, job)["finished_at"] for job in (first, others[1], others[0])]
        assert ends == sorted(ends)


def test_a_cancelled_unattended_job_does_not_come_back(start_server: StartServer) -> None:
    with start_server().client() as client:
        batch = unattended(client, 30)
        running(client, batch)
        reader = start_job(client, "tiny", upload_study(client, 31), options=SLOW)["id"]
        wait_until(lambda: job_state(client, batch)["state"] == "queued", 30, "the job to make room")
        assert client.delete(f"/v1/inferences/{batch}").json()["state"] == "cancelled"
        assert finished(client, reader)["state"] == "succeeded"
        assert job_state(client, batch)["state"] == "cancelled"


def test_a_study_that_was_prepared_is_not_prepared_again(start_server: StartServer) -> None:
    with start_server().client() as client:
        finished(client, start_job(client, "tiny", upload_study(client, 40), options=FAST)["id"])
        inputs = upload_study(client, 41)
        wish = {"model": "tiny", "inputs": inputs, "options": FAST}
        answer = client.post("/v1/preparations", json=wish)
        assert (answer.status_code, answer.json()) == (202, {})
        job = start_job(client, "tiny", inputs, options=FAST)["id"]
        assert finished(client, job)["state"] == "succeeded"
        summary = client.get(f"/v1/inferences/{job}/result").json()["summary"]
        assert set(summary["reused"]) == {"load volumes", "prepare"}
        assert "prepare" not in summary["timings_s"]


def test_what_cannot_be_prepared_fails_where_the_reader_sees_it(start_server: StartServer) -> None:
    with start_server().client() as client:
        flat = np.zeros((16, 16, 16), np.int16)
        flat[0, 0, 0] = 1
        inputs = upload_study(client, 50)
        inputs["t1"] = inputs["t1"][:-1] + ("0" if inputs["t1"][-1] != "0" else "1")
        problem(client.post("/v1/preparations", json={"model": "tiny", "inputs": inputs}), 422, "volume-missing")
        problem(client.post("/v1/preparations", json={"model": "none", "inputs": {}}), 404, "unknown-model")
        # a study that the engine refuses: the preparation is silent, the run says why
        other = put_volume(client, nrrd.encode(flat, affine()))
        apart = {**upload_study(client, 51), "t1": other}
        assert client.post("/v1/preparations", json={"model": "tiny", "inputs": apart}).status_code == 202
        end = finished(client, start_job(client, "tiny", apart)["id"])
        assert end["state"] == "failed"
        assert end["reason"]


def test_a_coarse_result_is_there_while_a_slow_one_is_made(start_server: StartServer) -> None:
    with start_server().client() as client:
        shape = (96, 96, 96)  # eight passes of it take longer than two seconds, as far as is known
        inputs = {channel: put_volume(client, data) for channel, data in synthetic_study(60, shape).items()}
        job = start_job(client, "tiny", inputs, options=SLOW)["id"]
        wait_until(lambda: job_state(client, job)["preview"] == 1, 60, "the preview")
        answer = client.get(f"/v1/inferences/{job}/preview")
        assert answer.status_code == 200
        coarse = decode_segmentation(answer.content)
        assert coarse.provenance["Status"] == "preview"
        end = finished(client, job)
        assert end["state"] == "succeeded"
        assert end["preview"] is None
        result = decode_segmentation(client.get(f"/v1/inferences/{job}/result/segmentation").content)
        assert {segment.id for segment in coarse.segments} == {segment.id for segment in result.segments}
        problem(client.get(f"/v1/inferences/{job}/preview"), 409, "no-result")


@pytest.mark.parametrize("priority", ["urgent", "", 1])
def test_another_priority_is_refused(client: httpx.Client, study: dict[str, str], priority: object) -> None:
    answer = client.post("/v1/inferences", json={"model": "tiny", "inputs": study, "priority": priority})
    assert answer.status_code == 422


def test_the_measurement_is_kept_beside_the_data(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(environment={"measure": "on"})
    with server.client() as client:
        finished(
            client, start_job(client, "tiny", upload_study(client, 70), options={**FAST, "precision": "auto"})["id"]
        )
        folder = server.data / "runtimes"
        wait_until(lambda: list(folder.glob("*.json")) or None, 120, "the measurement")
        # and from now on jobs are run so
        job = start_job(client, "tiny", upload_study(client, 71), options={**FAST, "precision": "auto"})["id"]
        finished(client, job)
        summary = client.get(f"/v1/inferences/{job}/result").json()["summary"]
        assert f'"{summary["runtime"]}"' in next(folder.glob("*.json")).read_text(encoding="utf-8")
