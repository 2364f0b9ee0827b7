"""A model is trained on, and compared with, approved cases that are encrypted."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import numpy as np

from at_rest_kit import marks_of, plain_in
from learning_kit import clinic
from mahtai.security.at_rest.envelope import MAGIC
from mahtai.training.from_cases import score_version
from test_learning import learn


def test_approved_cases_are_learnt_from_where_they_are_encrypted(tmp_path: Path) -> None:
    where = clinic(tmp_path, key=base64.b64encode(secrets.token_bytes(32)).decode())
    cases = [where.case(1, "train"), where.case(10, "test")]
    files = [where.store.read_bytes(sha256) for case in cases for sha256 in case.volumes.values()]
    assert all(where.store.path(sha256).read_bytes().startswith(MAGIC) for sha256 in cases[0].volumes.values())
    folder = where.order()
    outcome = learn(where, folder, steps=2)
    assert outcome.version == "tiny@1" and folder.state == "succeeded"
    compared, _ = score_version(where.settings, outcome.version, None, "cpu", lambda stage, fraction: None)
    assert {test["case"] for test in compared["tests"]} == {cases[1].id}
    assert np.isfinite(list(compared["mean"]["candidate"].values())).all()
    assert plain_in(where.settings.data_dir, [mark for data in files for mark in marks_of(data)]) == []
