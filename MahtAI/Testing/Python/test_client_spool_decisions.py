"""Decisions in the spool: sent in order, in the name of who made them, once, also a long time later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scene_kit import GRIDS
from stand_in_server import StandIn
from worklist_kit import ANNA, BORIS, boxes, connect_as, make_case, make_study

from MahtAILib.client.acting import Person
from MahtAILib.client.cases import NewLabel
from MahtAILib.client.connection import Connection
from MahtAILib.client.reviews import Decision, list_reviews
from MahtAILib.client.segmentation import encode
from MahtAILib.client.spool import Spool
from MahtAILib.client.spool_item import SpooledDecision
from MahtAILib.client.worklist import read_case
from server_process import ServerProcess


@pytest.fixture
def work(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server without models."""
    process = ServerProcess(tmp_path / "server", (tmp_path / "no-models",)).start()
    yield process
    process.kill()


def test_a_decision_is_sent_after_the_version_that_it_is_about(work: ServerProcess, tmp_path: Path) -> None:
    """Against a real server: the version, its submission with it, and another reader's review, in order and once."""
    with work.client() as client, connect_as(work, ANNA) as connection:
        case = make_case(client, make_study(GRIDS["LPS"], 0), "Case 1")["id"]
        spool = Spool(tmp_path / "spool")
        content = encode(boxes(GRIDS["LPS"]))
        label = NewLabel(ANNA.name, ANNA.role, submit=True)
        key = spool.add(work.url, case, content, label)
        decision = Decision("approve", BORIS, comment="Good.")
        told = spool.add_decision(work.url, case, decision, parent_key=key)
        report = Spool(tmp_path / "spool").flush(connection)
        assert [receipt.client_key for receipt in report.sent] == [key, told] and report.kept == 0
        assert spool.receipt(told).version_id == spool.receipt(key).version_id
        assert read_case(connection, case).state == "approved"
        assert [(one.reviewer, one.comment) for one in list_reviews(connection, case)] == [(BORIS.name, "Good.")]

        # another decision about it is one too many; it is kept with the reason
        again = spool.add_decision(work.url, case, Decision("approve", BORIS, spool.receipt(key).version_id))
        refused = spool.flush(connection)
        assert [one.item.client_key for one in refused.refused] == [again]
        assert "wait for a review" in refused.refused[0].reason
        item = spool.refused()[0].item
        assert isinstance(item, SpooledDecision) and item.decision.person == BORIS


def test_a_decision_about_a_version_that_was_refused_is_refused_too(
    server: StandIn, connection: Connection, tmp_path: Path
) -> None:
    spool = Spool(tmp_path)
    key = spool.add(server.url, "no-such-case", b"content", NewLabel("A", "annotator"))
    spool.add_decision(server.url, "no-such-case", Decision("submit", Person("A")), parent_key=key)
    report = spool.flush(connection)
    assert len(report.refused) == 2 and report.sent == () and spool.pending() == []
