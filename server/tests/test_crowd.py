"""Many annotators on one list while the server is killed with -9 at random: nothing lost, nothing given twice.

``MAHTAI_CROWD`` (8 by default) says how many people, ``MAHTAI_CROWD_OPERATIONS`` (30) how much each does,
``MAHTAI_CROWD_SEED`` what.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from crowd import Accepted, Annotator, double_claims, let_work
from fleet_kit import FleetKit
from postgresql import PostgreSQL
from server_process import ServerProcess, StartServer, finished, put_volume, sha256
from studies import synthetic_study
from test_cases import make_case

PEOPLE = int(os.environ.get("MAHTAI_CROWD", "8"))
OPERATIONS = int(os.environ.get("MAHTAI_CROWD_OPERATIONS", "30"))
SEED = int(os.environ.get("MAHTAI_CROWD_SEED", "0"))
CASES = 25
LEASE_S = "20"


def check(client: httpx.Client, cases: list[str], accepted: Accepted) -> Counter[str]:
    """Look at everything that was accepted; what there is of it."""
    found: Counter[str] = Counter()
    assert not double_claims(accepted)
    for case in cases:
        listed = client.get(f"/v1/cases/{case}/labels").json()["labels"]
        assert [version["number"] for version in listed] == list(range(1, len(listed) + 1))
        by_id = {version["id"]: version for version in listed}
        for version in listed:
            content = client.get(f"/v1/cases/{case}/labels/{version['id']}/content")
            assert content.status_code == 200 and sha256(content.content) == version["segmentation"]
            assert version["parent"] is None or version["parent"] in by_id
            found["versions read"] += 1
        for version, (of_case, digest, parent) in accepted.versions.items():
            if of_case == case:
                assert by_id[version]["segmentation"] == digest and by_id[version]["parent"] == parent
                found["versions accepted"] += 1
        reviews = client.get(f"/v1/cases/{case}/reviews").json()["reviews"]
        wanted = [version for of_case, version, _ in accepted.reviews if of_case == case]
        assert not Counter(wanted) - Counter(review["version"] for review in reviews)
        found["reviews"] += len(wanted)
        _check_history(client.get(f"/v1/cases/{case}/events").json()["events"], found)
        drafts = {
            draft["session"]: draft["number"] for draft in client.get(f"/v1/cases/{case}/drafts").json()["drafts"]
        }
        for (of_case, session), number in accepted.drafts.items():
            if of_case == case:
                assert drafts[session] >= number
                found["drafts"] += 1
    for job in dict.fromkeys(accepted.jobs):
        state = finished(client, job, 300)["state"]
        assert state in ("succeeded", "failed"), state
        found[f"jobs {state}"] += 1
    found["leases"] = len(accepted.grants)
    return found


def _check_history(events: list[dict[str, Any]], found: Counter[str]) -> None:
    """Every event begins in the state in which the one before it ended."""
    state = "new"
    for event in events:
        before = "new" if event["before"] == "claimed" else event["before"]
        assert before == state, (state, event)
        state = event["after"]
        found["events"] += 1


def work_and_check(servers: list[ServerProcess], victims: list[Any], cases: int = CASES) -> None:
    """Let a crowd work on some servers, and look at what is there in the end."""
    chance = random.Random(SEED)
    with servers[0].client() as client:
        study = {slot: put_volume(client, data) for slot, data in synthetic_study().items()}
        ids = [str(make_case(client, study, priority=chance.randrange(3))["id"]) for _ in range(cases)]
        accepted = Accepted()
        people = [Annotator(f"reader-{number}", servers, study, ids, accepted) for number in range(PEOPLE)]
        killed = let_work(people, OPERATIONS, victims, chance)
    with servers[0].client() as client:
        found = check(client, ids, accepted)
    print(f"{PEOPLE} people, {OPERATIONS} operations each, killed {killed} times")
    print(f"answers: {dict(sorted(accepted.done.items()))}")
    print(f"there in the end: {dict(sorted(found.items()))}; double claims: 0")
    assert found["versions accepted"] == len(accepted.versions) > 0
    assert killed or not victims


def test_a_crowd_loses_nothing_when_the_server_is_killed(start_server: StartServer) -> None:
    server = start_server(environment={"lease_s": LEASE_S, "max_waiting_jobs": "1000"})
    work_and_check([server], [server])


def test_a_crowd_loses_nothing_when_servers_and_a_worker_are_killed(
    postgresql: PostgreSQL, tmp_path: Path, models: Path
) -> None:
    fleet = FleetKit(tmp_path, postgresql.new_database(), (models,))
    try:
        servers = [fleet.server(name, lease_s=LEASE_S, max_waiting_jobs="1000") for name in ("a", "b")]
        work_and_check(servers, [*servers, fleet.worker("w")])
    finally:
        fleet.end()
