"""Patients over HTTP: found again under every name, drawn once, never both learnt from and tested on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import nibabel
import numpy as np
import pytest

from mahtai.cases.patients import SHARES, _draw
from mahtai.training.splits import split
from mahtai.volumes.fingerprint import fingerprint, telling_fingerprint
from MahtAILib.client import nrrd
from server_process import ServerProcess, put_volume
from studies import affine, synthetic_study
from test_cases import make_case


def new_study(client: httpx.Client, seed: int) -> dict[str, str]:
    """A study that no other test has."""
    return {slot: put_volume(client, data) for slot, data in synthetic_study(1000 + seed).items()}


def test_the_cases_of_one_patient_are_known_by_the_name_or_by_a_scan(client: httpx.Client) -> None:
    first = make_case(client, new_study(client, 1), patient="Hospital A 4711")
    again = make_case(client, new_study(client, 2), patient="  hospital a   4711 ")
    other = make_case(client, new_study(client, 3), patient="Hospital A 4712")
    assert first["patient"] == again["patient"] != other["patient"]
    assert first["split"] == again["split"]
    # the same scan under another name: whoever it is, it is one patient
    shared = {"t1c": first["volumes"]["t1c"], "t2": new_study(client, 4)["t2"]}
    renamed = make_case(client, shared, patient="Hospital B 1")
    assert renamed["patient"] == first["patient"]
    assert make_case(client, new_study(client, 5), patient="Hospital B 1")["patient"] == first["patient"]


def test_a_scan_is_known_though_it_was_mirrored_cropped_and_stored_anew(client: httpx.Client) -> None:
    study = new_study(client, 6)
    first = make_case(client, study)
    voxels = nrrd.decode(synthetic_study(1006)["t1c"]).array
    inside = np.nonzero(voxels)
    box = tuple(slice(axis.min(), axis.max() + 1) for axis in inside)
    changed = np.ascontiguousarray(voxels[box][::-1, :, ::-1].astype(np.float32))
    hidden = put_volume(client, nrrd.encode(changed, affine(1.0), encoding="gzip"))
    assert hidden != study["t1c"]
    assert make_case(client, {"flair": hidden}, patient="somebody else")["patient"] == first["patient"]


def test_two_patients_that_turn_out_to_be_one_are_used_for_nothing_if_they_were_drawn_differently(
    client: httpx.Client,
) -> None:
    cases: dict[str, dict[str, Any]] = {}
    for number in range(60):
        case = make_case(client, new_study(client, 100 + number), patient=f"person {number}")
        cases.setdefault(case["split"], case)
        if {"train", "test"} <= cases.keys():
            break
    learnt, tested = cases["train"], cases["test"]
    both = make_case(client, {"t1c": learnt["volumes"]["t1c"], "t1": tested["volumes"]["t1"]})
    assert both["split"] == "none"
    for case in (learnt, tested):
        now = client.get(f"/v1/cases/{case['id']}").json()
        assert (now["split"], now["patient"]) == ("none", both["patient"])
    # and it stays so
    later = make_case(client, new_study(client, 99), patient="another study of them")
    assert later["split"] != "none"
    same = make_case(client, {"t2": learnt["volumes"]["t2"]})
    assert (same["split"], same["patient"]) == ("none", both["patient"])


def test_scans_with_next_to_nothing_in_them_are_nobodys(client: httpx.Client) -> None:
    flat = np.zeros((20, 20, 20), np.uint8)
    flat[5:15, 5:15, 5:15] = 7
    moved = np.roll(flat, 2, axis=0)
    assert telling_fingerprint(flat) is None
    patients = [make_case(client, {"t1": put_volume(client, nrrd.encode(each, affine()))}) for each in (flat, moved)]
    assert patients[0]["patient"] != patients[1]["patient"]


def test_the_draw_has_the_shares_that_are_stated_and_depends_on_nothing_but_the_key() -> None:
    drawn = Counter(_draw(f"id:{number}") for number in range(20_000))
    for part, share in SHARES:
        assert drawn[part] / 20_000 == pytest.approx(share, abs=0.012)
    assert [_draw("scan:abc") for _ in range(3)] == [_draw("scan:abc")] * 3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_a_fingerprint_is_that_of_the_values_not_of_their_type_or_order(dtype: type) -> None:
    voxels = np.random.default_rng(0).integers(0, 200, (12, 13, 14))
    first = fingerprint(voxels.astype(np.int16))
    assert fingerprint(voxels.astype(dtype)[::-1].transpose(2, 0, 1)) == first
    voxels[np.nonzero(voxels)[0][0]] += 1
    assert fingerprint(voxels.astype(dtype)) != first


def test_a_case_of_a_published_test_list_is_drawn_as_the_list_says(client: httpx.Client, shared_data: Path) -> None:
    lists = split()
    for part, name in (
        ("test", lists["test"][0]),
        ("validation", lists["validation"][0]),
        ("train", lists["train"][0]),
    ):
        image = nibabel.load(shared_data / "brats" / name / "t1c.nii.gz")
        assert isinstance(image, nibabel.Nifti1Image)
        voxels = np.asanyarray(image.dataobj)[::-1].copy()  # mirrored
        volume = put_volume(client, nrrd.encode(voxels, affine(1.0)))
        assert make_case(client, {"t1": volume}, patient="a new name")["split"] in (part, "none")
        own = make_case(client, {"t1": volume}, patient=f"{name} in disguise")
        assert own["split"] in (part, "none")


def test_what_a_patient_is_called_is_stored_nowhere(server: ServerProcess, client: httpx.Client) -> None:
    name = "Mustermann-Überall^Erika 1961"
    source = {"StudyInstanceUID": "1.2.840.99999.77", "folder": "x"}
    case = make_case(client, new_study(client, 7), patient=name, source=source)
    assert client.get(f"/v1/cases/{case['id']}/source").json() == {"source": source}
    assert "1.2.840.99999.77" not in client.get("/v1/cases").text
    written = b"".join(path.read_bytes() for path in server.data.glob("mahtai.sqlite*")) + server.log.encode()
    assert b"Mustermann" not in written and "Überall".encode() not in written
