"""What labels and results say of a patient's volumes is sealed; what was stored before is still read."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text

from mahtai.db.engine import Database
from mahtai.db.migrate import alembic_config, upgrade
from mahtai.db.tables import InferenceRow, LabelVersionRow, PatientRow, ScoreRow
from mahtai.security.at_rest.columns import Columns
from mahtai.security.at_rest.keys import GivenKeys

if os.name == "posix":
    from postgresql import PostgreSQL

BEFORE = "0007"
PARTS = {"enhancing tumour": {"voxels": 4711, "ml": 37.25}, "ÄÖ": {"voxels": 0}}
AGAINST = {"dice": 0.5, "changed_ml": 1e-7}
TIME = "2026-01-02 03:04:05+00:00"


def make_older(url: str) -> None:
    """Tables as the version before had them, with a result and two labels."""
    with closing(Database(url)) as database:
        with database.connect() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, BEFORE)
        with database.connect() as connection:
            for table, row in rows():
                names = ", ".join(row)
                values = ", ".join(f":{name}" for name in row)
                connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)


def rows() -> list[tuple[str, dict[str, Any]]]:
    """Tables and their rows."""
    volume = {"sha256": "a" * 64, "bytes": 1, "kind": "label", "format": "nrrd", "info": "{}", "created_at": TIME}
    case = {"id": "c", "name": "C", "task": "t", "reference": "t1c", "state": "new", "priority": 0, "removed": False}
    job = {"id": "i", "key": "k", "current": True, "rank": 0, "anew": False, "model": "m", "model_version": "1"}
    job |= {"model_sha256": "b" * 64, "inputs": "{}", "options": "{}", "state": "succeeded", "starts": 1, "claims": 0}
    label = {"case_id": "c", "kind": "segmentation", "content": "a" * 64, "author": "x", "role": "r", "comment": ""}
    label |= {"tools": "{}", "created_at": TIME}
    return [
        ("volumes", volume),
        ("cases", {**case, "revision": 1, "created_at": TIME}),
        (
            "scores",
            {"case_id": "c", "model_sha256": "b" * 64, "name": "n", "detail": json.dumps(AGAINST), "created_at": TIME},
        ),
        ("patients", {"number": 1, "split": "train", "drawn_by": "x", "created_at": TIME}),
        ("inferences", {**job, "created_at": TIME, "summary": json.dumps(PARTS)}),
        ("label_versions", {**label, "id": "v1", "number": 1, "parts": json.dumps(PARTS), "inference_id": "i"}),
        (
            "label_versions",
            {**label, "id": "v2", "number": 2, "parent_id": "v1", "parts": "{}", "against_parent": json.dumps(AGAINST)},
        ),
    ]


def look(database: Database) -> dict[str, Any]:
    """What the program reads."""
    with database.read() as session:
        found: dict[str, Any] = {row.id: row.summary for row in session.query(InferenceRow)}
        found |= {row.name: row.detail for row in session.query(ScoreRow)}
        found |= {str(row.number): row.split for row in session.query(PatientRow)}
        found |= {
            row.id: (row.parts, row.against_proposal, row.against_parent) for row in session.query(LabelVersionRow)
        }
        return found


def check(url: str) -> None:
    make_older(url)
    with closing(Database(url)) as database:
        upgrade(database)
        labels = {"v1": (PARTS, None, None), "v2": ({}, None, AGAINST)}
        assert look(database) == {"i": PARTS, "n": AGAINST, "1": "train", **labels}
    keys = GivenKeys("0123456789abcdef", {"0123456789abcdef": bytes(range(32))})
    with closing(Database(url, Columns(keys))) as database:
        assert look(database)["v1"] == (PARTS, None, None)
        with database.write() as session:
            row = session.get(LabelVersionRow, "v2")
            assert row is not None
            row.parts, row.against_parent = dict(PARTS), None
            session.get_one(ScoreRow, ("c", "b" * 64, "n")).detail = {"ml": 75.8}
            for number, part in enumerate(("validation", "none", "test"), 2):  # PostgreSQL holds each of them
                session.add(PatientRow(number=number, split=part, drawn_by="published split"))
        assert look(database)["v2"] == (PARTS, None, None)
        with database.read() as session:
            raw = session.execute(text("SELECT parts, against_parent FROM label_versions WHERE id = 'v2'")).one()
            assert raw[0].startswith("sealed:0123456789abcdef:") and raw[1] is None
            assert session.execute(text("SELECT detail FROM scores")).scalar_one().startswith("sealed:")
        assert look(database)["n"] == {"ml": 75.8} and look(database)["2"] == "validation"


def test_on_sqlite(tmp_path: Path) -> None:
    check(f"sqlite:///{(tmp_path / 'tables.sqlite').as_posix()}")


def test_on_postgresql(postgresql: PostgreSQL) -> None:
    check(postgresql.new_database())


@pytest.mark.parametrize("column", ["inferences.summary", "label_versions.parts"])
def test_a_value_of_another_column_is_not_taken(tmp_path: Path, column: str) -> None:
    keys = GivenKeys("0123456789abcdef", {"0123456789abcdef": bytes(range(32))})
    moved = Columns(keys).seal("{}", "case_sources.source")
    from mahtai.security.at_rest.envelope import SealBroken

    with pytest.raises(SealBroken):
        Columns(keys).unseal(moved, column)
