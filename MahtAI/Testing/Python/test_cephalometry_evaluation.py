"""What is measured: values, signs, invariances, missing points, calibration, norms and classes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cephalometry_kit import FACE, mirrored, moved, turned, without
from hypothesis import given, settings
from hypothesis import strategies as st

from MahtAILib.cephalometry import Evaluation, chart, evaluate, isbi_classes, shipped_analyses

MODULE = Path(__file__).resolve().parents[2]
IN_IMAGE_AXES = {"isbi.overjet"}
RADII = dict.fromkeys(FACE, 1.5)


def values(evaluation: Evaluation, *, without_units: bool = False) -> dict[str, float | None]:
    return {
        result.measurement.id: result.value
        for result in evaluation.results
        if not (without_units and result.measurement.unit == "mm")
    }


def same(found: dict[str, float | None], expected: dict[str, float | None]) -> bool:
    assert found.keys() == expected.keys()
    return all(
        (value is None) == (expected[one] is None) and (value is None or abs(value - (expected[one] or 0)) < 1e-6)
        for one, value in found.items()
    )


def test_a_whole_face_has_all_values_and_none_is_far_from_its_norm() -> None:
    evaluation = evaluate(FACE, mm_per_unit=1.0)
    assert evaluation.facing == "right" and evaluation.notes == ()
    assert [result.note for result in evaluation.results if result.value is None] == []
    far = {
        result.measurement.id: result.deviation_sd
        for result in evaluation.results
        if result.deviation_sd is not None and abs(result.deviation_sd) > 4
    }
    assert far == {}


def test_values_that_can_be_read_off_the_drawing() -> None:
    found = values(evaluate(FACE, mm_per_unit=1.0))
    assert found["downs.mandibular_plane"] == pytest.approx(np.degrees(np.arctan2(25, 59)))
    assert found["downs.y_axis"] == pytest.approx(np.degrees(np.arctan2(110, 55)))
    assert found["mcnamara.a_nperp"] == pytest.approx(-2) and found["mcnamara.pog_nperp"] == pytest.approx(-7.5)
    assert found["mcnamara.u1_a_vertical"] == pytest.approx(4)
    assert found["jarabak.height_ratio"] == pytest.approx(100 * np.hypot(10, 88) / np.hypot(17, 121))
    assert found["ricketts.palatal_plane"] == pytest.approx(np.degrees(np.arctan2(1, 52)))
    assert found["isbi.overjet"] == pytest.approx(np.hypot(3, 1))
    tweed = [found[f"tweed.{one}"] for one in ("fma", "impa", "fmia")]
    assert sum(one for one in tweed if one) == pytest.approx(180)


@pytest.mark.parametrize(
    ("measurement", "landmark", "by", "negative"),
    [
        ("steiner.anb", "A", (-8, 0), True),
        ("steiner.anb", "A", (4, 0), False),
        ("wits.ao_bo", "A", (-10, 0), True),
        ("wits.ao_bo", "A", (6, 0), False),
        ("downs.convexity", "A", (-10, 0), True),
        ("downs.convexity", "A", (6, 0), False),
        ("ricketts.convexity", "A", (-10, 0), True),
        ("ricketts.convexity", "A", (6, 0), False),
        ("downs.ab_plane", "A", (6, 0), True),
        ("downs.ab_plane", "A", (-10, 0), False),
        ("isbi.overjet", "U1", (-6, 0), True),
        ("isbi.overjet", "U1", (2, 0), False),
        ("ricketts.palatal_plane", "ANS", (0, -6), True),
        ("ricketts.palatal_plane", "ANS", (0, 3), False),
        ("steiner.u1_na_mm", "U1", (-8, 0), True),
        ("steiner.u1_na_deg", "U1", (-14, 0), True),
        ("steiner.u1_na_deg", "U1", (5, 0), False),
        ("steiner.l1_nb_mm", "L1", (-10, 0), True),
        ("steiner.l1_nb_deg", "L1", (-16, 0), True),
        ("steiner.l1_nb_deg", "L1", (5, 0), False),
        ("steiner.pog_nb", "Pog", (-8, 0), True),
        ("mcnamara.a_nperp", "A", (5, 0), False),
        ("mcnamara.pog_nperp", "Pog", (12, 0), False),
        ("mcnamara.facial_axis", "Gn", (-25, 0), True),
        ("ricketts.lower_lip", "LL", (10, 0), False),
        ("ricketts.lower_lip", "LL", (-10, 0), True),
        ("downs.l1_mp", "L1", (-14, 0), True),
        ("downs.cant", "U1", (0, -20), True),
    ],
)
@pytest.mark.parametrize("look", [lambda points: points, mirrored], ids=["right", "left"])
def test_the_sign_says_what_the_definition_says(look, measurement, landmark, by, negative) -> None:  # type: ignore[no-untyped-def]
    result = evaluate(look(moved(FACE, **{landmark: by})), mm_per_unit=1.0)[measurement]
    assert result.value is not None and (result.value < 0) == negative
    assert result.measurement.sign


def test_odi_and_apdi_follow_the_palatal_plane_and_apdi_is_its_angle_with_the_ab_line() -> None:
    before, after = evaluate(FACE), evaluate(moved(FACE, ANS=(0, -6)))
    tipped = (after["ricketts.palatal_plane"].value or 0) - (before["ricketts.palatal_plane"].value or 0)
    for one in ("isbi.odi", "isbi.apdi"):
        assert (after[one].value or 0) - (before[one].value or 0) == pytest.approx(tipped)
    down = np.subtract(FACE["B"], FACE["A"])
    back = np.subtract(FACE["PNS"], FACE["ANS"])
    direct = np.degrees(np.arccos(down @ back / np.linalg.norm(down) / np.linalg.norm(back)))
    assert before["isbi.apdi"].value == pytest.approx(direct)


wiggles = st.lists(st.floats(-2, 2), min_size=2 * len(FACE), max_size=2 * len(FACE))


def wiggled(by: list[float]) -> dict[str, tuple[float, float]]:
    return {one: (x + dx, y + dy) for (one, (x, y)), dx, dy in zip(FACE.items(), by[::2], by[1::2], strict=True)}


@settings(max_examples=40, deadline=None)
@given(wiggles)
def test_a_mirrored_face_has_the_same_values(by: list[float]) -> None:
    points = wiggled(by)
    face, mirror = evaluate(points, mm_per_unit=1.0), evaluate(mirrored(points), mm_per_unit=1.0)
    assert (face.facing, mirror.facing) == ("right", "left")
    assert same(values(mirror), values(face))


@settings(max_examples=40, deadline=None)
@given(wiggles, st.floats(-180, 180), st.floats(0.05, 30), st.floats(-3000, 3000))
def test_rotation_shift_and_calibrated_size_do_not_change_a_value(
    by: list[float], degrees: float, scale: float, shift: float
) -> None:
    points = wiggled(by)
    expected = values(evaluate(points, mm_per_unit=1.0))
    evaluation = evaluate(turned(points, degrees, scale, (shift, -shift)), mm_per_unit=1 / scale)
    found = values(evaluation)
    for one in IN_IMAGE_AXES:
        del found[one], expected[one]
    assert evaluation.facing == "right" and same(found, expected)


@settings(max_examples=20, deadline=None)
@given(wiggles, st.floats(0.01, 100))
def test_angles_and_ratios_need_no_calibration_and_do_not_depend_on_the_size(by: list[float], scale: float) -> None:
    points = wiggled(by)
    found = evaluate(turned(points, 0, scale))
    assert same(values(found, without_units=True), values(evaluate(points), without_units=True))
    lengths = [result for result in found.results if result.measurement.unit == "mm"]
    assert lengths and all(result.value is None and result.needs_calibration for result in lengths)
    assert all(result.note == "Needs a calibrated image." for result in lengths)
    assert "angles and ratios only" in " ".join(found.notes)


def test_the_overjet_keeps_its_sign_upside_down_and_is_not_guessed_in_an_image_on_its_side() -> None:
    for degrees, expected in ((0, True), (15, True), (180, True), (90, False), (-90, False)):
        result = evaluate(turned(FACE, degrees), mm_per_unit=1.0)["isbi.overjet"]
        assert (result.value is not None) == expected
        if result.value is not None:
            assert result.value == pytest.approx(np.hypot(3, 1))
        else:
            assert "turned too far" in result.note


def test_a_few_wrong_points_do_not_change_which_way_the_face_looks() -> None:
    for wrong in ("N", "Me", "Or", "Go", "S"):
        assert evaluate({**FACE, wrong: (-4000, 9000)}).facing == "right"
        assert evaluate({**mirrored(FACE), wrong: (9000, -4000)}).facing == "left"


@pytest.mark.parametrize("landmark", FACE)
def test_a_missing_point_is_named_by_what_needs_it_and_by_nothing_else(landmark: str) -> None:
    whole, lacking = evaluate(FACE, mm_per_unit=1.0), evaluate(without(FACE, landmark), mm_per_unit=1.0)
    for before, after in zip(whole.results, lacking.results, strict=True):
        if landmark in before.measurement.points:
            assert after.value is None and after.missing == (landmark,) and landmark in after.note
            assert after.classification is None and after.deviation_sd is None and after.low is None
        else:
            assert after.value == pytest.approx(before.value, abs=1e-12)


BAD = [None, (np.nan, 3), (np.inf, 3), (1e300, 3), (), (1,), "ab", object(), ("x", "y"), np.array([[1, 2], [3, 4]])]


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_point_counts_as_missing(bad: object) -> None:
    found = evaluate({**FACE, "N": bad}, RADII, 1.0)  # type: ignore[dict-item]
    assert found["steiner.sna"].missing == ("N",)
    assert same(values(found), values(evaluate(without(FACE, "N"), mm_per_unit=1.0)))


@pytest.mark.parametrize("spot", [(0, 0), (512.5, -3), (1e9, 1e9)])
@pytest.mark.parametrize("radius", [None, 0.0, 3.0])
def test_all_points_on_one_spot_give_no_value_and_no_exception(spot: tuple[float, float], radius: float | None) -> None:
    radii = None if radius is None else dict.fromkeys(FACE, radius)
    found = evaluate(dict.fromkeys(FACE, spot), radii, 1.0)
    assert set(values(found).values()) == {None} and all(result.note for result in found.results)
    assert found.facing is None and found.notes == ("All points lie on one spot.",)
    assert chart(found) == ()


def test_two_points_on_one_spot_take_the_values_that_need_both() -> None:
    found = evaluate({**FACE, "A": FACE["N"]}, RADII, 1.0)
    for result in found.results:
        assert (result.value is None) == ({"A", "N"} <= set(result.measurement.points))
    assert found["steiner.sna"].note == "A and N lie on one spot."


def test_incisors_that_meet_are_edge_to_edge() -> None:
    found = evaluate({**FACE, "U1": FACE["L1"]}, mm_per_unit=1.0)["isbi.overjet"]
    assert found.value == 0 and found.classification == "edge to edge"


def test_points_too_close_for_a_direction_give_none() -> None:
    found = evaluate({**FACE, "PNS": (FACE["ANS"][0] - 1e-3, FACE["ANS"][1])}, mm_per_unit=1.0)
    assert found["ricketts.palatal_plane"].value is None
    assert "no direction" in found["ricketts.palatal_plane"].note


@pytest.mark.parametrize("points", [{}, {"S": (0, 0)}, {"S": (0, 0), "N": (1, 0)}, {"X": (3, 4)}, {"Pog'": (1, 2)}])
def test_few_points_give_few_values_and_no_exception(points: dict[str, tuple[float, float]]) -> None:
    found = evaluate(points, dict.fromkeys(points, 1.0), 1.0)
    named = {result.measurement.id for result in found.results if result.value is not None}
    assert named == ({"jarabak.s_n"} if {"S", "N"} <= points.keys() else set())


@pytest.mark.parametrize("calibration", [float("nan"), 0.0, -0.1, float("inf"), "x"])
def test_a_calibration_that_is_no_positive_number_is_said_and_not_used(calibration: float) -> None:
    found = evaluate(FACE, mm_per_unit=calibration)
    assert found.mm_per_unit is None and "no positive number" in found.notes[0]
    assert found["jarabak.s_n"].value is None and found["steiner.sna"].value is not None


def test_isbi_classes_and_the_evaluation_say_the_same() -> None:
    evaluation = evaluate(FACE, mm_per_unit=1.0)
    rows = isbi_classes(FACE, 1.0)
    assert [row.published_as for row in rows] == ["ANB", "SNB", "SNA", "ODI", "APDI", "FHI", "FMA", "MW"]
    for row in rows:
        assert (row.value, row.label) == (evaluation[row.id].value, evaluation[row.id].classification)
    assert isbi_classes(FACE)[7].number is None and isbi_classes({})[0].label is None
    assert "not Wits" in rows[7].name and "GoGn" in rows[6].name


@pytest.mark.parametrize(("ahead", "number"), [(-1.0, 3), (0.0, 2), (0.5, 0), (1.9, 0), (2.0, 1), (4.5, 1), (4.6, 4)])
def test_the_limits_of_the_overjet_belong_to_the_classes_that_the_challenge_says(ahead: float, number: int) -> None:
    points = {**FACE, "U1": (FACE["L1"][0] + ahead, FACE["L1"][1])}
    assert isbi_classes(points, 1.0)[7].number == number


def test_the_chart_has_a_row_for_each_value_with_a_standard_deviation() -> None:
    evaluation = evaluate(FACE, RADII, 1.0)
    rows = chart(evaluation)
    assert {row.id for row in rows} == {
        result.measurement.id
        for result in evaluation.results
        if result.norm and result.norm.sd and result.norm.compared
    }
    sna = next(row for row in rows if row.id == "steiner.sna")
    value = evaluation["steiner.sna"]
    assert sna.deviation_sd == pytest.approx(((value.value or 0) - 82) / 2)
    assert sna.low_sd == pytest.approx(((value.low or 0) - 82) / 2) and sna.low_sd < sna.deviation_sd
    assert sna.norm_text == "82.0 ± 2.0°" and sna.value_text == value.text
    assert {row.analysis for row in chart(evaluation, "downs")} == {"downs"}


def test_every_measurement_takes_5_ms_together_on_one_core() -> None:
    evaluate(FACE, RADII, 1.0)
    spent = []
    for _ in range(30):
        start = time.perf_counter()
        evaluate(FACE, RADII, 1.0)
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.005


def test_only_the_analyses_that_are_asked_for_are_computed() -> None:
    wits = [analysis for analysis in shipped_analyses() if analysis.id == "wits"]
    assert [result.measurement.id for result in evaluate(FACE, analyses=wits).results] == ["wits.ao_bo"]
    assert evaluate(FACE, analyses=()).results == ()


def test_cephalometry_needs_nothing_but_numpy() -> None:
    blocked = ("slicer", "vtk", "qt", "ctk", "torch", "scipy", "requests", "SimpleITK", "mahtai")
    code = (
        f"import sys\nfor name in {blocked}:\n    sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(MODULE)!r})\nimport MahtAILib.cephalometry as c\nc.evaluate({{}}); c.tracing({{}})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, done.stderr
