"""Bad luck with disks: what was stored is never taken for something else, and the server goes on."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from server_process import ServerProcess, StartServer, finished, put_volume, sha256, start_job, wait_until
from studies import FAST, label_file, synthetic_study
from test_api_access import problem
from test_cases import make_case
from test_cases_labels import save
from test_disk_full import SmallDisk, own_file_system, possible


def blob_of(server: ServerProcess, identity: str) -> Path:
    """Where the store keeps it."""
    return server.data / "blobs" / identity[:2] / identity[2:4] / identity


def damage(path: Path) -> None:
    """Flip one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def test_a_damaged_scan_is_not_segmented(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as client:
        inputs = {channel: put_volume(client, data) for channel, data in synthetic_study().items()}
        damage(blob_of(server, inputs["t2"]))
        job = finished(client, start_job(client, "tiny", inputs, options=FAST)["id"])
        assert (job["state"], job["kind"]) == ("failed", "damaged-blob")
        whole = {channel: put_volume(client, data) for channel, data in synthetic_study(seed=3).items()}
        assert finished(client, start_job(client, "tiny", whole, options=FAST)["id"])["state"] == "succeeded"


def test_a_damaged_label_is_not_compared_or_merged_but_told(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as client:
        case = make_case(client, {"t1c": put_volume(client, synthetic_study()["t1c"])})
        first = save(client, case["id"], label_file())
        second = save(client, case["id"], label_file([(5, 15)]), first["id"])
        damage(blob_of(server, second["segmentation"]))
        compared = client.get(f"/v1/cases/{case['id']}/labels/{first['id']}/comparison", params={"with": second["id"]})
        problem(compared, 500, "damaged-blob")
        assert client.get(f"/v1/cases/{case['id']}/labels/{first['id']}/content").status_code == 200


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "encrypted"])
def test_a_damaged_file_never_arrives_as_if_it_were_whole(
    start_server: StartServer, tmp_path: Path, sealed: bool
) -> None:
    """Where it lies plain the client sees by the hash that it asked for; where it is encrypted it breaks off."""
    environment = {}
    if sealed:
        from mahtai.security.at_rest.master_key import new_key_file

        new_key_file(tmp_path / "master.key")
        environment["key_file"] = str(tmp_path / "master.key")
    server = start_server(environment=environment)
    data = synthetic_study()["t1c"]
    with server.client() as client:
        identity = put_volume(client, data)
        assert client.get(f"/v1/volumes/{identity}").content == data
        damage(blob_of(server, identity))
        try:
            answer = client.get(f"/v1/volumes/{identity}")
            assert answer.status_code >= 500 or sha256(answer.content) != identity
            assert not sealed or answer.status_code >= 500
        except httpx.RemoteProtocolError:
            assert sealed
        assert client.get("/readyz").status_code == 200


@pytest.fixture
def disk(tmp_path: Path, models: Path) -> ServerProcess:
    """A server whose data folder is a file system of its own, which can be made read-only."""
    if not possible(tmp_path / "try") or shutil.which("nsenter") is None:
        pytest.skip("this computer does not let its users mount a disk of their own (Linux with user namespaces does)")
    assert sys.platform.startswith("linux")
    root = tmp_path / "server"
    return ServerProcess(root, (models,), {"min_free_bytes": "1"}, wrapper=own_file_system(root / "data"))


def inside(server: ServerProcess, *command: str, stdin: str = "") -> None:
    """Run a command where the server's disk is to be seen, while it runs."""
    assert server.process is not None
    enter = ("nsenter", "--target", str(server.process.pid), "--user", "--mount", "--preserve-credentials")
    environment = server.variables()
    subprocess.run([*enter, *command], input=stdin, env=environment, encoding="utf-8", check=True, capture_output=True)


def test_a_disk_that_becomes_read_only_refuses_to_save_and_goes_on_where_it_was(disk: ServerProcess) -> None:
    disk.start()
    try:
        with disk.client() as client:
            case = make_case(client, {"t1c": put_volume(client, synthetic_study()["t1c"])})
            label = label_file()
            version = save(client, case["id"], label)
            blobs = str(disk.data / "blobs")
            inside(disk, "mount", "--bind", blobs, blobs)
            inside(disk, "mount", "-o", "remount,bind,ro", blobs)
            other = label_file([(1, 3)])
            for _ in range(2):
                refused = client.put(f"/v1/volumes/{sha256(other)}", content=other)
                assert refused.status_code == 507 and "read-only" in refused.json()["detail"], refused.text
            assert client.get(f"/v1/cases/{case['id']}/labels/{version['id']}/content").content == label
            inside(disk, "umount", blobs)
            save(client, case["id"], other, version["id"])
            assert len(client.get(f"/v1/cases/{case['id']}/labels").json()["labels"]) == 2
    finally:
        disk.kill()


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1), timedelta(hours=-2)])
def test_a_clock_that_jumps_lets_nobody_in_for_longer_and_locks_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    from mahtai.db import clock
    from mahtai.db.engine import Database
    from mahtai.db.migrate import upgrade
    from mahtai.db.tables import now
    from mahtai.security.accounts import Accounts
    from mahtai.security.guessing import TooManyAttempts
    from mahtai.security.sessions import SessionEnded, Sessions
    from mahtai.security.signing_in import SigningIn, WrongCredentials

    database = Database(f"sqlite:///{(tmp_path / 'tables.sqlite').as_posix()}")
    upgrade(database)
    accounts = Accounts(database)
    account = accounts.add("anna", "radiologist", "correct horse battery")
    signing_in, sessions = SigningIn(database, accounts, b"k" * 32), Sessions(database, b"k" * 32, 900, 300)
    session = sessions.open(account, "10.0.0.1")
    assert sessions.check(session.access_token, True).account.name == "anna"
    for _ in range(7):
        with contextlib.suppress(WrongCredentials, TooManyAttempts):
            signing_in.check("anna", "wrong", None, "10.0.0.9")
    monkeypatch.setattr(clock, "now", lambda: now() + jump)
    with pytest.raises(SessionEnded):
        sessions.check(session.access_token, True)
    waited = 0.0
    try:
        signing_in.check("anna", "correct horse battery", None, "10.0.0.9")
    except TooManyAttempts as error:
        waited = error.wait_s
    assert waited <= 2  # the pause that there was, and not until the clock is where it was
    assert sessions.check(sessions.open(account, "10.0.0.1").access_token, True).account.name == "anna"
    database.close()


def test_what_cannot_be_put_on_record_is_not_shown_until_it_can(disk: ServerProcess) -> None:
    """Where people sign in, a full disk stops the record, and with it what has to be on it; nothing else."""
    disk.environment = {**disk.environment, "accounts": "on"}
    disk.start()
    try:
        add = (sys.executable, "-m", "mahtai.cli", "users", "add", "anna", "--password-stdin")
        inside(disk, *add, stdin="correct horse battery\n")
        with disk.client(token="") as client:
            session = client.post("/v1/sign-in", json={"name": "anna", "password": "correct horse battery"}).json()
            client.headers["Authorization"] = f"Bearer {session['access_token']}"
            data = label_file()
            identity = put_volume(client, data)
            small = SmallDisk(disk)
            small.fill()
            problem(client.get(f"/v1/volumes/{identity}"), 503, "audit")
            assert client.get("/healthz").status_code == 200 and client.get("/v1/models").status_code == 200
            small.free()
            back = wait_until(lambda: client.get(f"/v1/volumes/{identity}").status_code == 200, 20, "the record")
            assert back and client.get(f"/v1/volumes/{identity}").content == data
    finally:
        disk.kill()


@pytest.mark.parametrize(("losses", "state"), [(1, "succeeded"), (2, "succeeded"), (3, "failed")])
def test_a_graphics_card_that_is_lost_costs_time_and_no_job(
    start_server: StartServer, tmp_path: Path, losses: int, state: str
) -> None:
    """The process that has lost it is of no use any more; fresh ones do the job, and those after it."""
    left = tmp_path / "losses"
    left.write_text("0")
    server = start_server(environment={"lost_device": str(left)}, more_path=(Path(__file__).with_name("lost_device"),))
    with server.client() as client:
        inputs = {channel: put_volume(client, data) for channel, data in synthetic_study().items()}
        assert finished(client, start_job(client, "tiny", inputs, options=FAST)["id"])["state"] == "succeeded"
        left.write_text(str(losses))
        end = finished(client, start_job(client, "tiny", inputs, options=FAST, rerun=True)["id"])
        assert end["state"] == state, end
        assert left.read_text() == "0"
        if state == "failed":
            assert end["kind"] == "device-lost" and "graphics card" in end["reason"] and end["hint"]
        after = start_job(client, "tiny", inputs, options=FAST, rerun=True)
        assert finished(client, after["id"])["state"] == "succeeded"
    assert len(server.engine_pids()) == losses + 1
