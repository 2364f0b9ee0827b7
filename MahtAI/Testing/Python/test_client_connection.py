"""A server that is not there, not well, or not a MahtAI server: each has its own error with a reason and a hint."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
import requests
from stand_in_server import TOKEN, Handler, RawServer, StandIn, free_port

from MahtAILib.client.background import Task
from MahtAILib.client.connection import Connection
from MahtAILib.client.diagnosis import explain_failure
from MahtAILib.client.errors import (
    BadAddressError,
    BusyError,
    CancelledError,
    CertificateError,
    ClientError,
    ConnectionLostError,
    ForbiddenError,
    NotMahtAIError,
    RefusedError,
    RequestRefusedError,
    ServerFaultError,
    ServerTooNewError,
    ServerTooOldError,
    TimedOutError,
    UnknownHostError,
    UnreachableError,
    WrongTokenError,
)
from MahtAILib.client.refusals import retry_after_s
from MahtAILib.client.server_info import ServerInfo


def _connection(url: str, token: str = TOKEN, **options: float) -> Connection:
    return Connection(url, token, connect_timeout_s=1.0, read_timeout_s=1.0, backoff_s=0.001, **options)  # type: ignore[arg-type]


def _failing(server: StandIn, status: int, times: int = 1, **headers: str) -> None:
    """The next requests get a problem document."""
    left = [times]

    def misbehaviour(handler: Handler) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        handler.body()
        handler.problem(status, "busy", "The line is full.", "Wait a minute.", **headers)
        return True

    server.misbehaviour = misbehaviour


def _closing(server: StandIn, times: int = 1) -> None:
    """The next requests are read and never answered: the connection is closed."""
    left = [times]

    def misbehaviour(handler: Handler) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        handler.body()
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
        return True

    server.misbehaviour = misbehaviour


def _check_words(error: ClientError) -> None:
    assert error.reason.endswith(".")
    assert error.hint.endswith(".")
    assert "Error" not in str(error)
    assert "urllib3" not in str(error)
    assert "0x" not in str(error)


def test_a_good_server_is_probed_with_its_version(server: StandIn) -> None:
    with _connection(server.url) as connection:
        assert connection.probe() == ServerInfo("0.1.0", 1)


def test_nobody_listening_is_told_as_refused() -> None:
    with pytest.raises(RefusedError, match="No server is running at 127.0.0.1") as caught:
        _connection(f"127.0.0.1:{free_port()}").probe()
    _check_words(caught.value)


def test_an_unknown_name_is_told_with_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(UnknownHostError, match="“mahtai.hospital.example”") as caught:
        _connection("http://mahtai.hospital.example:8391").probe()
    _check_words(caught.value)


def test_a_server_that_accepts_and_never_answers_is_told_as_timed_out() -> None:
    with RawServer(None) as server, pytest.raises(TimedOutError) as caught:
        Connection(server.url, TOKEN, read_timeout_s=0.1).probe()
    _check_words(caught.value)


def test_an_answer_that_stops_in_the_middle_is_told_as_a_lost_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with RawServer(head + b'{"service"') as server, pytest.raises(ConnectionLostError) as caught:
        _connection(server.url).probe()
    _check_words(caught.value)


@pytest.mark.parametrize("token", ["wrong", ""])
def test_a_wrong_or_missing_token_is_told_as_such(server: StandIn, token: str) -> None:
    with pytest.raises(WrongTokenError, match="missing or wrong") as caught:
        _connection(server.url, token).probe()
    _check_words(caught.value)


def test_the_token_is_not_shown_to_a_server_before_it_says_what_it_is(server: StandIn) -> None:
    server.info = {"service": "something else"}
    with pytest.raises(NotMahtAIError):
        _connection(server.url).probe()
    assert [path for _, path, _ in server.state.requests] == ["/healthz"]
    assert "Authorization" not in server.state.requests[0][2]


OTHERS = {
    "a web page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>",
    "a login elsewhere": b"HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nContent-Length: 0\r\n\r\n",
    "a login of its own": b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    "a page that is not found": b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope",
    "JSON of another kind": b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":"ok"}',
    "a JSON list": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    "an empty answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "noise": bytes(range(256)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_something_else_at_the_address_is_told_as_not_mahtai(other: str) -> None:
    with RawServer(OTHERS[other]) as server, pytest.raises(NotMahtAIError, match="not a MahtAI server") as caught:
        _connection(server.url).probe()
    _check_words(caught.value)


def test_an_answer_without_end_is_cut_off() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    with RawServer(head + b" " * 20_000_000) as server, pytest.raises(NotMahtAIError, match="far larger"):
        _connection(server.url).probe()


@pytest.mark.parametrize(("api", "error"), [(0, ServerTooOldError), (2, ServerTooNewError)])
def test_another_api_version_says_which_side_to_update(server: StandIn, api: int, error: type[ClientError]) -> None:
    server.info["api"] = api
    with pytest.raises(error, match="MahtAI 0.1.0") as caught:
        _connection(server.url).probe()
    _check_words(caught.value)


def test_https_to_a_server_without_encryption_says_so(server: StandIn) -> None:
    with pytest.raises(CertificateError, match="does not use encryption") as caught:
        _connection(server.url.replace("http://", "https://")).probe()
    _check_words(caught.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with StandIn() as server:
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        url = server.url.replace("http://", "https://")
        with pytest.raises(CertificateError, match="not trusted") as caught:
            _connection(url).probe()
        _check_words(caught.value)
        with Connection(url, TOKEN, ca_file=str(certificate)) as connection:
            assert connection.probe().api == 1


@pytest.mark.parametrize(
    "url", ["", "http://", "ftp://host", "http://host:99999", "http://a b", "http://user:pw@host", "http://host/?a=b"]
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadAddressError) as caught:
        Connection(url)
    _check_words(caught.value)


def test_a_host_with_an_empty_label_is_a_bad_address() -> None:
    with pytest.raises(BadAddressError):
        _connection("http://a..b:8391").probe()


def test_an_address_is_cleaned() -> None:
    assert Connection(" LocalHost:8391/ ").url == "http://localhost:8391"
    assert Connection("https://Host/mahtai/").url == "https://host/mahtai"


@pytest.mark.parametrize(
    ("url", "local"),
    [("127.0.0.1:1", True), ("localhost", True), ("http://[::1]:8391", True), ("http://10.1.2.3", False)],
)
def test_this_computer_is_told_from_others(url: str, local: bool) -> None:
    assert Connection(url).is_local is local


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ümlaut"])
def test_a_token_that_no_header_can_carry_is_refused_at_once(token: str) -> None:
    with pytest.raises(WrongTokenError):
        Connection("127.0.0.1", token)


def test_a_proxy_from_the_environment_is_not_used_for_this_computer(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    assert _connection(server.url).probe().api == 1


def test_a_proxy_that_is_down_is_told_as_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(UnreachableError, match="proxy"):
        _connection("http://mahtai.hospital.example:8391").probe()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_says_when_to_come_back(server: StandIn, status: int) -> None:
    _failing(server, status, Retry_After="30")
    with pytest.raises(BusyError, match=r"The line is full\. Wait a minute\.") as caught:
        _connection(server.url).json("GET", "/v1/models")
    assert caught.value.retry_after_s == 30


def test_a_busy_server_that_wants_us_back_at_once_is_asked_again(server: StandIn) -> None:
    _failing(server, 503, times=2, Retry_After="0")
    assert _connection(server.url).json("GET", "/v1/models") == {"models": []}


def test_a_request_that_may_not_be_repeated_is_sent_once(server: StandIn) -> None:
    _closing(server)
    with pytest.raises(ConnectionLostError):
        _connection(server.url).json("POST", "/v1/volumes/missing", {"sha256": []})
    assert server.state.count("POST") == 1


@pytest.mark.parametrize("times", [1, 2])
def test_a_connection_that_breaks_is_tried_again_where_that_is_harmless(server: StandIn, times: int) -> None:
    _closing(server, times)
    assert _connection(server.url).json("GET", "/v1/models") == {"models": []}


def test_tries_end(server: StandIn) -> None:
    _closing(server, 100)
    with pytest.raises(ConnectionLostError) as caught:
        _connection(server.url).json("GET", "/v1/models")
    assert server.state.count("GET") == 3
    _check_words(caught.value)


def test_waiting_between_tries_ends_when_the_task_is_stopped(server: StandIn) -> None:
    _closing(server, 100)
    task = Task()
    task.abandon()
    with pytest.raises(CancelledError):
        Connection(server.url, TOKEN, backoff_s=60).json("GET", "/v1/models", task=task)


def test_a_refusal_carries_the_words_of_the_server(server: StandIn) -> None:
    with pytest.raises(RequestRefusedError, match="There is no such case. Create it again.") as caught:
        _connection(server.url).json("GET", "/v1/cases/x")
    assert (caught.value.status, caught.value.problem) == (404, "unknown-case")


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, ForbiddenError), (409, RequestRefusedError), (500, ServerFaultError), (507, ServerFaultError)],
)
def test_each_status_has_its_error(server: StandIn, status: int, error: type[ClientError]) -> None:
    _failing(server, status)
    with pytest.raises(error, match="The line is full"):
        _connection(server.url).json("POST", "/v1/inferences", {})


@pytest.mark.parametrize(("status", "error"), [(500, ServerFaultError), (502, UnreachableError), (418, NotMahtAIError)])
def test_a_failure_without_words_gets_ours(status: int, error: type[ClientError]) -> None:
    answer = f"HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi".encode()
    with RawServer(answer) as server, pytest.raises(error) as caught:
        _connection(server.url).json("GET", "/v1/models")
    _check_words(caught.value)


def test_a_problem_document_that_is_damaged_still_gives_an_error() -> None:
    answer = b"HTTP/1.1 500 X\r\nContent-Type: application/problem+json\r\nContent-Length: 3\r\n\r\n{]x"
    with RawServer(answer) as server, pytest.raises(ServerFaultError):
        _connection(server.url).json("GET", "/v1/models")


def test_no_way_through_the_network_is_told_as_unreachable() -> None:
    error = requests.ConnectionError(OSError(113, "No route to host"))
    assert isinstance(explain_failure(error, "http://10.0.0.1:8391"), UnreachableError)


def test_a_connection_that_is_never_set_up_is_told_as_timed_out() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:  # fill the queue, so that the next one is never accepted
            connection.setblocking(False)
            connection.connect_ex(address)
        with pytest.raises((TimedOutError, RefusedError)):
            Connection(f"http://127.0.0.1:{address[1]}", connect_timeout_s=0.1, read_timeout_s=0.1).probe()
        for connection in waiting:
            connection.close()


def test_retry_after_is_read_as_number_and_as_date() -> None:
    assert retry_after_s("7") == 7
    assert retry_after_s("") is None
    assert retry_after_s("soon") is None
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    later = retry_after_s(time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100)))
    assert later is not None
    assert 90 < later <= 100


def test_requests_from_many_threads_share_one_connection_object(server: StandIn) -> None:
    answers: list[object] = []
    with _connection(server.url) as connection:
        threads = [
            threading.Thread(target=lambda: answers.append(connection.json("GET", "/v1/models"))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [{"models": []}] * 8
