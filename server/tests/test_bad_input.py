"""What readers and their files do wrong, sent to a real server: a sentence, a hint, and the server stays up.

``pytest server/tests/test_bad_input.py -s`` prints the message that each one gets.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import nibabel
import numpy as np
import pytest

from MahtAILib.client import nrrd
from server_process import ServerProcess, finished, put_volume, sha256, start_job
from studies import FAST, SHAPE, affine, synthetic_study

GOOD = synthetic_study()["t1c"]
ARRAY = nrrd.decode(GOOD).array


def _header(old: str, new: str) -> bytes:
    text, voxels = GOOD.split(b"\n\n", 1)
    assert old.encode() in text
    return text.replace(old.encode(), new.encode()) + b"\n\n" + voxels


def _encoded(array: np.ndarray, matrix: np.ndarray | None = None) -> bytes:
    return nrrd.encode(array, affine() if matrix is None else matrix)


def _nifti(array: np.ndarray) -> bytes:
    return bytes(nibabel.Nifti1Image(array, affine()).to_bytes())


def _with(value: float) -> bytes:
    array = ARRAY.astype(np.float32)
    array[3, 4, 5] = value
    return _encoded(array)


def _lying_nifti() -> bytes:
    data = bytearray(_nifti(ARRAY))
    data[42:48] = np.array([3000, 3000, 2222], "<i2").tobytes()
    return bytes(data)


def _matrix_lines(*rows: str) -> bytes:
    text, voxels = GOOD.split(b"\n\n", 1)
    lines = [line for line in text.decode().splitlines() if not line.startswith("space directions")]
    return "\n".join([*lines, "space directions: " + " ".join(rows)]).encode() + b"\n\n" + voxels


SIZES = " ".join(str(n) for n in SHAPE)
BAD_FILES: dict[str, Callable[[], bytes]] = {
    "truncated NRRD": lambda: GOOD[: len(GOOD) // 2],
    "NRRD whose header promises more": lambda: _header(f"sizes: {SIZES}", f"sizes: {SIZES.replace('48', '96', 1)}"),
    "NRRD whose header promises less": lambda: _header(f"sizes: {SIZES}", f"sizes: {SIZES.replace('48', '24', 1)}"),
    "truncated NIfTI": lambda: _nifti(ARRAY)[:-500],
    "truncated gzip of a NIfTI": lambda: gzip.compress(_nifti(ARRAY))[:-2000],
    "NIfTI claiming 20 gigavoxels": _lying_nifti,
    "NRRD claiming 20 gigavoxels": lambda: _header(f"sizes: {SIZES}", "sizes: 3000 3000 2222"),
    "4-D volume": lambda: _nifti(np.stack([ARRAY, ARRAY], -1)),
    "empty file": lambda: b"",
    "empty volume": lambda: _encoded(np.zeros(SHAPE, np.int16)),
    "constant volume": lambda: _encoded(np.full(SHAPE, 7, np.int16)),
    "NaN": lambda: _with(np.nan),
    "infinite": lambda: _with(np.inf),
    "one voxel": lambda: _encoded(np.ones((1, 1, 1), np.int16)),
    "sheared affine": lambda: _matrix_lines("(2,0,0)", "(0.8,2,0)", "(0,0,2)"),
    "singular affine": lambda: _matrix_lines("(2,0,0)", "(2,0,0)", "(0,0,2)"),
    "affine of NaN": lambda: _matrix_lines("(2,0,0)", "(0,nan,0)", "(0,0,2)"),
    "not a volume": lambda: b"%PDF-1.7 a report",
}


def _problem(answer: httpx.Response, name: str) -> dict[str, str]:
    problem = dict(answer.json())
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert len(problem["detail"]) > 20
    assert len(problem["hint"]) > 10
    print(f"{name}: {answer.status_code} {problem['detail']} {problem['hint']}")
    return problem


def _is_up(client: httpx.Client) -> bool:
    return client.get("/readyz").status_code == 200


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_gets_a_sentence_and_is_not_kept(client: httpx.Client, name: str) -> None:
    data = BAD_FILES[name]()
    answer = client.put(f"/v1/volumes/{sha256(data)}", content=data)
    assert answer.status_code in (413, 422)
    _problem(answer, name)
    assert client.head(f"/v1/volumes/{sha256(data)}").status_code == 404
    assert _is_up(client)


def test_a_wrong_hash_gets_a_sentence(client: httpx.Client) -> None:
    answer = client.put(f"/v1/volumes/{hashlib.sha256(b'other').hexdigest()}", content=GOOD)
    assert answer.status_code == 422
    _problem(answer, "wrong hash")


BAD_REQUESTS = {
    "unknown model": {"model": "brats_2050"},
    "unknown channel": {"inputs": {"ct": "t1"}},
    "unknown option": {"options": {"magic": "on"}},
    "unknown value of an option": {"options": {"register": "perhaps"}},
    "volume that was never sent": {"inputs": {"t1c": "0" * 64}},
    "one volume in two slots": {"inputs": {"t1": "t1c"}},
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_gets_a_sentence(client: httpx.Client, study: dict[str, str], name: str) -> None:
    change = BAD_REQUESTS[name]
    inputs = {slot: study.get(source, source) for slot, source in change.get("inputs", {}).items()}
    body = {"model": "tiny", "options": FAST, **change, "inputs": {**study, **inputs}}
    answer = client.post("/v1/inferences", json=body)
    assert answer.status_code in (404, 422)
    _problem(answer, name)


def _failure(client: httpx.Client, inputs: dict[str, str], options: dict[str, str], name: str) -> dict[str, Any]:
    job = start_job(client, "tiny", inputs, options=options)
    ended = finished(client, job["id"])
    assert ended["state"] == "failed", ended
    failure = ended
    print(f"{name}: failed: {failure['reason']} {failure['hint']}")
    assert failure["hint"]
    return failure


def test_sequences_far_apart_fail_with_the_distance(client: httpx.Client, study: dict[str, str]) -> None:
    matrix = affine()
    matrix[0, 3] += 500
    far = put_volume(client, _encoded(np.asarray(nrrd.decode(synthetic_study()["t2"]).array), matrix))
    failure = _failure(client, {**study, "t2": far}, {**FAST, "register": "auto"}, "geometries far apart")
    assert "500 mm apart" in failure["reason"]


def test_a_scaled_copy_in_another_slot_is_called_doubled(client: httpx.Client, study: dict[str, str]) -> None:
    doubled = put_volume(client, _encoded((ARRAY * 2).astype(np.int16)))
    failure = _failure(client, {**study, "t1": doubled}, {**FAST, "check_sequences": "on"}, "doubled sequence")
    assert failure["kind"] == "doubled-sequence"


def test_a_missing_token_and_a_wrong_one_get_a_sentence(server: ServerProcess) -> None:
    for token, name in (("", "token missing"), ("wrong", "token wrong")):
        with server.client(token=token) as stranger:
            answer = stranger.get("/v1/models")
            assert answer.status_code == 401
            _problem(answer, name)
