"""Landmarks in ``.mrk.json``: round trip, what stock Slicer makes of the file, and files that cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MahtAILib.client.markups import LandmarkFile, LandmarkPoint, MarkupsError, decode_markups, encode_markups

SELLA = LandmarkPoint(
    "S", "Sella", (84.25, 99.125, 0.0), "ai", 0.93, 1.4, 0.6, description="Middle of the pituitary fossa"
)
GONION = LandmarkPoint("Go", "Gonion", (60.0, -160.5, 0.0), "ai", 0.31, 4.2, 2.0, "the spread is wide")
CHIN = LandmarkPoint("Pog'", "Soft-tissue pogonion · Weichteil-Pogonion", (150.0, 180.0, 0.0), "manual")
SPINE = LandmarkPoint("PNS", "Posterior nasal spine", None, "missing", description="Tip of the hard palate")
FILE = LandmarkFile((SELLA, GONION, CHIN, SPINE), "isbi19", 0.1, {"Model": "ceph_mahtnet 1", "Options": "{}"})


def edited(change: Any) -> bytes:
    """The file after ``change`` of its JSON document."""
    document = json.loads(encode_markups(FILE))
    change(document, document["markups"][0], document["markups"][0]["controlPoints"])
    return json.dumps(document).encode()


def test_what_is_written_is_read_again() -> None:
    assert decode_markups(encode_markups(FILE)) == FILE
    assert encode_markups(FILE) == encode_markups(decode_markups(encode_markups(FILE)))


def test_a_missing_point_has_no_position_in_the_file() -> None:
    point = json.loads(encode_markups(FILE))["markups"][0]["controlPoints"][3]
    assert (point["positionStatus"], point["position"]) == ("undefined", "")
    assert decode_markups(encode_markups(FILE)).positions.keys() == {"S", "Go", "Pog'"}


def test_a_point_is_doubtful_until_a_reader_has_looked_at_it() -> None:
    assert GONION.is_doubtful
    assert not replace(GONION, state="confirmed").is_doubtful
    assert not SELLA.is_doubtful


def test_an_image_without_calibration_stays_without() -> None:
    assert decode_markups(encode_markups(replace(FILE, mm_per_unit=None))).mm_per_unit is None


def read_by_slicer(context: Any, path: Path) -> Any:
    """What File > Add Data does."""
    node_id = context.modules.markups.logic().LoadMarkups(str(path), "")
    return context.scene.GetNodeByID(node_id.split(",")[0])


def test_stock_slicer_loads_the_file(slicer_context: Any, tmp_path: Path) -> None:
    path = tmp_path / "landmarks.mrk.json"
    path.write_bytes(encode_markups(FILE))
    node = read_by_slicer(slicer_context, path)
    count = node.GetNumberOfControlPoints()
    assert [node.GetNthControlPointLabel(index) for index in range(count)] == ["S", "Go", "Pog'", "PNS"]
    assert node.GetNthControlPointDescription(0) == "Middle of the pituitary fossa"
    # the node is in RAS
    np.testing.assert_allclose(node.GetNthControlPointPosition(1), (-60.0, 160.5, 0.0))
    defined = node.PositionDefined
    assert [node.GetNthControlPointPositionStatus(index) == defined for index in range(count)] == [1, 1, 1, 0]
    assert [node.GetNthControlPointSelected(index) for index in range(count)] == [True, False, True, True]
    np.testing.assert_allclose(node.GetDisplayNode().GetColor(), (1.0, 0.6, 0.1))


def test_what_stock_slicer_saves_again_is_read(slicer_context: Any, tmp_path: Path) -> None:
    path = tmp_path / "landmarks.mrk.json"
    path.write_bytes(encode_markups(FILE))
    node = read_by_slicer(slicer_context, path)
    node.SetNthControlPointPosition(0, -85.0, -99.0, 0.0)
    node.GetStorageNode().SetFileName(str(tmp_path / "again.mrk.json"))
    assert node.GetStorageNode().WriteData(node)
    again = decode_markups((tmp_path / "again.mrk.json").read_bytes())
    assert again.by_id["S"] == LandmarkPoint(
        "S", "S", (85.0, 99.0, 0.0), "manual", description="Middle of the pituitary fossa"
    )
    assert again.by_id["PNS"].state == "missing"
    assert again.landmark_set == ""


def test_points_in_ras_are_turned_into_lps() -> None:
    def to_ras(_document: Any, markups: Any, points: Any) -> None:
        markups["coordinateSystem"] = "RAS"
        for point in points[:3]:
            point["position"] = [-point["position"][0], -point["position"][1], point["position"][2]]

    assert decode_markups(edited(to_ras)).positions == FILE.positions


def test_a_point_that_was_set_by_hand_where_the_model_found_none_is_one_placed_by_hand() -> None:
    def place(_document: Any, _markups: Any, points: Any) -> None:
        points[3] |= {"positionStatus": "defined", "position": [1, 2, 0]}

    assert decode_markups(edited(place)).by_id["PNS"].state == "manual"


def test_a_point_that_was_unset_is_missing() -> None:
    def unset(_document: Any, _markups: Any, points: Any) -> None:
        points[0] |= {"positionStatus": "undefined"}

    assert decode_markups(edited(unset)).by_id["S"] == replace(SELLA, position=None, state="missing")


def first_point(**values: Any) -> bytes:
    return edited(lambda _document, _markups, points: points[0].update(values))


def own(**values: Any) -> bytes:
    return edited(lambda _document, _markups, points: points[0]["mahtai"].update(values))


def markups(**values: Any) -> bytes:
    return edited(lambda _document, markups, _points: markups.update(values))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no JSON, or is cut off"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "no text"),
        (b"S,1,2,3\n", "no JSON"),
        (encode_markups(FILE)[:-40], "cut off or damaged"),
        (b"[1, 2]", "no markups"),
        (b'{"markups": []}', "no markups"),
        (b'{"markups": [7]}', "no markups"),
        (b"[" * 100_000, "cannot be read"),
        (encode_markups(FILE).replace(b"84.25", b"NaN"), "NaN"),
        (encode_markups(FILE).replace(b"84.25", b"Infinity"), "Infinity"),
        (encode_markups(FILE).replace(b"84.25", b"1e999"), "outside any image"),
        (encode_markups(FILE).replace(b"84.25", b"-2e7"), "outside any image"),
        (encode_markups(FILE) + b" " * (5 << 20), "far more than any list"),
        (markups(type="Line"), "no list of points (Line)"),
        (markups(type=None), "no list of points"),
        (markups(coordinateSystem="IJK"), "neither LPS nor RAS"),
        (markups(coordinateUnits="um"), "not in mm"),
        (markups(controlPoints=None), "does not list its control points"),
        (markups(controlPoints=[1]), "does not list its control points"),
        (markups(controlPoints=[{}] * 1001), "1,001 points"),
        (markups(mahtai=[]), "is damaged"),
        (markups(mahtai={"mm_per_unit": -0.1}), "-0.1 mm a unit"),
        (markups(mahtai={"mm_per_unit": 10**400}), "larger than any number"),
        (edited(lambda document, markups, _points: document.update(markups=[markups, markups])), "2 lists of points"),
        (edited(lambda _document, _markups, points: points.append(points[0])), "S is there twice"),
        (first_point(position=[1, 2]), "not three numbers"),
        (first_point(position=["1", "2", "3"]), "not three numbers"),
        (first_point(position=None), "has no position"),
        (first_point(position=5), "not three numbers"),
        (first_point(label=5), "no text"),
        (own(state="guessed"), "the state 'guessed'"),
        (own(confidence=1.5), "1.5, not 0 to 1"),
        (own(confidence="high"), "no number"),
        (own(radius=-1), "radius"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(MarkupsError) as caught:
        decode_markups(data)
    assert reason in caught.value.reason
    assert caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        {"position": (float("nan"), 0.0, 0.0)},
        {"position": (0.0, 0.0)},
        {"position": None},
        {"state": "missing"},
        {"state": "sure"},
        {"confidence": float("nan")},
        {"expected_error": float("inf")},
        {"id": ""},
    ],
)
def test_a_point_that_cannot_be_is_not_made(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"landmark"):
        replace(SELLA, **values)


def test_numpy_positions_are_taken() -> None:
    point = replace(SELLA, position=tuple(np.array([1.5, 2.5, 0.0])))
    assert decode_markups(encode_markups(LandmarkFile((point,), "isbi19"))).positions == {"S": (1.5, 2.5, 0.0)}
