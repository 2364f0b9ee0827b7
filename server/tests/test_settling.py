"""Cases that were made before patients were known get one at the next start."""

from __future__ import annotations

import sqlite3

from server_process import StartServer, put_volume, wait_until
from studies import synthetic_study
from test_cases import make_case


def test_cases_of_an_older_version_get_their_patients_when_the_server_starts(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as client:
        studies = [
            {slot: put_volume(client, data) for slot, data in synthetic_study(seed).items()} for seed in (1, 2, 1)
        ]
        cases = [make_case(client, study)["id"] for study in studies]
    server.stop()
    with sqlite3.connect(server.data / "mahtai.sqlite") as database:
        database.execute("UPDATE cases SET patient = NULL, kin = NULL")
        database.execute("DELETE FROM case_keys")
        database.execute("DELETE FROM patient_keys")
        database.execute("DELETE FROM patients")
    server.start()
    with server.client() as client:

        def patients() -> list[str] | None:
            told = [client.get(f"/v1/cases/{case}").json() for case in cases]
            assert all(case["split"] == "none" for case in told if case["patient"] is None)
            found = [case["patient"] for case in told]
            return found if all(found) else None

        first, second, third = wait_until(patients, 30, "the cases to have patients")
        assert first == third != second
