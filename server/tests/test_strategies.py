"""Strategies for the next case: orders that are known beforehand, and scores that a real server keeps."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from mahtai.cases.strategies import STRATEGIES, Evidence, UnknownStrategy, rank
from server_process import ServerProcess, StartServer, put_volume, wait_until
from studies import TASK, label_file, synthetic_study
from test_api_access import problem
from test_cases import make_case
from test_cases_labels import save


def order(strategy: str, evidence: dict[str, Evidence], labelled: Any = ()) -> list[str]:
    """Ids as ranked."""
    return [case for case, _, _ in rank(strategy, sorted(evidence), evidence, labelled)]


def test_the_most_uncertain_and_the_most_disputed_come_first_and_what_is_unknown_last() -> None:
    evidence = {
        "a": Evidence(error=0.1, disagreement=0.5),
        "b": Evidence(),
        "c": Evidence(error=0.4, disagreement=0.2),
        "d": Evidence(error=0.4),
    }
    assert order("uncertain", evidence) == ["c", "d", "a", "b"]
    assert order("disagreement", evidence) == ["a", "c", "b", "d"]
    assert order("order", evidence) == ["a", "b", "c", "d"]
    assert sorted(order("random", evidence)) == ["a", "b", "c", "d"]
    assert order("random", evidence) == order("random", {case: Evidence() for case in "dcba"})
    with pytest.raises(UnknownStrategy):
        rank("luck", ["a"], {})


def test_the_most_different_case_is_the_one_farthest_from_all_labels_and_from_those_before_it() -> None:
    corners = {"near": (1.0, 0.0), "far": (10.0, 10.0), "as far": (10.0, 9.5), "other": (-8.0, 6.0)}
    evidence = {case: Evidence(descriptor=place) for case, place in corners.items()}
    found = order("diverse", evidence, [(0.0, 0.0)])
    assert found[0] == "far" and found[1] == "other" and set(found[2:]) == {"near", "as far"}
    # an outlier in one number does not drown the others, a constant one does no harm
    wild = {str(i): Evidence(descriptor=(float(i), 7.0, 1e9 if i == 3 else float(i))) for i in range(8)}
    assert len(order("diverse", wild, [])) == 8
    assert order("diverse", {"x": Evidence(descriptor=(1.0, 2.0))}, [(1.0, 2.0, 3.0)]) == ["x"]


def test_every_strategy_takes_any_number_of_cases() -> None:
    generator = np.random.default_rng(0)
    for count in (0, 1, 2, 200):
        evidence = {
            f"{i:03}": Evidence(*(float(generator.random()), tuple(generator.random(5)), float(generator.random())))
            for i in range(count)
        }
        for strategy in STRATEGIES:
            assert sorted(order(strategy.id, evidence)) == sorted(evidence)


@pytest.fixture
def own_server(start_server: StartServer) -> ServerProcess:
    """A server without cases."""
    return start_server("strategies")


def cases_of(client: httpx.Client, count: int) -> list[dict[str, Any]]:
    """New cases on studies that differ."""
    made = []
    for seed in range(count):
        study = {slot: put_volume(client, data) for slot, data in synthetic_study(seed).items()}
        made.append(make_case(client, study, name=f"Case {seed}"))
    return made


def test_scores_are_made_by_unattended_jobs_and_kept_by_version_of_the_model(own_server: ServerProcess) -> None:
    with own_server.client() as client:
        cases = cases_of(client, 3)
        lacking = make_case(client, {"t1": cases[0]["volumes"]["t1"]}, name="One sequence")
        told = client.get("/v1/scores", params={"task": TASK, "model": "tiny"}).json()
        assert (told["cases"], told["scored"], told["queued"], told["unfit"]) == (4, 0, 0, 1)
        assert {s["id"]: s["ready"] for s in _strategies(client)} == {
            "order": True,
            "random": True,
            "uncertain": False,
            "diverse": False,
            "disagreement": False,
        }
        client.post("/v1/scores", json={"task": TASK, "model": "tiny"}).raise_for_status()
        wait_until(lambda: _asked(client)["scored"] == 3, 120, "the cases to be scored")
        assert all(s["ready"] == (s["id"] != "disagreement") for s in _strategies(client))
        wanted = {"strategy": "uncertain", "model": "tiny", "claim": False}
        first = client.post("/v1/cases/next", json=wanted).json()
        assert first["score"] is not None and first["case"]["id"] != lacking["id"] and first["why"]
        later = client.post("/v1/cases/next", json={**wanted, "exclude": [first["case"]["id"]]}).json()
        assert later["score"] <= first["score"]
        # a label makes a case one of those that others are compared with
        save(client, first["case"]["id"], label_file())
        different = client.post("/v1/cases/next", json={**wanted, "strategy": "diverse", "exclude": []}).json()
        assert different["score"] is not None
        # the case that cannot be scored comes last, but it comes
        seen = [case["id"] for case in cases]
        last = client.post("/v1/cases/next", json={**wanted, "exclude": seen}).json()
        assert last["case"]["id"] == lacking["id"] and last["score"] is None
        # another model has scores of its own
        other = client.get("/v1/scores", params={"task": TASK, "model": "tiny_dropout"}).json()
        assert other["scored"] == 0 and other["model_sha256"] != told["model_sha256"]


def test_the_most_disputed_case_is_found_by_mirrored_runs(own_server: ServerProcess) -> None:
    with own_server.client() as client:
        cases_of(client, 2)
        wanted = {"strategy": "disagreement", "model": "tiny", "claim": False}
        assert client.post("/v1/cases/next", json=wanted).json()["score"] is None  # asked for by this very call

        def score() -> float | None:
            value = client.post("/v1/cases/next", json=wanted).json()["score"]
            return None if value is None else value + 1

        assert 1 <= wait_until(score, 120, "the mirrored cases to be looked at") <= 2


def test_what_cannot_be_scored_is_said_and_does_no_harm(own_server: ServerProcess) -> None:
    with own_server.client() as client:
        case = cases_of(client, 1)[0]
        problem(client.get("/v1/scores", params={"task": TASK, "model": "nothing"}), 404, "unknown-model")
        problem(client.get("/v1/scores", params={"task": "a task without a model"}), 404, "unknown-model")
        problem(client.post("/v1/cases/next", json={"strategy": "luck"}), 422, "unknown-strategy")
        told = client.get("/v1/strategies", params={"task": "a task without a model"}).json()["strategies"]
        assert [each["ready"] for each in told] == [True, True, False, False, False]
        client.delete(f"/v1/cases/{case['id']}").raise_for_status()
        assert client.get("/v1/scores", params={"task": TASK, "model": "tiny"}).json()["cases"] == 0
        assert client.post("/v1/cases/next", json={"strategy": "uncertain"}).status_code == 204


def _asked(client: httpx.Client) -> dict[str, Any]:
    return dict(client.post("/v1/scores", json={"task": TASK, "model": "tiny"}).json())


def _strategies(client: httpx.Client) -> list[dict[str, Any]]:
    return list(client.get("/v1/strategies", params={"task": TASK, "model": "tiny"}).json()["strategies"])
