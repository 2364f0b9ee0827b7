"""Promotion and trials on a real server: exact weights for accepted jobs, shadow runs, a share of the studies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from learning_kit import Clinic, clinic, label_file, phantom_study
from mahtai.models.catalogue import place_of
from server_process import ServerProcess, finished, put_volume, start_job, wait_until
from studies import FAST, SLOW
from test_api_access import problem
from versions_kit import make_version

TASK = "brain-tumour"


@pytest.fixture
def hospital(tmp_path: Path) -> Clinic:
    """A data folder with three studies."""
    where = clinic(tmp_path)
    for seed in (1, 2, 3):
        where.case(seed, approve=False)
    return where


@pytest.fixture
def client(tmp_path: Path, hospital: Clinic) -> Iterator[httpx.Client]:
    """A client of a server of that folder."""
    server = ServerProcess(tmp_path, hospital.settings.models_path).start()
    with server.client() as connected:
        yield connected
    server.kill()


def studies(client: httpx.Client) -> list[dict[str, str]]:
    """The volumes of the cases."""
    return [case["volumes"] for case in client.get("/v1/cases").json()["cases"]]


def made_by(client: httpx.Client, job: str) -> str:
    """Hash of the model that a result really came from, as the engine wrote it."""
    return str(client.get(f"/v1/inferences/{job}/result").json()["summary"]["model"]["sha256"])


def versions(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """By name."""
    answer = client.get("/v1/models/tiny/versions")
    assert answer.status_code == 200, answer.text
    return {version["version"]: version for version in answer.json()["versions"]}


def test_a_job_runs_with_the_weights_that_it_was_accepted_for(
    client: httpx.Client, hospital: Clinic, tmp_path: Path
) -> None:
    old = client.get("/v1/models/tiny").json()["sha256"]
    first, second, _ = studies(client)
    running = start_job(client, "tiny", first, options=SLOW)
    waiting = start_job(client, "tiny", second, options=FAST)
    new = make_version(hospital, tmp_path / "1").sha256
    answer = client.post("/v1/models/tiny/promotion", json={"version": "tiny@1"})
    assert answer.status_code == 200 and answer.json()["active"] == "tiny@1"
    after = start_job(client, "tiny", second, options=FAST)
    assert after["id"] != waiting["id"] and after["model_version"] == "0.0.1+cases.1"
    for job, sha256 in ((running, old), (waiting, old), (after, new)):
        assert finished(client, job["id"])["state"] == "succeeded"
        assert job["model_sha256"] == sha256 == made_by(client, job["id"])
    changed = client.post("/v1/models/tiny/rollback", json={"reason": "a test"}).json()
    assert changed["active"] == "tiny@0" and changed["changes"][-1]["reason"] == "a test"
    # the same request again gives the job that there is, for the version that serves again
    assert start_job(client, "tiny", second, options=FAST)["id"] == waiting["id"]


def test_a_candidate_in_the_shadow_is_compared_with_the_active_one_and_with_the_reader(
    client: httpx.Client, hospital: Clinic, tmp_path: Path
) -> None:
    make_version(hospital, tmp_path / "1", better=False)
    before = start_job(client, "tiny", studies(client)[2], options=FAST)
    finished(client, before["id"])
    answer = client.put("/v1/models/tiny/trial", json={"version": "tiny@1", "shadow": True})
    assert answer.json()["trial"]["version"] == "tiny@1" and answer.json()["active"] == "tiny@0"
    case = client.get("/v1/cases").json()["cases"][0]
    job = start_job(client, "tiny", case["volumes"], options=FAST)
    assert finished(client, job["id"])["model_version"] == "0.0.1"

    def compared() -> dict[str, Any] | None:
        record = versions(client)["tiny@1"]["record"]
        return dict(record) if record["shadows"] else None

    record = wait_until(compared, 60, "the shadow to be compared")
    assert record["shadows"] == 1 and record["inferences"] == 0 and record["corrected"] == 0
    assert set(record["agreement"]) >= {"ncr", "ed", "et"}
    assert all(0 <= dice <= 1 for dice in record["agreement"].values())
    # nobody sees the shadow's result: the same request still gives the active version's
    assert start_job(client, "tiny", case["volumes"], options=FAST)["id"] == job["id"]

    truth = phantom_study(3)[1]
    label = {"kind": "segmentation", "content": put_volume(client, label_file(truth)), "inference": job["id"]}
    saved = client.post(
        f"/v1/cases/{case['id']}/labels",
        json={"segmentation": label["content"], "author": "reader", "role": "annotator", "inference": job["id"]},
        headers={"If-None-Match": "*"},
    )
    assert saved.status_code == 201, saved.text

    def corrected() -> dict[str, Any] | None:
        record = versions(client)["tiny@1"]["record"]
        return dict(record) if record["corrected"] else None

    record = wait_until(corrected, 60, "the shadow to be compared with the reader's label")
    assert record["corrected"] == 1 and set(record["reader"]) == set(record["reader_active"])
    proposal = saved.json()["against_proposal"]["dice"]
    assert record["reader_active"] == pytest.approx(proposal, abs=1e-3)
    assert versions(client)["tiny@0"]["record"]["inferences"] == 2


def test_a_share_of_the_studies_is_served_by_the_candidate_and_the_result_says_so(
    client: httpx.Client, hospital: Clinic, tmp_path: Path
) -> None:
    candidate = make_version(hospital, tmp_path / "1", better=False)
    seed = 4
    while min(place_of("tiny", study) for study in studies(client)) > 0.4:
        hospital.case(seed, approve=False)
        seed += 1
    found = sorted(studies(client), key=lambda study: place_of("tiny", study))
    found = [found[0], found[-1]]
    places = [place_of("tiny", study) for study in found]
    share = min(sum(places) / 2, 0.5)
    client.put("/v1/models/tiny/trial", json={"version": "tiny@1", "share": share})
    served = [finished(client, start_job(client, "tiny", study, options=FAST)["id"]) for study in found]
    expected = [place < share for place in places]
    assert [job["model_sha256"] == candidate.sha256 for job in served] == expected
    for job, is_candidate in zip(served, expected, strict=True):
        warnings = client.get(f"/v1/inferences/{job['id']}/result").json()["summary"]["warnings"]
        assert any("on trial" in warning for warning in warnings) == is_candidate
        assert made_by(client, job["id"]) == job["model_sha256"]
    # what nobody waits for is done by the version that serves
    alone = start_job(client, "tiny", found[0], options=FAST, priority="unattended")
    assert alone["model_sha256"] != candidate.sha256
    assert client.put("/v1/models/tiny/trial", json={}).json()["trial"] is None
    again = start_job(client, "tiny", found[0], options=FAST)
    assert again["id"] == alone["id"]


def test_versions_that_cannot_be_promoted_or_tried_are_refused(
    client: httpx.Client, hospital: Clinic, tmp_path: Path
) -> None:
    make_version(hospital, tmp_path / "1", better=False)
    promotion, trial = "/v1/models/tiny/promotion", "/v1/models/tiny/trial"
    problem(client.post(promotion, json={"version": "tiny@1"}), 409, "not-promoted")
    problem(client.post(promotion, json={"version": "tiny@1", "anyway": True}), 422, "model-version")
    problem(client.post(promotion, json={"version": "tiny@7"}), 404, "unknown-model")
    problem(client.post(promotion, json={"version": "other@1"}), 404, "unknown-model")
    problem(client.post(promotion, json={"version": "tiny"}), 422, "model-version")
    problem(client.put(trial, json={"version": "tiny@1", "share": 0.6}), 422, "invalid-request")
    problem(client.put(trial, json={"version": "tiny@1"}), 422, "model-version")
    problem(client.post("/v1/models/tiny/rollback", json={}), 422, "model-version")
    problem(client.get("/v1/models/nobody/versions"), 404, "unknown-model")
    person = {"MahtAI-User": "Ada", "MahtAI-Role": "admin"}
    wanted = {"version": "tiny@1", "anyway": True, "reason": "shown to the board"}
    changed = client.post(promotion, json=wanted, headers=person).json()["changes"][-1]
    assert (changed["who"], changed["what"], changed["after"]) == ("Ada", "promoted anyway", "tiny@1")
