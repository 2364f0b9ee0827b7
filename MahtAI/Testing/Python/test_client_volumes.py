"""Only what the server lacks travels, raw on this computer and compressed to others, and every hash is checked."""

from __future__ import annotations

import hashlib
import socket
import threading

import numpy as np
import pytest
from stand_in_server import Handler, StandIn

from MahtAILib.client.background import Task
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import (
    CancelledError,
    ClientError,
    DamagedTransferError,
    NotMahtAIError,
    RequestRefusedError,
    WrongTokenError,
)
from MahtAILib.client.nrrd import decode
from MahtAILib.client.volumes import Blob, fetch, missing, pack, upload


@pytest.fixture
def remote(connection: Connection) -> Connection:
    """The same server, treated as one on another computer."""
    connection.is_local = False
    return connection


def _volumes(count: int = 4) -> list[Blob]:
    smooth = np.arange(40 * 40 * 40, dtype=np.int16).reshape(40, 40, 40) // 64
    return [pack(smooth + number, np.eye(4)) for number in range(count)]


def _put_headers(server: StandIn) -> list[dict[str, str]]:
    return [headers for method, _, headers in server.state.requests if method == "PUT"]


def test_the_identity_is_the_hash_of_the_uncompressed_nrrd() -> None:
    blob = _volumes(1)[0]
    assert blob.sha256 == hashlib.sha256(blob.data).hexdigest()
    assert decode(blob.data).array.shape == (40, 40, 40)


def test_a_file_in_pieces_is_the_same_file(server: StandIn, connection: Connection) -> None:
    whole = np.random.default_rng(1).integers(0, 9, 300_000, np.uint8).tobytes()
    pieces = Blob([whole[:7], memoryview(whole)[7:200_001], whole[200_001:]])
    assert pieces.sha256 == Blob(whole).sha256 and pieces.data == whole and len(pieces) == len(whole)
    for is_local in (True, False):
        connection.is_local = is_local
        server.state.volumes.clear()
        upload(connection, [pieces])
        assert server.state.volumes == {pieces.sha256: whole}


def test_the_voxels_of_a_volume_are_sent_from_where_they_lie() -> None:
    voxels = np.zeros((40, 30, 20), np.int16, order="F")
    header, body = pack(voxels, np.eye(4)).pieces
    assert header.endswith(b"\n\n")
    assert np.shares_memory(np.frombuffer(body, np.int16), voxels)


def test_all_volumes_arrive_unchanged(server: StandIn, connection: Connection) -> None:
    blobs = _volumes()
    result = upload(connection, blobs)
    assert server.state.volumes == {blob.sha256: blob.data for blob in blobs}
    assert set(result.sent) == set(server.state.volumes)
    assert result.wire_bytes == sum(len(blob.data) for blob in blobs)


def test_what_the_server_has_does_not_travel_again(server: StandIn, connection: Connection) -> None:
    blobs = _volumes()
    upload(connection, blobs[:3])
    before = server.state.count("PUT")
    assert upload(connection, blobs).sent == (blobs[3].sha256,)
    assert server.state.count("PUT") - before == 1


def test_a_volume_given_twice_travels_once(server: StandIn, connection: Connection) -> None:
    blob = _volumes(1)[0]
    upload(connection, [blob, blob, Blob(blob.data)])
    assert server.state.count("PUT") == 1


def test_nothing_missing_costs_one_request(server: StandIn, connection: Connection) -> None:
    blobs = _volumes()
    server.state.volumes = {blob.sha256: blob.data for blob in blobs}
    assert upload(connection, blobs).sent == ()
    assert [path for _, path, _ in server.state.requests] == ["/v1/volumes/missing"]


def test_volumes_go_raw_to_this_computer(server: StandIn, connection: Connection) -> None:
    upload(connection, _volumes(1))
    (headers,) = _put_headers(server)
    assert "Content-Encoding" not in headers
    assert int(headers["Content-Length"]) == len(_volumes(1)[0].data)


def test_volumes_go_compressed_to_another_computer(server: StandIn, remote: Connection) -> None:
    blobs = _volumes()
    result = upload(remote, blobs)
    assert server.state.volumes == {blob.sha256: blob.data for blob in blobs}
    assert all(headers["Content-Encoding"] == "gzip" for headers in _put_headers(server))
    assert result.wire_bytes == sum(int(headers["Content-Length"]) for headers in _put_headers(server))
    assert result.wire_bytes < sum(len(blob.data) for blob in blobs) / 2


def test_what_does_not_shrink_goes_as_it_is(server: StandIn, remote: Connection) -> None:
    noise = Blob(np.random.default_rng(0).bytes(200_000))
    upload(remote, [noise])
    assert "Content-Encoding" not in _put_headers(server)[0]


@pytest.mark.parametrize("is_local", [True, False])
def test_progress_counts_all_bytes_and_ends_at_all_of_them(connection: Connection, is_local: bool) -> None:
    connection.is_local = is_local
    blobs = _volumes()
    told: list[tuple[int, int]] = []
    upload(connection, blobs, lambda done, total: told.append((done, total)))
    total = sum(len(blob.data) for blob in blobs)
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 4


def test_the_four_volumes_travel_at_the_same_time(server: StandIn, connection: Connection) -> None:
    together = threading.Barrier(4, timeout=5)

    def wait_for_the_others(handler: Handler) -> bool:
        if handler.command == "PUT":
            together.wait()
        return False

    server.misbehaviour = wait_for_the_others
    assert len(upload(connection, _volumes()).sent) == 4


def test_a_connection_that_breaks_in_mid_upload_is_made_good(server: StandIn, connection: Connection) -> None:
    broken: list[str] = []

    def break_once(handler: Handler) -> bool:
        if handler.command != "PUT" or handler.path in broken:
            return False
        broken.append(handler.path)
        handler.rfile.read(1000)
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
        return True

    server.misbehaviour = break_once
    blobs = _volumes()
    upload(connection, blobs)
    assert len(broken) == 4
    assert server.state.volumes == {blob.sha256: blob.data for blob in blobs}


def test_a_refused_volume_tells_the_reason_and_stops_the_others(server: StandIn, connection: Connection) -> None:
    def refuse(handler: Handler) -> bool:
        if handler.command != "PUT":
            return False
        handler.body()
        handler.problem(422, "constant", "The volume holds one value only.", "Choose another series.")
        return True

    server.misbehaviour = refuse
    with pytest.raises(RequestRefusedError, match="one value only. Choose another series."):
        upload(connection, _volumes())


def test_a_refusal_in_mid_upload_is_still_read(server: StandIn, connection: Connection) -> None:
    def refuse(handler: Handler) -> bool:
        if handler.command != "PUT":
            return False
        handler.close_connection = True
        handler.problem(413, "too-large", "The file is larger than this server accepts.")
        handler.connection.shutdown(socket.SHUT_WR)
        handler.body()
        return True

    server.misbehaviour = refuse
    with pytest.raises(RequestRefusedError, match="larger than this server accepts"):
        upload(connection, [Blob(bytes(10_000_000))])


def test_a_stopped_task_ends_the_upload(server: StandIn, connection: Connection) -> None:
    task = Task()
    with pytest.raises(CancelledError):
        upload(connection, _volumes(), lambda done, total: task.abandon(), task)
    assert not server.state.volumes


def test_a_wrong_token_is_told_before_anything_travels(server: StandIn) -> None:
    with pytest.raises(WrongTokenError):
        upload(Connection(server.url, "wrong"), _volumes())
    assert server.state.count("PUT") == 0


def test_an_answer_about_missing_volumes_that_makes_no_sense_is_told(server: StandIn, connection: Connection) -> None:
    def nonsense(handler: Handler) -> bool:
        handler.body()
        handler.send(200, ["?"])
        return True

    server.misbehaviour = nonsense
    with pytest.raises(NotMahtAIError):
        missing(connection, ["0" * 64])


def test_the_server_cannot_ask_for_more_than_it_was_told_of(server: StandIn, connection: Connection) -> None:
    def greedy(handler: Handler) -> bool:
        handler.body()
        handler.send(200, {"missing": ["f" * 64]})
        return True

    server.misbehaviour = greedy
    assert missing(connection, ["0" * 64]) == set()


@pytest.mark.parametrize(("damaged_times", "error"), [(1, None), (2, DamagedTransferError)])
def test_a_download_is_checked_and_fetched_once_more(
    server: StandIn, connection: Connection, damaged_times: int, error: type[ClientError] | None
) -> None:
    left = [damaged_times]

    def damage(handler: Handler) -> bool:
        left[0] -= 1
        handler.send(200, b"whole" if left[0] < 0 else b"wrong")
        return True

    server.misbehaviour = damage
    sha256 = hashlib.sha256(b"whole").hexdigest()
    if error is None:
        assert fetch(connection, "/v1/volumes/x", sha256, 5) == b"whole"
    else:
        with pytest.raises(error, match="hash differs"):
            fetch(connection, "/v1/volumes/x", sha256, 5)


def test_a_download_that_goes_on_for_ever_is_cut_off(server: StandIn, connection: Connection) -> None:
    def endless(handler: Handler) -> bool:
        handler.send(200, bytes(1_000_000))
        return True

    server.misbehaviour = endless
    with pytest.raises(NotMahtAIError, match="far larger"):
        fetch(connection, "/v1/volumes/x", "0" * 64, 1000)
