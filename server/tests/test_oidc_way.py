"""The hospital's sign-in: the way there and back. Nothing works twice, late, or for somebody else."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from foreign_sign_in_kit import Hospital, database, hospital, issuer, refused
from issuer import FakeIssuer
from mahtai.db.engine import Database
from mahtai.db.migrate import upgrade
from mahtai.db.trust_tables import ForeignSignInRow
from mahtai.security import oidc as oidc_module
from mahtai.security.oidc import HospitalSignInError, WrongRequest
from oidc_kit import Program

if TYPE_CHECKING:
    from postgresql import PostgreSQL

__all__ = ["database", "hospital", "issuer"]


# the way there and back


@pytest.mark.parametrize(
    "redirect",
    [
        "",
        "https://127.0.0.1:4000/",
        "http://127.0.0.1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        "http://localhost:4000/",
        "http://127.0.0.2:4000/",
        "http://127.1:4000/",
        "http://0x7f000001:4000/",
        "http://[::ffff:127.0.0.1]:4000/",
        "http://127.0.0.1:4000@thief.example/",
        "http://thief.example:4000/",
        "http://127.0.0.1.thief.example:4000/",
        "http://127.0.0.1:4000/?next=http://thief.example",
        "http://127.0.0.1:4000/#x",
        "http://127.0.0.1:4000\\@thief.example/",
        "http://127.0.0.1:4000/\r\nSet-Cookie: a=b",
        "http://127.0.0.1:4000/\n",
        "http://127.0.0.1:4000/%0d%0a",
        "http://127.0.0.1:4000/a b",
        " http://127.0.0.1:4000/",
        "//127.0.0.1:4000/",
        "javascript:alert(1)//127.0.0.1:4000/",
        "http://١٢٧.0.0.1:4000/",
        "http://127.0.0.1:٤٠٠٠/",
        "mahtai://127.0.0.1:4000/",
        "HTTP://127.0.0.1:4000/",
        f"http://127.0.0.1:4000/{'x' * 300}",
    ],
)
def test_nobody_is_sent_elsewhere(redirect: str, hospital: Hospital) -> None:
    with pytest.raises(WrongRequest):
        hospital.sign_in.begin(**{**Program().begins, "redirect": redirect})
    assert hospital.rows() == 0


@pytest.mark.parametrize("redirect", ["http://127.0.0.1:1", "http://127.0.0.1:65535/", "http://[::1]:4000/a/b_c~d.e-f"])
def test_programs_on_this_computer_are_answered(redirect: str, hospital: Hospital) -> None:
    assert hospital.whole_way(Program(redirect)).name == "Anna Weber"


@pytest.mark.parametrize(
    "wrong",
    [
        {"challenge": ""},
        {"challenge": "x" * 42},
        {"challenge": "x" * 44},
        {"challenge": "x" * 42 + "="},
        {"challenge": "x" * 43 + "\n"},
        {"state": ""},
        {"state": "short"},
        {"state": "x" * 201},
        {"state": "with&another=one"},
        {"state": "with\r\nline"},
    ],
)
def test_program_that_does_not_ask_as_it_should(wrong: dict[str, str], hospital: Hospital) -> None:
    with pytest.raises(WrongRequest):
        hospital.sign_in.begin(**{**Program().begins, **wrong})


def test_state_is_taken_once(hospital: Hospital) -> None:
    answer = hospital.come_back(Program())
    hospital.sign_in.finish(answer)
    for again in (answer, {**answer, "code": "another"}):
        with pytest.raises(HospitalSignInError):
            hospital.sign_in.finish(again)


def test_state_is_taken_once_by_many_at_the_same_time(hospital: Hospital) -> None:
    answer = hospital.come_back(Program())
    let_in = at_once(10, lambda _: hospital.sign_in.finish(answer))
    assert len(let_in) == 1


def test_changed_state_lets_nobody_in(hospital: Hospital) -> None:
    answer = hospital.come_back(Program())
    for state in ("", "x", answer["state"][:-1], f"{answer['state']} ", "\ud800", "\x00"):
        with pytest.raises(HospitalSignInError):
            hospital.sign_in.finish({**answer, "state": state})
    assert "/token" not in hospital.issuer.requests


def test_code_of_one_with_the_state_of_another(hospital: Hospital) -> None:
    mine, theirs = hospital.come_back(Program()), hospital.come_back(Program())
    with pytest.raises(HospitalSignInError) as told:
        hospital.sign_in.finish({**mine, "code": theirs["code"]})  # the issuer finds the wrong verifier
    assert told.value.status == 401
    assert hospital.accounts.list() == []


@pytest.mark.parametrize("error", ["access_denied", "<script>alert(1)</script>", ""])
def test_refusal_of_the_issuer_ends_it(error: str, hospital: Hospital) -> None:
    answer = hospital.come_back(Program())
    with pytest.raises(HospitalSignInError) as told:
        hospital.sign_in.finish({"state": answer["state"], "error": error, "error_description": "<b>call 0800</b>"})
    assert "<" not in str(told.value)
    with pytest.raises(HospitalSignInError):
        hospital.sign_in.finish(answer)


def test_answer_that_names_another_issuer(hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    hospital.issuer.extra = {"iss": "https://issuer.example"}
    refused(hospital, "another issuer", caplog)
    assert "/token" not in hospital.issuer.requests
    hospital.issuer.extra = {"iss": hospital.issuer.url}
    assert hospital.whole_way().name == "Anna Weber"


def test_issuer_that_names_itself_must_do_so(
    issuer: FakeIssuer, tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.discovery["authorization_response_iss_parameter_supported"] = True
    refused(Hospital(issuer, tmp_path, database), "another issuer", caplog)


def test_answer_without_a_code(hospital: Hospital) -> None:
    answer = hospital.come_back(Program())
    with pytest.raises(HospitalSignInError):
        hospital.sign_in.finish({"state": answer["state"]})


def test_too_late_at_the_issuer(hospital: Hospital) -> None:
    answer = hospital.come_back(Program())
    age(hospital, timedelta(minutes=10, seconds=1))
    with pytest.raises(HospitalSignInError):
        hospital.sign_in.finish(answer)
    assert "/token" not in hospital.issuer.requests


# the code for the program


def test_code_is_taken_once(hospital: Hospital) -> None:
    program = Program()
    address, _ = hospital.sign_in.finish(hospital.come_back(program))
    code = program.code_in(address)
    let_in = at_once(10, lambda _: hospital.sign_in.redeem(code, program.verifier))
    assert len(let_in) == 1
    with pytest.raises(HospitalSignInError):
        hospital.sign_in.redeem(code, program.verifier)


@pytest.mark.parametrize("verifier", ["", "x" * 43, "é" * 43, "\ud800" * 43, "x" * 5000])
def test_wrong_verifier_uses_the_code_up(verifier: str, hospital: Hospital) -> None:
    program = Program()
    address, _ = hospital.sign_in.finish(hospital.come_back(program))
    for presented in (verifier, program.verifier):
        with pytest.raises(HospitalSignInError):
            hospital.sign_in.redeem(program.code_in(address), presented)


def test_code_is_a_minute_old(hospital: Hospital) -> None:
    program = Program()
    address, _ = hospital.sign_in.finish(hospital.come_back(program))
    age(hospital, timedelta(seconds=61))
    with pytest.raises(HospitalSignInError):
        hospital.sign_in.redeem(program.code_in(address), program.verifier)


def test_state_is_no_code_and_a_code_no_state(hospital: Hospital) -> None:
    program = Program()
    answer = hospital.come_back(program)
    with pytest.raises(HospitalSignInError):
        hospital.sign_in.redeem(answer["state"], program.verifier)
    address, _ = hospital.sign_in.finish(answer)
    with pytest.raises(HospitalSignInError):
        hospital.sign_in.finish({**answer, "state": program.code_in(address)})
    assert hospital.sign_in.redeem(program.code_in(address), program.verifier).name == "Anna Weber"


def test_another_server_takes_over_on_the_way(hospital: Hospital, tmp_path: Path) -> None:
    other = Hospital(hospital.issuer, tmp_path, hospital.database)
    program = Program()
    address, _ = other.sign_in.finish(hospital.come_back(program))
    assert hospital.sign_in.redeem(program.code_in(address), program.verifier).name == "Anna Weber"


def test_two_servers_on_postgresql(postgresql: PostgreSQL, issuer: FakeIssuer, tmp_path: Path) -> None:
    url = postgresql.new_database()
    databases = [Database(url), Database(url)]
    upgrade(databases[0])
    servers = [Hospital(issuer, tmp_path, database) for database in databases]
    program = Program()
    answer = servers[0].come_back(program)
    came_back = at_once(8, lambda number: servers[number % 2].sign_in.finish(answer))
    assert len(came_back) == 1
    code = program.code_in(came_back[0][0])
    let_in = at_once(8, lambda number: servers[number % 2].sign_in.redeem(code, program.verifier))
    assert [account.name for account in let_in] == ["Anna Weber"]
    both = at_once(2, lambda number: servers[number].whole_way())
    assert {account.id for account in both} == {let_in[0].id}
    for opened in databases:
        opened.close()


def test_whoever_begins_without_end_takes_no_more_room(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc_module, "MOST_AWAITED", 5)
    for _ in range(12):
        hospital.sign_in.begin(**Program().begins)
    assert hospital.rows() <= 5
    assert hospital.whole_way().name == "Anna Weber"
    age(hospital, timedelta(minutes=11))
    hospital.sign_in.begin(**Program().begins)
    assert hospital.rows() == 1


def test_tables_hold_hashes_only(hospital: Hospital) -> None:
    program = Program()
    answer = hospital.come_back(program)
    with hospital.database.read() as session:
        kept = [row.state for row in session.scalars(select(ForeignSignInRow))]
    assert kept == [hashlib.sha256(answer["state"].encode()).hexdigest()]
    address, _ = hospital.sign_in.finish(answer)
    with hospital.database.read() as session:
        (row,) = session.scalars(select(ForeignSignInRow))
    assert row.code == hashlib.sha256(program.code_in(address).encode()).hexdigest()
    assert row.body.keys() == {"challenge"}


def age(hospital: Hospital, by: timedelta) -> None:
    """As if all that is awaited had begun earlier."""
    with hospital.database.write() as session:
        for row in session.scalars(select(ForeignSignInRow)).all():
            older = update(ForeignSignInRow).where(ForeignSignInRow.state == row.state)
            session.execute(older.values(created_at=row.created_at - by))


def at_once(times: int, action: Callable[[int], Any]) -> list[Any]:
    """What those got whom it let in."""
    got: list[Any] = []

    def try_it(number: int) -> None:
        with suppress(HospitalSignInError):
            got.append(action(number))

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got
