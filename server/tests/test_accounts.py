"""People who sign in: passwords, codes, sessions, tokens, and those who manage them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pyotp
import pytest

from hospital_kit import PASSWORD, Hospital, hospital_in, mahtai
from server_process import StartServer, wait_until


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Hospital]:
    with hospital_in(tmp_path_factory.mktemp("hospital"), models) as opened:
        yield opened


def kind_of(answer: httpx.Response) -> str:
    """Slug of the problem."""
    return str(answer.json()["type"]).rpartition("/")[2]


def refresh(hospital: Hospital, token: str) -> httpx.Response:
    with hospital.server.client(token="") as stranger:
        return stranger.post("/v1/sign-in/refresh", json={"refresh_token": token})


def set_up_codes(client: httpx.Client) -> tuple[pyotp.TOTP, list[str]]:
    """An authenticator app for the account, and its recovery codes."""
    begun = client.post("/v1/account/codes", json={"password": PASSWORD}).json()
    app = pyotp.parse_uri(begun["uri"])
    assert isinstance(app, pyotp.TOTP) and app.secret == begun["secret"] and "<svg" in begun["qr_svg"]
    done = client.put("/v1/account/codes", json={"secret": begun["secret"], "code": app.now()})
    assert done.status_code == 200, done.text
    return app, done.json()["recovery_codes"]


def next_code(app: pyotp.TOTP, used: str) -> str:
    """A code that was not used yet; the server takes one step ahead."""
    code = app.at(time.time() + 30)
    return code if code != used else app.at(time.time() + 60)


def test_who_signs_in_is_told_who_they_are_and_what_they_may_do(hospital: Hospital) -> None:
    answer = hospital.sign_in("Radiologist")  # names are compared without case
    assert answer.status_code == 200
    session = answer.json()
    assert session["account"]["name"] == "radiologist" and "labels.approve" in session["account"]["permissions"]
    assert session["idle_s"] == 900 and session["expires_in_s"] == 300 and not session["must_enrol"]
    with hospital.server.client(token=session["access_token"]) as client:
        account = client.get("/v1/account").json()
    assert account["role"] == "radiologist" and 890 <= account["session_ends_in_s"] <= 900


def test_a_wrong_name_and_a_wrong_password_look_the_same(hospital: Hospital) -> None:
    nobody, wrong = hospital.sign_in("nobody at all"), hospital.sign_in("viewer", "not the password")
    assert nobody.status_code == wrong.status_code == 401
    assert {**nobody.json(), "instance": ""} == {**wrong.json(), "instance": ""}
    assert kind_of(wrong) == "wrong-credentials" and wrong.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "abcdefghijklmnop", "my name is weakling!"])
def test_a_password_that_would_be_guessed_is_refused(hospital: Hospital, password: str) -> None:
    with hospital.client("admin") as admin:
        made = admin.post("/v1/accounts", json={"name": "weakling", "role": "viewer", "password": password})
        assert made.status_code == 422 and kind_of(made) == "weak-password"
        assert "weakling" not in {account["name"] for account in admin.get("/v1/accounts").json()["accounts"]}


def test_a_code_counts_once_and_recovery_codes_let_in_once(hospital: Hospital) -> None:
    hospital.add("coded", "annotator")
    with hospital.client("coded") as client:
        app, recovery = set_up_codes(client)
        first = app.now()
    assert len(set(recovery)) == 10
    assert kind_of(hospital.sign_in("coded")) == "code-wanted"
    assert kind_of(hospital.sign_in("coded", code=first)) == "wrong-code"  # used when it was set up
    code = next_code(app, first)
    assert hospital.sign_in("coded", code=code).status_code == 200
    assert kind_of(hospital.sign_in("coded", code=code)) == "wrong-code"
    assert hospital.sign_in("coded", code=recovery[0].upper()).status_code == 200
    assert kind_of(hospital.sign_in("coded", code=recovery[0])) == "wrong-code"


def test_an_open_session_is_not_enough_to_change_the_codes(hospital: Hospital) -> None:
    hospital.add("kept", "annotator")
    with hospital.client("kept") as client:
        chosen = pyotp.random_base32(32)
        forged = {"secret": chosen, "code": pyotp.TOTP(chosen).now()}
        assert kind_of(client.put("/v1/account/codes", json=forged)) == "wrong-code"  # a secret of their own
        wrong = client.post("/v1/account/codes", json={"password": "not the password"})
        assert kind_of(wrong) == "wrong-credentials"
        set_up_codes(client)
        assert kind_of(client.post("/v1/account/codes", json={"password": PASSWORD})) == "codes-there"
        assert kind_of(client.put("/v1/account/codes", json=forged)) == "codes-there"
        tries = [
            client.request("DELETE", "/v1/account/codes", json={"password": PASSWORD, "code": f"{number:06}"})
            for number in range(12)
        ]
    assert {kind_of(answer) for answer in tries} == {"wrong-code", "too-many-attempts"}
    assert int(tries[-1].headers["retry-after"]) >= 1


def test_where_codes_are_compulsory_nothing_else_is_allowed_until_they_are_set_up(start_server: StartServer) -> None:
    strict = Hospital.open(start_server, "strict", totp="required")
    session = strict.sign_in("radiologist").json()
    assert session["must_enrol"]
    with strict.server.client(token=session["access_token"]) as client:
        refused = client.get("/v1/cases")
        assert kind_of(refused) == "not-allowed"
        assert "code of an authenticator app" in refused.json()["detail"] and "Set up codes" in refused.json()["hint"]
        set_up_codes(client)
        assert client.get("/v1/cases").status_code == 200


def test_an_access_token_expires_and_is_renewed_and_an_old_refresh_token_ends_the_session(
    start_server: StartServer,
) -> None:
    short = Hospital.open(start_server, "short", access_token_s="1")
    first = short.sign_in("viewer").json()
    with short.server.client(token=first["access_token"]) as client:
        wait_until(lambda: client.get("/v1/cases").status_code == 401, 10, "the token to expire")
        assert kind_of(client.get("/v1/cases")) == "access-token-expired"
    second = refresh(short, first["refresh_token"]).json()
    third = refresh(short, second["refresh_token"]).json()
    with short.server.client(token=third["access_token"]) as client:
        assert client.get("/v1/cases").status_code == 200
    assert kind_of(refresh(short, first["refresh_token"])) == "session-ended"  # two generations old: stolen
    assert kind_of(refresh(short, third["refresh_token"])) == "session-ended"


def test_a_session_ends_when_nothing_is_done_though_programs_go_on_asking(start_server: StartServer) -> None:
    brief = Hospital.open(start_server, "brief", session_idle_s="3")
    with brief.client("annotator") as idle, brief.client("annotator") as busy:
        ended = time.monotonic() + 5
        while time.monotonic() < ended:
            idle.get("/v1/cases")  # a list that a panel refreshes by itself
            assert busy.get("/v1/cases/00000000-0000-0000-0000-000000000000/events").status_code == 404
            time.sleep(0.2)
        assert kind_of(idle.get("/v1/cases")) == "session-ended"
        assert busy.get("/v1/cases").status_code == 200


def test_what_an_admin_changes_counts_at_once(hospital: Hospital) -> None:
    hospital.add("moved", "radiologist")
    token = hospital.token("moved")
    with hospital.client("moved") as own, hospital.client("admin") as admin:
        accounts = {each["name"]: each["id"] for each in admin.get("/v1/accounts").json()["accounts"]}
        assert admin.patch(f"/v1/accounts/{accounts['moved']}", json={"role": "viewer"}).status_code == 200
        assert kind_of(own.post("/v1/cases/next", json={})) == "not-allowed"
        assert admin.delete(f"/v1/accounts/{accounts['moved']}/sessions").status_code == 204
        assert kind_of(own.get("/v1/cases")) == "session-ended"
        with hospital.server.client(token=token) as program:
            assert kind_of(program.get("/v1/cases")) == "wrong-token"
        assert admin.patch(f"/v1/accounts/{accounts['moved']}", json={"disabled": True}).status_code == 200
        assert kind_of(hospital.sign_in("moved")) == "wrong-credentials"
        last = admin.patch(f"/v1/accounts/{accounts['admin']}", json={"role": "viewer"})
        assert last.status_code == 422 and kind_of(last) == "account"  # somebody has to be left
        taken = admin.post("/v1/accounts", json={"name": "MOVED", "role": "viewer", "password": PASSWORD})
        assert kind_of(taken) == "name-taken"


def test_whatever_signs_somebody_out_ends_their_sessions_and_their_tokens(hospital: Hospital) -> None:
    hospital.add("put-out", "radiologist")
    with hospital.client("admin") as admin:
        found = {each["name"]: each["id"] for each in admin.get("/v1/accounts").json()["accounts"]}["put-out"]
        new = {"old": PASSWORD, "new": PASSWORD + "!"}
        ways: list[Callable[[httpx.Client], object]] = [
            lambda own: admin.delete(f"/v1/accounts/{found}/sessions").raise_for_status(),
            lambda own: admin.patch(f"/v1/accounts/{found}", json={"password": PASSWORD}).raise_for_status(),
            lambda own: admin.patch(f"/v1/accounts/{found}", json={"reset_codes": True}).raise_for_status(),
            lambda own: mahtai(hospital.server, "users", "sign-out", "put-out"),
            lambda own: mahtai(hospital.server, "users", "change", "put-out", "--reset-codes"),
            lambda own: mahtai(hospital.server, "users", "password", "put-out", "--password-stdin", stdin=PASSWORD),
            lambda own: own.put("/v1/account/password", json=new).raise_for_status(),  # the last: another password
        ]
        for number, way in enumerate(ways):
            with (
                hospital.client("put-out") as own,
                hospital.client("put-out") as other,
                hospital.server.client(token=hospital.token("put-out")) as program,
            ):
                assert {each.get("/v1/cases").status_code for each in (own, other, program)} == {200}
                way(own)
                assert kind_of(other.get("/v1/cases")) == "session-ended", number
                assert kind_of(program.get("/v1/cases")) == "wrong-token", number
                # only who changes their own password stays where they are
                assert own.get("/v1/cases").status_code == (200 if way is ways[-1] else 401), number


def test_a_token_never_allows_more_than_its_maker_and_ends(hospital: Hospital) -> None:
    with hospital.client("annotator") as own:
        much = own.post("/v1/account/tokens", json={"name": "x", "scopes": ["accounts.manage"], "days": 1})
        assert kind_of(much) == "api-token"
        made = own.post("/v1/account/tokens", json={"name": "x", "scopes": ["cases.read", "own-account"], "days": 1})
        token = made.json()["token"]
        assert token not in own.get("/v1/account/tokens").text
        with hospital.server.client(token=token) as program:
            assert program.get("/v1/cases").status_code == 200
            assert kind_of(program.post("/v1/cases/next", json={})) == "not-allowed"
            more = program.post("/v1/account/tokens", json={"name": "y", "days": 365})
            assert kind_of(more) == "no-session"
        assert kind_of(own.delete("/v1/account/tokens/MUELLER^HANS")) == "unknown-token"
        assert own.delete(f"/v1/account/tokens/{made.json()['id']}").status_code == 204
        with hospital.server.client(token=token) as program:
            assert kind_of(program.get("/v1/cases")) == "wrong-token"
        other = own.post("/v1/account/tokens", json={"name": "z", "scopes": ["cases.read"], "days": 1}).json()["token"]
        assert own.delete(f"/v1/account/tokens/{other}").status_code == 204  # who has only the token ends it by that
    with hospital.client("admin") as admin:
        record = admin.get("/v1/audit", params={"limit": 20}).text
        assert other not in record and "MUELLER" not in record and made.json()["id"] in record
    assert token not in hospital.server.log


def test_a_hundred_guesses_at_once_are_a_hundred_guesses(hospital: Hospital) -> None:
    hospital.add("target", "viewer")
    kinds: list[str] = []

    def guess(number: int) -> None:
        kinds.append(kind_of(hospital.sign_in("target", f"guess number {number}")))

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(60)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pauses = int(math.log2(1 + time.monotonic() - began))  # of 1, 2, 4 ... seconds that were over meanwhile
    assert 5 <= kinds.count("wrong-credentials") <= 5 + pauses, kinds  # as many as are free; no other was looked at
    assert set(kinds) == {"wrong-credentials", "too-many-attempts"}
    waits = hospital.sign_in("target", PASSWORD)
    assert kind_of(waits) == "too-many-attempts" and int(waits.headers["retry-after"]) >= 1


def test_guesses_from_elsewhere_do_not_lock_out_who_is_known_here(tmp_path: Path) -> None:
    from mahtai.db.engine import Database
    from mahtai.db.migrate import upgrade
    from mahtai.security.accounts import Accounts
    from mahtai.security.guessing import TooManyAttempts
    from mahtai.security.sessions import Sessions
    from mahtai.security.signing_in import SigningIn, WrongCredentials

    database = Database(f"sqlite:///{(tmp_path / 'tables.sqlite').as_posix()}")
    upgrade(database)
    accounts = Accounts(database)
    signing_in, sessions = SigningIn(database, accounts, b"k" * 32), Sessions(database, b"k" * 32, 900, 300)
    account = accounts.add("anna", "radiologist", PASSWORD)
    sessions.open(signing_in.check("anna", PASSWORD, None, "10.0.0.1"), "10.0.0.1")
    checked = 0
    for number in range(60):  # a botnet: each address is new
        try:
            signing_in.check("anna", f"wrong {number}", None, f"192.0.2.{number}")
        except WrongCredentials:
            checked += 1
        except TooManyAttempts:
            continue
    assert 20 <= checked <= 22
    with pytest.raises(TooManyAttempts):
        signing_in.check("anna", PASSWORD, None, "198.51.100.1")
    assert signing_in.check("anna", PASSWORD, None, "10.0.0.1").id == account.id  # the ward goes on
    same_network = [f"2001:db8::{number:x}" for number in range(1, 8)]
    refused = 0
    for address in same_network:
        try:
            signing_in.check("boris", "wrong", None, address)
        except WrongCredentials:
            continue
        except TooManyAttempts:
            refused += 1
    assert refused == 2  # a /64 is one place
    database.close()


def test_the_commands_manage_accounts_and_show_no_secret(hospital: Hospital) -> None:
    listed = mahtai(hospital.server, "users", "list").stdout
    assert "radiologist" in listed and PASSWORD not in listed
    assert "labels.approve" in mahtai(hospital.server, "users", "permissions").stdout
    weak = mahtai(hospital.server, "users", "add", "x", "--password-stdin", stdin="short\n", expect=1)
    assert "12" in weak.stderr
    assert PASSWORD not in hospital.server.log


def test_who_is_refused_is_told_whether_it_is_the_role_or_the_token(hospital: Hospital) -> None:
    with hospital.client("viewer") as client:
        refused = client.post("/v1/cases", json={"name": "x"}).json()
    assert "(viewer) is not allowed" in refused["detail"] and "cases.make" in refused["detail"]
    with hospital.server.client(token=hospital.token("radiologist", "cases.read")) as client:
        refused = client.post("/v1/cases", json={"name": "x"}).json()
    assert "token is not made for this" in refused["detail"] and "cases.make (make cases of scans)" in refused["detail"]
    assert "--scope cases.make" in refused["hint"]


def test_scopes_that_cannot_be_had_are_refused_with_those_that_can(hospital: Hospital) -> None:
    words = ("users", "token", "viewer", "--for", "x", "--scope")
    unknown = mahtai(hospital.server, *words, "nonsense", expect=2)
    assert "nonsense" in unknown.stderr and "'images.read'" in unknown.stderr
    lacking = mahtai(hospital.server, *words, "accounts.manage", expect=1)
    assert "viewer does not have: accounts.manage" in lacking.stderr and "images.read" in lacking.stderr
    with hospital.client("viewer") as client:
        made = client.post("/v1/account/tokens", json={"name": "x", "scopes": ["nonsense"], "days": 1}).json()
    assert "no permission nonsense" in made["detail"] and "images.read" in made["hint"]


def test_one_token_is_listed_and_ended_by_its_id(hospital: Hospital) -> None:
    hospital.add("program", "service")
    assert "no token" in mahtai(hospital.server, "users", "tokens", "program").stderr
    kept, ended = hospital.token("program", "cases.read"), hospital.token("program")
    listed = mahtai(hospital.server, "users", "tokens", "program").stdout
    assert ended not in listed and len(listed.splitlines()) == 2
    newest = listed.split()[0]
    done = mahtai(hospital.server, "users", "revoke-token", "program", newest)
    assert newest in done.stdout
    statuses = []
    for token in (kept, ended):
        with hospital.server.client(token=token) as client:
            statuses.append(client.get("/v1/cases").status_code)
    assert statuses == [200, 401]
    assert len(mahtai(hospital.server, "users", "tokens", "program").stdout.splitlines()) == 1
    assert "no such token" in mahtai(hospital.server, "users", "revoke-token", "viewer", newest, expect=1).stderr


def test_a_change_of_nothing_says_what_could_be_changed(hospital: Hospital) -> None:
    done = mahtai(hospital.server, "users", "change", "viewer", expect=2)
    assert "Nothing was changed" in done.stderr and "--disable" in done.stderr and "users password" in done.stderr
