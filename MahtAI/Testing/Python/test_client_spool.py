"""No label is ever lost or saved twice: not offline, not in a crash, not with two processes sending at once."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from stand_in_server import TOKEN, Handler, StandIn, free_port

from MahtAILib.client.cases import NewCase, NewLabel
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import (
    BusyError,
    CancelledError,
    ClientError,
    NotMahtAIError,
    RefusedError,
    ServerFaultError,
    SpoolError,
    WrongTokenError,
)
from MahtAILib.client.spool import Spool
from MahtAILib.client.volumes import Blob


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture(autouse=True)
def case(server: StandIn) -> None:
    """The case that the items are for."""
    server.state.cases["case-1"] = {"id": "case-1", "name": "", "task": "", "volumes": {}, "client_key": None}


def _label(comment: str = "", **fields: Any) -> NewLabel:
    return NewLabel(author="A. Reader", role="radiologist", comment=comment, **fields)


def _add(spool: Spool, url: str, comment: str = "", **options: Any) -> str:
    return spool.add(url, "case-1", b"segmentation " + comment.encode(), _label(comment), **options)


def _comments(server: StandIn) -> list[str]:
    return [label["comment"] for label in server.state.labels]


def test_an_item_is_there_for_whoever_opens_the_folder_next(tmp_path: Path) -> None:
    label = NewLabel("A. Reader", "radiologist", "parent", "job", 12.5, "agree", "Ödem\nrim", {"Paint": 3})
    key = Spool(tmp_path).add("localhost:8391", "case-1", b"segmentation", label)
    (item,) = Spool(tmp_path).pending()
    assert (item.client_key, item.server, item.case, item.label) == (key, "http://localhost:8391", "case-1", label)
    assert item.read(item.content).data == b"segmentation"


def test_items_are_sent_in_the_order_in_which_they_were_saved(
    server: StandIn, spool: Spool, connection: Connection
) -> None:
    keys = [_add(spool, server.url, str(number)) for number in range(5)]
    report = spool.flush(connection)
    assert _comments(server) == ["0", "1", "2", "3", "4"]
    assert [receipt.client_key for receipt in report.sent] == keys
    assert [receipt.version_id for receipt in report.sent] == [label["id"] for label in server.state.labels]
    assert (report.kept, report.refused, report.error, spool.pending()) == (0, (), None, [])
    assert server.state.volumes[server.state.labels[3]["segmentation"]] == b"segmentation 3"


def test_the_order_holds_when_the_clock_is_set_back(
    server: StandIn, spool: Spool, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(spool, server.url, "first")
    monkeypatch.setattr(time, "time_ns", lambda: 1_000)
    _add(spool, server.url, "second")
    spool.flush(connection)
    assert _comments(server) == ["first", "second"]


def test_a_version_of_a_spooled_version_gets_its_parent_when_that_is_known(
    server: StandIn, spool: Spool, connection: Connection
) -> None:
    first = _add(spool, server.url, "first")
    second = _add(spool, server.url, "second", parent_key=first)
    spool.flush(connection)
    _add(spool, server.url, "third", parent_key=second)
    spool.flush(connection)
    ids = [label["id"] for label in server.state.labels]
    assert [label["parent"] for label in server.state.labels] == [None, ids[0], ids[1]]


def test_without_a_server_everything_is_kept_and_sent_later(spool: Spool) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    _add(spool, url, "first")
    report = spool.flush(Connection(url, TOKEN))
    assert isinstance(report.error, RefusedError)
    assert report.kept == 1
    with StandIn(port=port) as server, Connection(url, TOKEN) as connection:
        server.state.cases["case-1"] = {}
        assert spool.flush(connection).kept == 0
        assert _comments(server) == ["first"]


def test_a_server_that_goes_in_between_gets_the_rest_later(server: StandIn, spool: Spool) -> None:
    for number in range(3):
        _add(spool, server.url, str(number))

    def die_after_the_first(handler: Handler) -> bool:
        if server.state.labels:
            handler.close_connection = True
            server.stop()
            return True
        return False

    server.misbehaviour = die_after_the_first
    report = spool.flush(Connection(server.url, TOKEN, retries=0))
    assert len(report.sent) == 1
    assert report.kept == 2
    assert report.error is not None
    with StandIn(server.state, server.port) as back, Connection(back.url, TOKEN) as connection:
        assert spool.flush(connection).kept == 0
    assert _comments(server) == ["0", "1", "2"]


def _always(server: StandIn, status: int, kind: str) -> None:
    def misbehaviour(handler: Handler) -> bool:
        if handler.path == "/healthz":
            return False
        handler.body()
        handler.problem(status, kind, "Not now.", "Later.")
        return True

    server.misbehaviour = misbehaviour


@pytest.mark.parametrize(
    ("status", "error"), [(401, WrongTokenError), (429, BusyError), (503, BusyError), (500, ServerFaultError)]
)
def test_what_may_pass_keeps_the_items_waiting(
    server: StandIn, spool: Spool, connection: Connection, status: int, error: type[ClientError]
) -> None:
    _add(spool, server.url)
    _always(server, status, "x")
    report = spool.flush(connection)
    assert isinstance(report.error, error)
    assert report.kept == 1
    assert not report.refused


def test_one_item_that_the_server_fails_at_does_not_hold_up_the_others_but_its_children(
    server: StandIn, spool: Spool, connection: Connection
) -> None:
    parent = _add(spool, server.url, "poison")
    _add(spool, server.url, "child", parent_key=parent)
    _add(spool, server.url, "other")

    def fail_at_poison(handler: Handler) -> bool:
        if handler.command != "PUT" or int(handler.headers["Content-Length"]) != len(b"segmentation poison"):
            return False
        handler.body()
        handler.problem(500, "server", "The server failed.", "Tell IT.")
        return True

    server.misbehaviour = fail_at_poison
    report = spool.flush(connection)
    assert _comments(server) == ["other"]
    assert isinstance(report.error, ServerFaultError)
    assert report.kept == 2
    assert not report.refused
    server.misbehaviour = lambda handler: False
    assert spool.flush(connection).kept == 0
    assert _comments(server) == ["other", "poison", "child"]
    assert server.state.labels[2]["parent"] == server.state.labels[1]["id"]


def test_something_else_at_the_address_gets_nothing(server: StandIn, spool: Spool, connection: Connection) -> None:
    _add(spool, server.url)
    server.info = {"service": "other"}
    report = spool.flush(connection)
    assert isinstance(report.error, NotMahtAIError)
    assert report.kept == 1
    assert [path for _, path, _ in server.state.requests] == ["/healthz"]


def test_what_the_server_refuses_for_good_is_set_aside_with_the_reason_and_the_rest_goes(
    server: StandIn, spool: Spool, connection: Connection
) -> None:
    server.state.refuse_label = "bad"
    for comment in ("one", "bad", "two"):
        _add(spool, server.url, comment)
    report = spool.flush(connection)
    assert _comments(server) == ["one", "two"]
    assert report.kept == 0
    assert report.error is None
    (refused,) = spool.refused()
    assert report.refused == (refused,)
    assert (refused.reason, refused.hint) == ("The label lies on another grid.", "Use the grid of the T1c.")
    assert refused.item is not None
    assert refused.item.read(refused.item.content).data == b"segmentation bad"


def test_what_was_refused_can_be_sent_again(server: StandIn, spool: Spool, connection: Connection) -> None:
    server.state.refuse_label = "bad"
    parent = _add(spool, server.url, "bad")
    _add(spool, server.url, "child", parent_key=parent)
    report = spool.flush(connection)
    assert [refused.reason for refused in report.refused][
        1
    ] == "The version that this one was made from is not on the server."
    server.state.refuse_label = ""
    for refused in spool.refused():
        spool.send_again(refused)
    assert spool.flush(connection).kept == 0
    assert _comments(server) == ["bad", "child"]
    assert spool.refused() == []
    assert server.state.labels[1]["parent"] == server.state.labels[0]["id"]


def test_a_case_made_offline_is_created_once_with_its_volumes(
    server: StandIn, spool: Spool, connection: Connection
) -> None:
    volume = Blob(b"voxels of the T1c")
    case = NewCase("Case 7", "brain_tumour", {"t1c": volume.sha256}, str(uuid.uuid4()))
    for comment in ("first", "second"):
        spool.add(server.url, case, b"segmentation", _label(comment), volumes=[volume])
    report = spool.flush(connection)
    assert _comments(server) == ["first", "second"]
    assert server.state.volumes[volume.sha256] == volume.data
    assert len({receipt.case_id for receipt in report.sent}) == 1


def test_items_for_another_server_stay(server: StandIn, spool: Spool, connection: Connection) -> None:
    _add(spool, "http://other.example:8391", "theirs")
    _add(spool, server.url, "ours")
    report = spool.flush(connection)
    assert _comments(server) == ["ours"]
    assert report.kept == 1
    assert report.error is None


def test_an_empty_spool_asks_nothing_of_the_server(server: StandIn, spool: Spool, connection: Connection) -> None:
    assert spool.flush(connection).error is None
    assert not server.state.requests


def test_a_version_tried_before_under_the_same_key_is_saved_once(
    server: StandIn, spool: Spool, connection: Connection
) -> None:
    key = _add(spool, server.url, "first")
    spool.flush(connection)
    _add(spool, server.url, "first", client_key=key)
    assert spool.flush(connection).kept == 0
    assert _comments(server) == ["first"]
    assert server.state.count("POST", "/labels") == 1  # the receipt is enough


def test_another_version_under_a_key_that_was_used_is_set_aside_and_not_dropped(
    server: StandIn, spool: Spool, connection: Connection
) -> None:
    key = _add(spool, server.url, "first")
    spool.flush(connection)
    _add(spool, server.url, "other", client_key=key)
    (refused,) = spool.flush(connection).refused
    assert "Another file" in refused.reason
    assert refused.item is not None
    assert refused.item.read(refused.item.content).data == b"segmentation other"


def test_an_item_of_the_first_version_of_the_client_is_still_sent(
    server: StandIn, connection: Connection, spool: Spool, case: None
) -> None:
    _add(spool, server.url, "old")
    path = spool.pending()[0].folder / "item.json"
    document = json.loads(path.read_bytes())
    document["segmentation"] = document.pop("content")
    path.write_text(json.dumps(document))
    (sent,) = spool.flush(connection).sent
    assert server.state.volumes[sent.content] == b"segmentation old"


@pytest.mark.parametrize("damage", ["segmentation", "description", "no description", "no segmentation"])
def test_an_item_damaged_on_disk_is_set_aside_and_the_rest_goes(
    server: StandIn, spool: Spool, connection: Connection, damage: str
) -> None:
    _add(spool, server.url, "damaged")
    (item,) = spool.pending()
    path = item.folder / ("item.json" if "description" in damage else f"{item.content}.bin")
    path.unlink() if damage.startswith("no") else path.write_bytes(path.read_bytes()[:-20])
    _add(spool, server.url, "whole")
    report = spool.flush(connection)
    assert _comments(server) == ["whole"]
    assert report.kept == 0
    assert len(spool.refused()) == 1
    assert "on this computer" in spool.refused()[0].reason


def test_a_full_disk_is_told_and_leaves_nothing_behind(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SpoolError, match=r"still open in front of you\. The disk is full\. Free some space"):
        _add(spool, "localhost")
    assert spool.pending() == []
    assert not list((tmp_path / "spool" / "incoming").iterdir())


def test_a_full_disk_while_sending_keeps_the_item_and_saves_it_once(
    server: StandIn, spool: Spool, connection: Connection
) -> None:
    _add(spool, server.url, "first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", _raise_full)
        report = spool.flush(connection)
        assert isinstance(report.error, SpoolError)
        assert report.kept == 1
    assert spool.flush(connection).kept == 0
    assert _comments(server) == ["first"]


def _raise_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot be used"):
        Spool(tmp_path / "file" / "spool")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_only_the_owner_can_read_the_folder(spool: Spool, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


def test_a_cancel_keeps_the_rest(server: StandIn, spool: Spool, connection: Connection) -> None:
    for number in range(3):
        _add(spool, server.url, str(number))
    with pytest.raises(CancelledError):
        spool.flush(connection, cancelled=lambda: bool(server.state.labels))
    server.misbehaviour = lambda handler: False
    while spool.pending():  # the abandoned thread may still hold the lock for a moment
        spool.flush(connection)
    assert _comments(server) == ["0", "1", "2"]
