"""Signing in to a real server with accounts: what is asked, how long it lasts, and whose work is whose."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
from accounts_kit import ANNA, BORIS, PASSWORD, VERA, add_user, hospital_server, set_up_codes, signed_in, users
from stand_in_server import Handler, StandIn

from MahtAILib.client import nrrd
from MahtAILib.client import segmentation as files
from MahtAILib.client.cases import NewLabel, anonymous_case, list_cases, list_labels
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import (
    CancelledError,
    ClientError,
    CodeWantedError,
    NotAllowedError,
    NotEncryptedError,
    RecordError,
    SessionEndedError,
    SignInError,
    TooManyAttemptsError,
    TooManyJobsError,
    TooManyRequestsError,
    WrongCodeError,
    WrongCredentialsError,
    WrongTokenError,
)
from MahtAILib.client.geometry import Geometry
from MahtAILib.client.hospital_sign_in import HospitalSignIn
from MahtAILib.client.segmentation import Segment, Segmentation
from MahtAILib.client.session import Session, Tokens
from MahtAILib.client.sign_in import own_account, sign_in, sign_out
from MahtAILib.client.spool import Spool
from MahtAILib.client.volumes import Blob
from server_process import ServerProcess, wait_until


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a radiologist, an annotator and a viewer; access tokens last two seconds."""
    server = hospital_server(tmp_path_factory.mktemp("hospital"), access_token_s="2")
    add_user(server, ANNA)
    add_user(server, BORIS, "annotator")
    add_user(server, VERA, "viewer")
    server.start()
    yield server
    server.stop()


# who is let in


def test_the_server_says_how_one_signs_in_and_shows_nothing_before(hospital: ServerProcess) -> None:
    with Connection(hospital.url) as connection:
        assert connection.require_mahtai().has_accounts
        with pytest.raises(WrongTokenError):
            connection.probe()


def test_whoever_signs_in_acts_under_the_name_of_the_account(hospital: ServerProcess) -> None:
    connection, found = signed_in(hospital, ANNA.upper())
    assert (found.account.name, found.account.role) == (ANNA, "radiologist")
    assert connection.person.name == ANNA
    assert found.account.may("labels.approve")
    assert not found.account.may("accounts.manage")
    assert own_account(connection) == found.account
    connection.probe()


@pytest.mark.parametrize(("name", "password"), [(ANNA, "another word than that"), ("Nobody", PASSWORD)])
def test_wrong_name_and_wrong_password_are_told_in_the_same_words(
    hospital: ServerProcess, name: str, password: str
) -> None:
    with Connection(hospital.url) as connection, pytest.raises(WrongCredentialsError) as told:
        sign_in(connection, name, password)
    assert told.value.reason == "The name or the password is wrong."


def test_a_password_goes_to_no_other_computer_without_encryption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requests.Session.request", lambda *_arguments, **_options: pytest.fail("something was sent"))
    with Connection("http://mahtai.hospital.example:8391") as connection:
        with pytest.raises(NotEncryptedError):
            sign_in(connection, ANNA, PASSWORD)
        with pytest.raises(NotEncryptedError):
            HospitalSignIn(connection)


def test_guessing_is_slowed_down_and_the_seconds_are_told(hospital: ServerProcess) -> None:
    add_user(hospital, "Carl")
    with Connection(hospital.url) as connection:
        for _ in range(8):
            try:
                sign_in(connection, "Carl", "guessed at random 1")
            except WrongCredentialsError:
                continue
            except TooManyAttemptsError as error:
                assert error.retry_after_s is not None
                assert "seconds" in error.hint or "second" in error.reason
                return
    pytest.fail("nobody was slowed down")


def test_a_code_is_asked_for_after_the_password_and_taken_once(hospital: ServerProcess) -> None:
    add_user(hospital, "Dora")
    connection, _ = signed_in(hospital, "Dora")
    app, recovery = set_up_codes(connection)
    with pytest.raises(CodeWantedError):
        signed_in(hospital, "Dora")
    with pytest.raises(WrongCodeError):
        signed_in(hospital, "Dora", app.now())  # it was used to set the app up
    assert len(recovery) == 10
    again, found = signed_in(hospital, "Dora", recovery[0])
    assert found.account.has_codes
    with pytest.raises(WrongCodeError):
        signed_in(hospital, "Dora", recovery[0])
    again.close()


def test_a_viewer_is_told_what_the_account_does_not_allow(hospital: ServerProcess) -> None:
    connection, found = signed_in(hospital, VERA)
    assert not found.account.may("labels.write")
    with pytest.raises(NotAllowedError) as told:
        connection.json("POST", "/v1/cases/next", {"task": "brain-tumour"})
    assert "viewer" in told.value.reason
    assert told.value.temporary  # the role may be changed some day


# how long it lasts


def test_an_expired_access_token_is_renewed_without_anybody_noticing(hospital: ServerProcess) -> None:
    connection, _ = signed_in(hospital, ANNA)
    first = connection.login.token()
    _let_expire(connection.login)
    connection.probe()
    assert connection.login.token() != first


def test_many_threads_share_one_renewal(hospital: ServerProcess) -> None:
    connection, _ = signed_in(hospital, ANNA)
    session = connection.login
    assert isinstance(session, Session)
    renewals: list[float] = []
    renewed = session._renewed

    def counted(refresh_token: str) -> Tokens:
        renewals.append(time.monotonic())
        time.sleep(0.1)
        return Tokens(**{**vars(renewed(refresh_token)), "expires_in_s": 60.0})

    session._renewed = counted
    _let_expire(session)
    together = threading.Barrier(12)

    def ask(_number: int) -> object:
        together.wait()
        return connection.json("GET", "/v1/account")["name"]

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(ask, range(12))) == {ANNA}
    assert len(renewals) == 1


def test_a_refresh_token_that_somebody_else_used_ends_the_session(hospital: ServerProcess) -> None:
    connection, _ = signed_in(hospital, ANNA)
    session = connection.login
    assert isinstance(session, Session)
    stolen = session._tokens.refresh_token
    body = json.dumps({"refresh_token": stolen}).encode()
    thief = urllib.request.Request(
        f"{hospital.url}/v1/sign-in/refresh", body, {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(thief) as answer:
        assert answer.status == 200
    _let_expire(session)
    with pytest.raises(SessionEndedError) as told:
        connection.probe()
    assert "lost" in str(told.value) or "still on your computer" in str(told.value)
    assert session.is_ended


def test_a_session_that_was_ended_asks_the_server_no_more(
    hospital: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, _ = signed_in(hospital, BORIS)
    with Connection(hospital.url, connection.login.token()) as elsewhere:
        sign_out(elsewhere)
    with pytest.raises(SessionEndedError):
        connection.json("GET", "/v1/models")
    monkeypatch.setattr(connection._session, "request", lambda *_arguments, **_more: pytest.fail("it was asked again"))
    with pytest.raises(SessionEndedError) as told:
        connection.json("GET", "/v1/models")
    assert "Nothing was lost" in told.value.reason
    assert "Sign in again" in told.value.hint
    assert told.value.temporary


def test_signing_out_ends_the_session_on_the_server_too(hospital: ServerProcess) -> None:
    connection, _ = signed_in(hospital, BORIS)
    token = connection.login.token()
    sign_out(connection)
    with Connection(hospital.url, token) as thief, pytest.raises(SessionEndedError):
        thief.json("GET", "/v1/models")
    with pytest.raises(SessionEndedError):
        connection.probe()


def test_a_session_of_which_nothing_is_heard_ends_by_itself(tmp_path: Path) -> None:
    server = hospital_server(tmp_path / "idle", session_idle_s="2")
    add_user(server, ANNA)
    server.start()
    try:
        connection, found = signed_in(server, ANNA)
        assert found.idle_s == 2
        ended = wait_until(lambda: _is_ended(connection), 20, "the session to end")
        assert ended
    finally:
        server.stop()


# refusals that are no errors of the one who asks


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (429, "too-many-requests", TooManyRequestsError),
        (429, "too-many-jobs", TooManyJobsError),
        (429, "too-many-attempts", TooManyAttemptsError),
        (503, "audit", RecordError),
        (403, "not-allowed", NotAllowedError),
        (401, "session-ended", SessionEndedError),
        (401, "wrong-credentials", WrongCredentialsError),
        (401, "code-wanted", CodeWantedError),
        (401, "wrong-code", WrongCodeError),
    ],
)
def test_each_refusal_has_an_error_with_words_even_where_the_server_sends_none(
    server: StandIn, connection: Connection, status: int, kind: str, error: type[ClientError]
) -> None:
    def refuse(handler: Handler) -> bool:
        if handler.path == "/healthz":
            return False
        handler.problem(status, kind, Retry_After="7")
        return True

    server.misbehaviour = refuse
    with pytest.raises(error) as told:
        connection.probe()
    assert type(told.value) is error
    assert told.value.kind == kind
    assert told.value.reason.strip()
    assert told.value.hint.endswith(".")


def test_too_many_requests_are_repeated_when_the_server_says_even_those_that_change_something(
    server: StandIn, connection: Connection
) -> None:
    refusals = [2]

    def refuse(handler: Handler) -> bool:
        if handler.command != "POST" or refusals[0] <= 0:
            return False
        refusals[0] -= 1
        handler.body()
        handler.problem(429, "too-many-requests", Retry_After="0")
        return True

    server.misbehaviour = refuse
    connection.json("POST", "/v1/preparations", {"model": "x", "inputs": {}}, retry=False)
    assert len(server.state.preparations) == 1


# whose work is whose


def test_what_somebody_else_saved_on_this_computer_waits_until_they_sign_in(
    hospital: ServerProcess, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "unsent")
    label, volume = _label(1)
    case = anonymous_case("brain-tumour", {"t1c": volume.sha256})
    mine = spool.add(hospital.url, case, label, NewLabel(ANNA, "radiologist"), volumes=[volume])
    boris, _ = signed_in(hospital, BORIS)
    report = spool.flush(boris)
    assert (report.sent, report.kept, report.error) == ((), 1, None)
    assert report.of_others == (ANNA,)
    assert list_cases(boris, volume.sha256) == []
    anna, _ = signed_in(hospital, ANNA)
    report = spool.flush(anna)
    assert [receipt.client_key for receipt in report.sent] == [mine]
    assert (report.kept, report.of_others) == (0, ())
    sent = report.sent[0]
    assert [version.author for version in list_labels(anna, sent.case_id)] == [ANNA]


def test_work_waits_while_nobody_is_signed_in_and_goes_out_after_signing_in_again(
    hospital: ServerProcess, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "unsent")
    label, volume = _label(2)
    case = anonymous_case("brain-tumour", {"t1c": volume.sha256})
    spool.add(hospital.url, case, label, NewLabel(ANNA, "radiologist"), volumes=[volume])
    connection, _ = signed_in(hospital, ANNA)
    users(hospital, "sign-out", ANNA)
    report = spool.flush(connection)
    assert isinstance(report.error, SessionEndedError)
    assert (report.kept, report.refused) == (1, ())
    again, _ = signed_in(hospital, ANNA)
    assert len(spool.flush(again).sent) == 1


def test_what_an_account_may_not_save_stays_and_does_not_hold_up_the_rest(
    hospital: ServerProcess, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "unsent")
    label, volume = _label(3)
    case = anonymous_case("brain-tumour", {"t1c": volume.sha256})
    for _ in range(2):
        spool.add(hospital.url, case, label, NewLabel(VERA, "viewer"), volumes=[volume])
    viewer, _ = signed_in(hospital, VERA)
    report = spool.flush(viewer)
    assert isinstance(report.error, NotAllowedError)
    assert (report.kept, report.refused) == (2, ())


def test_a_program_for_all_sends_what_each_of_them_saved(hospital: ServerProcess, tmp_path: Path) -> None:
    add_user(hospital, "Robot", "service")
    spool = Spool(tmp_path / "unsent")
    label, volume = _label(4)
    case = anonymous_case("brain-tumour", {"t1c": volume.sha256})
    spool.add(hospital.url, case, label, NewLabel(BORIS, "annotator"), volumes=[volume])
    robot, _ = signed_in(hospital, "Robot")
    report = spool.flush(robot)
    assert [version.author for version in list_labels(robot, report.sent[0].case_id)] == [BORIS]


# the hospital's own sign-in


@pytest.fixture
def with_issuer(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that knows an issuer, which lets in Anna Weber."""
    from issuer import FakeIssuer
    from oidc_kit import CALLBACK, environment

    issuer = FakeIssuer().start()
    server = hospital_server(tmp_path / "server")
    server.environment = {**server.environment, **environment(issuer, tmp_path, f"{server.url}{CALLBACK}")}
    server.start()
    yield server
    server.stop()
    issuer.stop()


def test_the_browser_brings_somebody_back_from_the_hospital_signed_in(with_issuer: ServerProcess) -> None:
    with Connection(with_issuer.url) as connection:
        assert "hospital" in connection.require_mahtai().sign_in
        with HospitalSignIn(connection) as attempt:
            page = httpx.get(attempt.address, follow_redirects=True, trust_env=False)
            assert page.status_code == 200, page.text
            assert "Go back to 3D Slicer" in page.text
            found = attempt.finish(threading.Event(), 10)
        assert found.account.name == "Anna Weber"
        assert own_account(connection) == found.account


def test_only_who_knows_the_state_is_taken_for_the_browser(server: StandIn) -> None:
    with Connection(server.url) as connection, HospitalSignIn(connection) as attempt:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(attempt.address).query).items()}
        assert asked["redirect"].startswith("http://127.0.0.1:")
        assert len(asked["challenge"]) == 43
        assert asked["state"] not in asked["challenge"]
        for query in ("", "?code=stolen", "?code=stolen&state=guessed", f"other?code=x&state={asked['state']}"):
            assert httpx.get(asked["redirect"] + query, trust_env=False).status_code == 404
        with pytest.raises(SignInError) as told:
            attempt.finish(threading.Event(), 0.3)
        assert "Nobody came back" in told.value.reason
        cancelled = threading.Event()
        cancelled.set()
        with pytest.raises(CancelledError):
            attempt.finish(cancelled)
    assert server.state.count("POST", "/v1/sign-in/hospital") == 0


def test_a_refusal_of_the_hospital_is_told(server: StandIn) -> None:
    with Connection(server.url) as connection, HospitalSignIn(connection) as attempt:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(attempt.address).query).items()}
        page = httpx.get(f"{asked['redirect']}?error=access_denied&state={asked['state']}", trust_env=False)
        assert "not signed in" in page.text
        assert "access_denied" not in page.text
        with pytest.raises(SignInError) as told:
            attempt.finish(threading.Event(), 5)
        assert "was not finished" in told.value.reason


def test_nothing_listens_any_more_after_an_attempt(server: StandIn) -> None:
    with Connection(server.url) as connection:
        with HospitalSignIn(connection) as attempt:
            redirect = parse_qs(urlsplit(attempt.address).query)["redirect"][0]
        with pytest.raises(urllib.error.URLError):
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(redirect, timeout=5)


def _let_expire(session: object) -> None:
    """As if the access token had been given out long ago, and the client had no clock."""
    assert isinstance(session, Session)
    time.sleep(2.1)
    session._renew_at = time.monotonic() + 60


def _is_ended(connection: Connection) -> bool:
    """Whether the session is over; asking does not count as work."""
    time.sleep(0.3)
    try:
        own_account(connection)
    except SessionEndedError:
        return True
    return False


def _label(seed: int) -> tuple[bytes, Blob]:
    """A segmentation, and the scan that it lies on."""
    shape = (16, 16, 12)
    geometry = Geometry(shape, np.eye(4))
    labels = np.zeros((1, *shape), np.uint8, order="F")
    labels[0, 4:8, 4:8, 4:8] = 1
    segments = (Segment("et", "Enhancing tumour", 1),)
    voxels = np.random.default_rng(seed).integers(0, 999, shape, np.int16)
    return files.encode(Segmentation(segments, labels, geometry)), Blob(nrrd.encode(voxels, geometry.ijk_to_ras))
