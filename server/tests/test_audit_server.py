"""The record of a real server: what is done over HTTP is in it, patients are not, and commands read and check it."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click.testing
import httpx
import pytest

from hospital_kit import Hospital, hospital_in
from mahtai.cli import main
from server_process import ServerProcess, StartServer, put_volume, sha256
from studies import TASK, synthetic_study
from test_cases import make_case

PATIENT = ("Erika Mustermann", "MRN-5550123", "1961-02-03")


def entries(client: httpx.Client, **query: str | int) -> list[dict[str, Any]]:
    """The newest entries."""
    answer = client.get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["entries"])


def mahtai(server: ServerProcess, *arguments: str, expect: int = 0) -> click.testing.Result:
    """Run the command ``mahtai`` on the server's own folders."""
    done = click.testing.CliRunner().invoke(main, arguments, env=server.variables())
    assert done.exit_code == expect, done.output
    return done


def drop_refusals(server: ServerProcess) -> sqlite3.Connection:
    """Somebody who owns the file of the tables."""
    connection = sqlite3.connect(server.data / "mahtai.sqlite", isolation_level=None)
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'audit_%'")
    for (name,) in names.fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    return connection


def test_start_calls_and_stop_are_on_record_and_proven(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as client:
        data = next(iter(synthetic_study().values()))
        put_volume(client, data)
        assert client.get(f"/v1/volumes/{sha256(data)}").status_code == 200
        assert client.get("/v1/models", headers={"Authorization": "Bearer wrong"}).status_code == 401
        listed = entries(client)
        kinds = [(entry["kind"], entry["outcome"]) for entry in listed]
        assert kinds[:1] == [("security", "refused")]
        read = listed[1]
        assert (read["kind"], read["object"], read["who"]) == ("image-read", f"volume/{sha256(data)}", "local")
        assert read["address"] == "127.0.0.1"
        assert (listed[-1]["kind"], listed[-1]["detail"]) == ("server", {"what": "start"})
    done = mahtai(server, "audit", "verify")  # while it runs
    assert "All is as it was written." in done.stdout
    server.stop()
    assert "mahtai.audit: checkpoint" in server.log
    with closing(sqlite3.connect(server.data / "mahtai.sqlite")) as connection:
        (body,) = connection.execute("SELECT body FROM audit_events ORDER BY number DESC").fetchone()
    assert json.loads(body)["detail"] == {"what": "stop"}
    assert "All is as it was written." in mahtai(server, "audit", "verify").stdout


def test_pages_filters_and_mistakes(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as client:
        for number in range(7):
            client.post("/v1/cases", json={"name": f"c{number}"})
        everything = entries(client, limit=1000)
        pages = []
        before: int | None = None
        while True:
            query = {"limit": 3, "until": str(everything[0]["at"]), **({"before": before} if before else {})}
            answer = client.get("/v1/audit", params=query).json()
            pages += answer["entries"]
            before = answer["before"]
            if before is None:
                break
        assert pages == everything[1:]
        assert {entry["kind"] for entry in entries(client, kind="case")} == {"case"}
        assert entries(client, who="nobody") == []
        assert entries(client, object="case/%") == []
        assert entries(client, since="9999-12-31T23:59:59-23:00") == []
        for wrong in ({"limit": 0}, {"limit": 1001}, {"since": "x"}, {"before": 0}, {"before": 2**64}, {"who": ""}):
            assert client.get("/v1/audit", params=wrong).status_code == 422


def test_without_a_record_nothing_is_written_and_that_is_said(start_server: StartServer) -> None:
    server = start_server(environment={"audit": "off"})
    with server.client() as client:
        answer = client.get("/v1/audit")
        assert (answer.status_code, answer.json()["type"].rsplit("/")[-1]) == (404, "no-record")
    assert not (server.data / "secrets" / "audit-signing.pem").exists()


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Hospital]:
    """A server on which people sign in."""
    with hospital_in(tmp_path_factory.mktemp("hospital"), models) as opened:
        yield opened


def test_no_patient_is_in_any_entry(hospital: Hospital) -> None:
    name, record_number, born = PATIENT
    with hospital.client("radiologist") as client:
        data = next(iter(synthetic_study().values()))
        put_volume(client, data)
        wanted = {"name": f"{name} {record_number}", "volumes": {"t1c": sha256(data)}}
        made = client.post("/v1/cases", json={**wanted, "task": TASK, "patient": record_number})
        assert made.status_code in (200, 201), made.text
        case = made.json()["id"]
        for path in (f"/v1/cases/{name}", f"/v1/cases?q={name}", f"/v1/volumes/{record_number}", f"/{record_number}"):
            client.get(path)
            client.delete(path)
        client.get(f"/v1/inferences/{name}/result")
        client.patch(f"/v1/cases/{case}", json={"name": f"{name} again"})
        client.post("/v1/inferences", json={"model": name, "inputs": {record_number: "0" * 64}})
        client.post(f"/v1/cases/{case}/reviews", json={"comment": f"{name} {born}"})
        client.put(f"/v1/cases/{case}/drafts/1", content=name.encode())
        assert client.delete(f"/v1/cases/{case}", headers={"User-Agent": name}).status_code < 300
    with closing(sqlite3.connect(hospital.server.data / "mahtai.sqlite")) as connection:
        rows = [" ".join(map(str, row)) for row in connection.execute("SELECT * FROM audit_events")]
    assert [row for row in rows if f"case/{case}" in row]
    assert [row for row in rows if "case/no-id" in row]
    for word in (name, *name.split(), record_number, born, "Mustermann"):
        assert not [row for row in rows if word in row]


def test_each_refusal_of_an_account_is_on_record_and_strangers_are_counted(start_server: StartServer) -> None:
    hospital = Hospital.open(start_server)
    calls = [("GET", "/v1/accounts"), ("GET", "/v1/audit"), ("POST", "/v1/cases"), ("POST", "/v1/trainings")]
    with hospital.client("viewer") as client:
        for method, path in (*calls, *calls):
            assert client.request(method, path, json={}).status_code == 403
    with hospital.server.client(token="x" * 43) as stranger:  # noqa: S106
        for _ in range(40):
            assert stranger.get("/v1/cases").status_code == 401
    time.sleep(1.1)
    with hospital.client("admin") as client:
        entries_ = entries(client, kind="security", limit=100)
    of_viewer = [each["detail"] for each in entries_ if each["who"] == "viewer"]
    assert {each["call"] for each in of_viewer} == {f"{method} {path}" for method, path in calls}
    of_stranger = [each["detail"] for each in entries_ if each["who"] is None and each["detail"]["status"] == "401"]
    assert len(of_stranger) < 40
    assert sum(int(each.get("more of the same", 1)) for each in of_stranger) == 40


def test_a_call_on_which_the_program_fails_is_on_record_and_answered_as_any_other(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as client:
        deep = {"a": json.loads("[" * 900 + "]" * 900)}
        case = make_case(client, {"t1c": put_volume(client, synthetic_study()["t1c"])}, source={"a": "b"})
        for odd in (deep, {"a": "\ud800"}):
            body = json.dumps({"name": "x", "task": "brain-tumour", "volumes": case["volumes"], "source": odd})
            assert client.post("/v1/cases", content=body).status_code == 422
        with closing(sqlite3.connect(server.data / "mahtai.sqlite")) as connection:
            connection.execute("UPDATE case_sources SET source = ?", (json.dumps(deep),))
            connection.commit()
        answer = client.get(f"/v1/cases/{case['id']}/source")
        assert answer.status_code == 500 and answer.json()["type"].endswith("/server-fault")
        assert answer.headers["x-content-type-options"] == "nosniff"
        (entry,) = [each for each in entries(client, limit=20) if each["detail"].get("status") == "500"]
        assert (entry["outcome"], entry["object"]) == ("failed", f"case/{case['id']}")


def test_only_admins_read_it(hospital: Hospital) -> None:
    with hospital.client("radiologist") as client:
        assert client.get("/v1/audit").status_code == 403
    with hospital.client("admin") as client:
        kinds = {str(entry["kind"]) for entry in entries(client, limit=1000)}
        assert {"sign-in", "administration", "security", "server"} <= kinds
        (refused,) = entries(client, kind="security", who="radiologist", limit=1)
        assert refused["detail"]["call"] == "GET /v1/audit"


def test_commands_check_cut_and_hand_out_the_record(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    server.stop()
    assert "Nothing is over." in mahtai(server, "audit", "prune").stdout
    done = mahtai(server, "audit", "export", "--format", "json", "--since", "2020-01-01", "-o", str(tmp_path / "rows"))
    assert "Wrote 3 entries" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text("utf-8").splitlines()]
    assert [json.loads(row["body"])["detail"]["what"] for row in rows] == ["start", "stop", "audit export"]
    anchor = tmp_path / "kept.json"
    anchor.write_bytes((server.root / "config" / "audit-anchor.json").read_bytes())
    assert "All is as it was written." in mahtai(server, "audit", "verify", "--anchor", str(anchor)).stdout
    with closing(drop_refusals(server)) as connection:
        connection.execute("UPDATE audit_events SET who = 'somebody else' WHERE number = 3")
    done = mahtai(server, "audit", "verify", expect=1)
    assert "entry 3: its content and its columns tell different things" in done.stdout
    assert "NOT as it was written" in done.stderr
    done = mahtai(server, "audit", "verify", "--anchor", str(tmp_path / "none"), expect=1)
    assert "no anchor file" in done.stderr


def test_an_export_replaces_nothing_and_is_for_its_user_only(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    server.stop()
    file, there = tmp_path / "made" / "record.json", tmp_path / "thesis.odt"
    there.write_bytes(b"years of work")
    export = ("audit", "export", "--format", "json", "-o")
    refused = mahtai(server, *export, str(there), expect=1)
    assert "is there already. It was not touched" in refused.stderr and there.read_bytes() == b"years of work"
    unknown = mahtai(server, *export, str(file), "--kind", "nonsense", expect=2)
    assert "'sign-in'" in unknown.stderr and "'server'" in unknown.stderr and not file.exists()
    assert "Wrote 3 entries" in mahtai(server, *export, str(file), "--kind", "server").stdout  # start, stop, this
    if os.name == "posix":
        assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_record_that_was_cut_while_the_server_was_down_is_told_at_its_start(start_server: StartServer) -> None:
    server = start_server()
    server.stop()
    with closing(drop_refusals(server)) as connection:
        connection.execute("DELETE FROM audit_events WHERE number > 1")
        connection.execute("DELETE FROM audit_checkpoints WHERE number > 1")
    server.start()
    assert "it was cut" in server.log
    done = mahtai(server, "audit", "verify", expect=1)
    assert "entries are missing: 2 to 2" in done.stdout


def test_a_server_that_cannot_keep_its_record_does_not_start(start_server: StartServer) -> None:
    server = start_server()
    server.stop()
    (server.data / "secrets" / "audit-signing.pem").write_text("nonsense", "utf-8")
    with pytest.raises(AssertionError, match=r"audit-signing\.pem"):
        server.start()
