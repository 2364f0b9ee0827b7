"""Clients that are slow, half gone or many do not keep others from the server."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mahtai.doors import Doors
from mahtai.listening import HANDSHAKE_S, HEAD_S, STALL_S
from server_process import ServerProcess, StartServer, wait_until
from tls_kit import TlsServerProcess

PATIENCE_S = 20.0


def connect(server: ServerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 10)


def is_cut(connection: socket.socket, within_s: float) -> bool:
    """Whether the server ends the connection within so many seconds."""
    connection.settimeout(within_s)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def trickling(server: ServerProcess, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that send one byte of a head every second."""
    stop = threading.Event()
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(count)]

        def trickle() -> None:
            while not stop.is_set():
                for connection in connections:
                    with suppress(OSError):  # cut, as it should be
                        connection.send(b"X")
                stop.wait(1)

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        try:
            yield connections
        finally:
            stop.set()
            thread.join()


def test_slow_heads_are_cut_and_others_served(server: ServerProcess) -> None:
    with trickling(server, 200) as slow:
        with server.client() as other:
            for _ in range(20):
                assert other.get("/v1/models").status_code == 200
        for _ in range(5):  # each time a new connection, in spite of more than one address may have
            with server.client(timeout=5) as other:
                assert other.get("/healthz").status_code == 200
        assert all(is_cut(connection, HEAD_S + PATIENCE_S) for connection in slow[-3:])


def test_silence_is_cut(server: ServerProcess) -> None:
    with connect(server) as silent:
        assert is_cut(silent, HEAD_S + PATIENCE_S)


def test_a_body_that_stops_is_cut_and_leaves_nothing(start_server: StartServer) -> None:
    server = start_server()
    name = hashlib.sha256(b"never comes").hexdigest()
    with connect(server) as stopped:
        stopped.sendall(
            f"PUT /v1/volumes/{name} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n"
            "Content-Length: 3000000\r\n\r\n".encode()
            + bytes(2_000_000)
        )
        assert is_cut(stopped, STALL_S + PATIENCE_S)
    with server.client() as other:
        assert other.head(f"/v1/volumes/{name}").status_code == 404
    blobs = server.data / "blobs"
    wait_until(lambda: not [path for path in blobs.rglob("*") if path.is_file()], 10, "the partial upload to be gone")


def test_an_answer_that_nobody_reads_is_cut(server: ServerProcess) -> None:
    with connect(server) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        deaf.settimeout(1)
        try:
            for _ in range(2000):
                deaf.sendall(request)  # until neither side takes any more
        except TimeoutError:
            pass
        time.sleep(STALL_S + 5)
        try:
            for _ in range(100):
                deaf.send(request)
                time.sleep(0.1)
            ended = False
        except TimeoutError:
            ended = False
        except OSError:
            ended = True
        assert ended


class FakeCaller:
    """A connection, as the doors see it."""

    def __init__(self, idle: bool = True) -> None:
        self.idle = idle
        self.was_cut = False

    def is_idle(self) -> bool:
        return self.idle

    def cut(self) -> None:
        self.was_cut = True


def test_the_oldest_idle_connection_of_the_address_goes() -> None:
    doors = Doors(per_address=2)
    busy, idle, third, fourth = FakeCaller(idle=False), FakeCaller(), FakeCaller(idle=False), FakeCaller()
    assert doors.enter("a", busy)
    assert doors.enter("a", idle)
    assert doors.enter("a", third)
    assert idle.was_cut
    assert not busy.was_cut
    assert not doors.enter("a", fourth)  # all are busy
    assert doors.enter("b", fourth)
    doors.leave("a", busy)
    assert doors.enter("a", FakeCaller())


def test_a_flood_of_one_address_leaves_room_for_others() -> None:
    doors = Doors(per_address=1000, most=100)
    flood = [FakeCaller(idle=False) for _ in range(200)]
    assert sum(doors.enter("flood", caller) for caller in flood) == 90
    assert all(doors.enter(f"other {number}", FakeCaller(idle=False)) for number in range(10))


def test_a_handshake_that_stops_is_cut(tmp_path: Path, models: Path) -> None:
    process = TlsServerProcess(tmp_path, (models,)).make_certificate().start()
    try:
        with connect(process) as half:
            half.sendall(bytes.fromhex("160301"))
            assert is_cut(half, HANDSHAKE_S + PATIENCE_S)
        with process.client() as other:
            assert other.get("/healthz").status_code == 200
    finally:
        process.kill()
