"""Cases and label versions: saved once however often it is said, never overwritten, read back by hash."""

from __future__ import annotations

import math
import uuid
from typing import Any

import pytest
from stand_in_server import Handler, StandIn

from MahtAILib.client.cases import (
    Case,
    NewCase,
    NewLabel,
    add_label,
    create_case,
    get_case,
    label_content,
    list_cases,
    list_labels,
)
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import DamagedTransferError, NotMahtAIError, RequestRefusedError
from MahtAILib.client.markups import LandmarkFile, LandmarkPoint, decode_markups, encode_markups

LABEL = NewLabel(author="A. Reader", role="radiologist", seconds_of_work=93.5, verdict="disagree", comment="rim")


@pytest.fixture
def case(connection: Connection) -> Case:
    return create_case(connection, NewCase("Case 1", "brain_tumour", {"t1c": "a" * 64}, _key()))


def _key() -> str:
    return str(uuid.uuid4())


def test_a_case_is_created_listed_and_read(connection: Connection, case: Case) -> None:
    assert list_cases(connection) == [case]
    assert get_case(connection, case.id) == case
    assert (case.name, case.task, case.volumes) == ("Case 1", "brain_tumour", {"t1c": "a" * 64})


def test_a_case_created_twice_with_one_key_is_one(server: StandIn, connection: Connection) -> None:
    new = NewCase("Case 1", "brain_tumour", {}, _key())
    assert create_case(connection, new).id == create_case(connection, new).id
    assert len(server.state.cases) == 1


def test_a_case_that_is_not_there_is_told(connection: Connection) -> None:
    with pytest.raises(RequestRefusedError, match="no such case"):
        get_case(connection, "../../healthz")


def test_a_first_version_has_no_parent(server: StandIn, connection: Connection, case: Case) -> None:
    version = add_label(connection, case.id, b"first", LABEL, _key())
    assert (version.number, version.parent, version.sibling_of) == (1, None, None)
    assert server.state.volumes[version.sha256] == b"first"
    assert version.document["verdict"] == "disagree"
    assert version.document["seconds_of_work"] == 93.5


def test_landmarks_are_saved_as_such_and_read_again(server: StandIn, connection: Connection, case: Case) -> None:
    points = LandmarkFile((LandmarkPoint("S", "Sella", (1.0, 2.0, 0.0), "confirmed"),), "isbi19")
    version = add_label(connection, case.id, encode_markups(points), LABEL, _key())
    assert version.kind == "landmarks"
    assert server.state.labels[0]["landmarks"] == version.sha256
    assert "segmentation" not in server.state.labels[0]
    assert decode_markups(label_content(connection, case.id, version)) == points
    assert list_labels(connection, case.id) == [version]


def test_a_second_version_names_its_parent(connection: Connection, case: Case) -> None:
    first = add_label(connection, case.id, b"first", LABEL, _key())
    second = add_label(connection, case.id, b"second", NewLabel("B", "annotator", parent=first.id), _key())
    assert second.parent == first.id
    assert list_labels(connection, case.id) == [first, second]


def test_two_versions_from_one_parent_are_both_kept(connection: Connection, case: Case) -> None:
    first = add_label(connection, case.id, b"first", LABEL, _key())
    second = add_label(connection, case.id, b"second", NewLabel("B", "annotator", parent=first.id), _key())
    third = add_label(connection, case.id, b"third", NewLabel("C", "annotator", parent=first.id), _key())
    assert third.sibling_of == second.id
    assert len(list_labels(connection, case.id)) == 3


def test_a_version_whose_answer_was_lost_is_saved_once(server: StandIn, connection: Connection, case: Case) -> None:
    lost: list[bool] = []

    def lose_the_answer(handler: Handler) -> bool:
        if handler.command != "POST" or not handler.path.endswith("/labels") or lost:
            return False
        lost.append(True)
        server.misbehaviour = lambda handler: False
        handler.wfile = _Nowhere()  # type: ignore[assignment]
        handler.close_connection = True
        return False

    server.misbehaviour = lose_the_answer
    version = add_label(connection, case.id, b"first", LABEL, _key())
    assert lost
    assert [label["id"] for label in server.state.labels] == [version.id]


class _Nowhere:
    """An answer that never reaches the client."""

    closed = False

    def write(self, data: bytes) -> int:
        return len(data)

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


def test_the_content_comes_back_as_it_went(connection: Connection, case: Case) -> None:
    version = add_label(connection, case.id, b"first", LABEL, _key())
    assert label_content(connection, case.id, version) == b"first"


def test_content_that_was_changed_on_the_way_is_not_taken(server: StandIn, connection: Connection, case: Case) -> None:
    version = add_label(connection, case.id, b"first", LABEL, _key())
    server.state.volumes[version.sha256] = b"other"
    with pytest.raises(DamagedTransferError):
        label_content(connection, case.id, version)


def test_cases_are_listed_over_all_pages(server: StandIn, connection: Connection) -> None:
    for number in range(7):
        create_case(connection, NewCase(f"Case {number}", "brain_tumour", {}, _key()))
    assert [case.name for case in list_cases(connection)] == [f"Case {number}" for number in reversed(range(7))]
    assert server.state.count("GET", "/v1/cases") == 3


@pytest.mark.parametrize(
    "wrong",
    [{"author": ""}, {"role": "r" * 33}, {"comment": "x" * 10_001}, {"seconds_of_work": math.nan}, {"verdict": "?"}],
)
def test_a_label_that_every_server_refuses_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="author|comment|seconds|verdict"):
        NewLabel(**{"author": "A. Reader", "role": "radiologist", **wrong})


@pytest.mark.parametrize("answer", [{}, [], None, "x", {"cases": 1}, {"cases": [{}]}])
def test_a_list_of_cases_that_makes_no_sense_is_told(server: StandIn, connection: Connection, answer: object) -> None:
    def nonsense(handler: Handler) -> bool:
        handler.send(200, answer)
        return True

    server.misbehaviour = nonsense
    with pytest.raises(NotMahtAIError):
        list_cases(connection)


def test_the_volume_that_cases_are_asked_for_stays_in_every_page(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        create_case(connection, NewCase(f"Case {number}", "brain_tumour", {}, _key()))
    asked: list[str] = []
    send = connection.json

    def record(method: str, path: str) -> Any:
        asked.append(path)
        return send(method, path)

    monkeypatch.setattr(connection, "json", record)
    list_cases(connection, "ab" * 32)
    assert len(asked) == 3 and all(f"volume={'ab' * 32}" in path for path in asked)
