"""The calls of the work list against a real server: lists, leases, drafts, reviews, comparing and merging."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from scene_kit import GRIDS
from stand_in_server import StandIn
from worklist_kit import ANNA, BORIS, TASK, boxes, connect_as, make_case, make_study, save_as

from MahtAILib.client import segmentation as files
from MahtAILib.client.acting import Person
from MahtAILib.client.comparison import compare, merge
from MahtAILib.client.connection import Connection
from MahtAILib.client.drafts import Draft, discard_draft, draft_content, list_drafts, send_draft
from MahtAILib.client.errors import ClientError, NotMahtAIError, RequestRefusedError
from MahtAILib.client.reviews import Decision, decide, list_reviews
from MahtAILib.client.worklist import (
    UNFINISHED,
    Filter,
    claim,
    events,
    find_cases,
    next_case,
    read_case,
    release,
    strategies,
    work_case,
)
from server_process import ServerProcess

GEOMETRY = GRIDS["thick oblique"]


@pytest.fixture(scope="module")
def server_of_cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server without models."""
    root = tmp_path_factory.mktemp("worklist")
    process = ServerProcess(root, (root / "no-models",)).start()
    yield process
    process.kill()


@pytest.fixture
def task() -> str:
    """That no other test's cases have."""
    return f"task-{uuid4().hex[:12]}"


@pytest.fixture
def cases(server_of_cases: ServerProcess, task: str) -> list[str]:
    """Ids of three cases."""
    with server_of_cases.client() as client:
        study = make_study(GEOMETRY, 0)
        return [make_case(client, study, f"Case {number}", task=task)["id"] for number in range(3)]


@pytest.fixture
def anna(server_of_cases: ServerProcess) -> Iterator[Connection]:
    with connect_as(server_of_cases, ANNA) as connection:
        yield connection


@pytest.fixture
def boris(server_of_cases: ServerProcess) -> Iterator[Connection]:
    with connect_as(server_of_cases, BORIS) as connection:
        yield connection


def test_cases_are_found_by_state_person_and_words(anna: Connection, cases: list[str], task: str) -> None:
    claim(anna, cases[1])

    def found(**wanted: Any) -> list[str]:
        return [case.id for case in find_cases(anna, Filter(task=task, **wanted))[0]]

    assert found() == cases[::-1]
    assert found(of=ANNA.name) == [cases[1]] == found(states=("claimed",))
    assert found(search="case 2") == [cases[2]] and found(search="ä%&") == []
    assert found(states=UNFINISHED) == cases[::-1] and found(states=("approved",)) == [] == found(hard=True)
    assert [case.name for case in find_cases(anna, Filter(task=task), most=2)[0]] == ["Case 2", "Case 1"]
    assert find_cases(anna, Filter(task=task), most=2)[1] and not find_cases(anna, Filter(task=task), most=9)[1]


def test_a_name_of_any_letters_arrives_as_it_is(server_of_cases: ServerProcess, cases: list[str]) -> None:
    for name in ("Ärztin Żółć", "李医生", "O'Neil, 50%"):
        with connect_as(server_of_cases, Person(name, "annotator")) as connection:
            lease = claim(connection, cases[0])
            assert read_case(connection, cases[0]).holder == name
            release(connection, lease)


def test_who_asks_is_told_to_nobody_who_has_not_shown_to_be_a_mahtai_server(
    server: StandIn, connection: Connection
) -> None:
    connection.person = ANNA
    connection.probe()
    told = {path: headers.get("MahtAI-User") for _method, path, headers in server.state.requests}
    assert told["/healthz"] is None and told["/v1/models"] == "Anna%20%C3%84rztin"


def test_the_next_case_is_looked_at_or_claimed(
    anna: Connection, boris: Connection, cases: list[str], task: str
) -> None:
    looked = next_case(anna, "order", task, claim=False)
    assert looked is not None and looked.case.id == cases[0] and looked.lease is None and looked.why
    assert read_case(anna, cases[0]).holder == ""
    claimed = next_case(anna, "order", task, claim=True)
    assert claimed is not None and claimed.lease is not None and claimed.lease.renew_after_s > 0
    other = next_case(boris, "order", task, claim=True)
    assert other is not None and other.case.id == cases[1]
    assert next_case(boris, "order", task, True, exclude=[cases[2]]) is None
    with pytest.raises(RequestRefusedError):
        next_case(anna, "by the stars", task, claim=True)


def test_a_held_case_is_refused_to_others_and_free_after_its_release(
    anna: Connection, boris: Connection, cases: list[str]
) -> None:
    lease = claim(anna, cases[0])
    with pytest.raises(RequestRefusedError, match=ANNA.name) as refused:
        claim(boris, cases[0])
    assert refused.value.problem == "case-held"
    assert claim(anna, cases[0], lease.id).id == lease.id
    release(anna, lease)
    release(anna, lease)
    assert claim(boris, cases[0]).case == cases[0]
    assert [event.what for event in events(anna, cases[0])][-3:] == ["claimed", "released", "claimed"]


def test_drafts_are_kept_by_session_and_read_back(anna: Connection, boris: Connection, cases: list[str]) -> None:
    first, second = files.encode(boxes(GEOMETRY)), files.encode(boxes(GEOMETRY, 0.34, 0.74))
    session = str(uuid4())
    send_draft(anna, cases[0], Draft(session, "", ANNA.name), first)
    send_draft(anna, cases[0], Draft(session, "", ANNA.name, seconds_of_work=61.0), second)
    send_draft(boris, cases[0], Draft(str(uuid4()), "", BORIS.name), first)
    mine = [draft for draft in list_drafts(anna, cases[0]) if draft.author == ANNA.name]
    assert [(draft.session, draft.seconds_of_work) for draft in mine] == [(session, 61.0)]
    assert draft_content(anna, mine[0]) == second
    discard_draft(anna, cases[0], session)
    discard_draft(anna, cases[0], session)
    assert [draft.author for draft in list_drafts(anna, cases[0])] == [BORIS.name]


def test_a_decision_said_twice_is_one(anna: Connection, boris: Connection, cases: list[str]) -> None:
    version = save_as(anna, cases[0], boxes(GEOMETRY))
    for _ in range(2):
        assert decide(anna, cases[0], Decision("submit", ANNA, version.id), str(uuid4())).state == "submitted"
    key = str(uuid4())
    for _ in range(2):
        assert decide(anna, cases[0], Decision("approve", BORIS, version.id, "Good."), key).state == "approved"
    # a submission that is heard late does not undo what was decided about it
    assert decide(anna, cases[0], Decision("submit", ANNA, version.id), str(uuid4())).state == "approved"
    assert [(one.reviewer, one.verdict) for one in list_reviews(anna, cases[0])] == [(BORIS.name, "approve")]


def test_a_reject_without_a_word_and_a_decision_of_nobody_are_refused_before_they_are_kept() -> None:
    for wrong in ({"what": "reject", "person": ANNA}, {"what": "approve", "person": Person("")}):
        with pytest.raises(ValueError, match="comment|name"):
            Decision(version="x", **wrong)  # type: ignore[arg-type]


def test_two_versions_are_compared_part_by_part_and_merged(
    anna: Connection, boris: Connection, cases: list[str]
) -> None:
    root = save_as(anna, cases[0], boxes(GEOMETRY))
    mine = save_as(anna, cases[0], boxes(GEOMETRY, 0.32, 0.72), root.id)
    theirs = save_as(boris, cases[0], boxes(GEOMETRY, 0.36, 0.76), root.id)
    assert theirs.sibling_of == mine.id
    found = compare(anna, cases[0], mine.id, theirs.id)
    parts = {part.id: part for part in found.parts}
    here, there = boxes(GEOMETRY, 0.32, 0.72).layers[0], boxes(GEOMETRY, 0.36, 0.76).layers[0]
    assert found.changed == np.count_nonzero(here != there)
    for name, value in (("ed", 2), ("et", 4)):
        a, b = here == value, there == value
        assert parts[name].first_ml == pytest.approx(a.sum() * GEOMETRY.voxel_ml, rel=1e-3)
        assert parts[name].agreement == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-3)
    key = str(uuid4())
    merged = merge(anna, cases[0], mine.id, theirs.id, {"et": "second"}, key)
    assert merge(anna, cases[0], mine.id, theirs.id, {"et": "second"}, key).id == merged.id
    assert (merged.parent, merged.document["merges"], merged.author) == (mine.id, theirs.id, ANNA.name)


def test_strategies_are_listed(anna: Connection) -> None:
    assert "order" in {strategy.id for strategy in strategies(anna, TASK) if strategy.ready}


def test_what_is_no_answer_of_a_mahtai_server_is_told(server: StandIn, connection: Connection) -> None:
    with pytest.raises(ClientError):
        strategies(connection, TASK)
    with pytest.raises(NotMahtAIError):
        work_case({"id": "x"})
    with pytest.raises(NotMahtAIError):
        work_case(None)
