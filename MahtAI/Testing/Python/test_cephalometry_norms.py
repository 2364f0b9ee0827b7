"""What a value is compared with, by whose norm, and what is said beside it; the measurements as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from cephalometry_kit import FACE, moved, without

from MahtAILib.cephalometry import AnalysisFileError, chart, evaluate, load_analyses, shipped_analyses, to_json

RADII = dict.fromkeys(FACE, 1.5)


def own(folder: Path, formula: str, norm: dict[str, Any], unit: str = "mm", **of_measurement: Any) -> Any:
    measured = {"id": "one", "name": "One", "definition": "One.", "formula": formula, "unit": unit, "norms": [norm]}
    document = {"id": "ours", "name": "Ours", "source": "Ours", "measurements": [{**measured, **of_measurement}]}
    (folder / "ours.json").write_text(json.dumps(document), "utf-8")
    return load_analyses(folder)


def test_own_sex_and_age_choose_the_norm_and_where_they_are_not_given_the_note_says_which_it_is() -> None:
    plain = evaluate(FACE, mm_per_unit=1.0)
    assert "norm of women" in plain["mcnamara.mandible"].note and "at 9 years" in plain["ricketts.facial_depth"].note
    man = evaluate(FACE, mm_per_unit=1.0, sex="male", age_years=20)
    angle, depth = man["mcnamara.mandibular_plane"], man["ricketts.facial_depth"]
    assert angle.norm and angle.norm.mean == 21.3 and angle.note == ""
    assert depth.norm and depth.norm.mean == pytest.approx(90, abs=0.01) and depth.note == ""
    assert man["steiner.sna"].norm is plain["steiner.sna"].norm


@pytest.mark.parametrize(("age", "mean"), [(0.5, 85.67), (4, 85.67), (5, 85.67), (9, 87), (15, 89), (18, 90), (70, 90)])
def test_growth_is_followed_from_5_to_18_years_and_no_further(age: float, mean: float) -> None:
    depth = evaluate(FACE, age_years=age)["ricketts.facial_depth"]
    assert depth.norm and depth.norm.mean == pytest.approx(mean, abs=0.01)
    assert ("not meant for this age" in depth.note) == (age < 5)


def test_growth_of_an_own_norm_ends_at_18_years_where_it_does_not_say_when(tmp_path: Path) -> None:
    analyses = own(tmp_path, "distance(S, N)", {"mean": 60, "sd": 3, "age_years": 8, "per_year": 1})
    for age, mean in ((1, 57), (10, 62), (90, 70)):
        norm = evaluate(FACE, None, 1.0, analyses, age_years=age).results[0].norm
        assert norm and norm.mean == mean


@pytest.mark.parametrize("age", [math.nan, math.inf, -5.0, 0.0, 200.0, 1e300, "x"])
def test_an_age_that_no_patient_has_is_said_and_not_used(age: Any) -> None:
    found = evaluate(FACE, RADII, 1.0, age_years=age)
    assert any("age is none that a patient has" in note for note in found.notes)
    norm = found["ricketts.facial_depth"].norm
    assert norm and norm.mean == 87 and "give the age" in found["ricketts.facial_depth"].note
    json.dumps(to_json(found), allow_nan=False)


@pytest.mark.parametrize("age", [11.9, 12, 17.9, 18])
def test_a_norm_for_other_ages_is_remarked_upon(age: float) -> None:
    found = evaluate(FACE, mm_per_unit=1.0, age_years=age)
    assert ("not meant for this age, but for 12 to 17 years" in found["downs.y_axis"].note) == (not 12 <= age < 18)
    assert ("not meant for this age, but for 18 years and older" in found["mcnamara.facial_axis"].note) == (age < 18)
    assert found["isbi.sna"].note == ""


def test_where_ricketts_norm_is_not_corrected_for_growth_the_note_says_whose_it_is() -> None:
    for age in (None, 9, 35):
        found = evaluate(FACE, mm_per_unit=1.0, age_years=age)
        for one in ("convexity", "lower_lip"):
            assert "Norm of a 9-year-old, not corrected for growth." in found[f"ricketts.{one}"].note
        assert "9-year-old" not in found["ricketts.facial_depth"].note


def test_lengths_of_enlarged_films_are_compared_in_true_millimetres() -> None:
    found = evaluate(FACE, mm_per_unit=1.0, sex="female", age_years=30)
    for one, mean, sd in (("mandible", 120.2, 5.3), ("midface", 91.0, 4.3), ("lower_height", 66.7, 4.1)):
        result = found[f"mcnamara.{one}"]
        assert result.norm and result.value is not None
        assert (result.norm.mean, result.norm.sd) == pytest.approx((mean / 1.08, sd / 1.08))
        assert result.deviation_sd == pytest.approx((result.value * 1.08 - mean) / sd)
        assert f"{mean:g} ± {sd:g} mm on films enlarged by 8 %" in result.norm.source
    angle, distance = found["mcnamara.facial_axis"].norm, found["mcnamara.a_nperp"].norm
    assert angle and distance and (angle.sd, distance.sd) == (3.2, 2.3)


def test_lengths_of_films_of_unknown_enlargement_are_not_judged() -> None:
    found = evaluate(FACE, RADII, 1.0)
    for one in ("s_n", "s_ar", "ar_go", "go_me"):
        result = found[f"jarabak.{one}"]
        assert result.value is not None and result.norm and result.norm.mean and not result.norm.compared
        assert (result.classification, result.deviation_sd, result.possible_classes) == (None, None, ())
        assert "enlarged is not known" in result.note
    assert {row.id for row in chart(found)}.isdisjoint({"jarabak.s_n", "jarabak.go_me"})


def test_where_the_classes_of_the_sexes_differ_and_the_sex_is_not_known_both_are_possible() -> None:
    by_sex = {sex: evaluate(FACE, mm_per_unit=1.0, sex=sex) for sex in ("female", "male")}  # type: ignore[arg-type]
    unknown = evaluate(FACE, mm_per_unit=1.0)
    differing = 0
    for result in unknown.results:
        classes = {found[result.measurement.id].classification for found in by_sex.values()}
        assert {None, *result.possible_classes} == {None, *classes}
        assert result.borderline == (len(classes) > 1)
        if len(classes) > 1:
            differing += 1
            assert "By the norm of men it may be" in result.note
    assert differing


def test_the_clinical_ranges_of_tweed_and_jarabak_do_not_pass_for_standard_deviations() -> None:
    found = evaluate(FACE)
    for one in ("tweed.fma", "tweed.impa", "jarabak.saddle", "jarabak.articular", "jarabak.gonial", "jarabak.sum"):
        norm = found[one].norm
        assert norm and "clinical range" in norm.source


def test_the_reader_of_wits_sees_that_the_occlusal_plane_is_another() -> None:
    wits = evaluate(FACE, mm_per_unit=1.0)["wits.ao_bo"]
    assert "bisected occlusal plane" in wits.note and "bisected" in wits.measurement.definition


@pytest.mark.parametrize(
    ("norm", "unit", "words"),
    [
        ({"mean": 8, "from_years": 9, "to_years": 8}, "mm", "above its to_years"),
        ({"mean": 8, "enlargement": 1.1}, "deg", "is for norms in mm"),
        ({"mean": 8, "enlargement": 0}, "mm", "must be more than 0"),
    ],
)
def test_a_norm_that_cannot_be_meant_is_refused(tmp_path: Path, norm: dict[str, Any], unit: str, words: str) -> None:
    with pytest.raises(AnalysisFileError, match=words):
        own(tmp_path, "distance(S, N)" if unit == "mm" else "angle(S, N, A)", norm, unit)


@pytest.mark.parametrize("formula", ["offset(LL, Prn, Pog')", "distance(S, N) - distance(Co, Gn)", "ahead(N, S)"])
def test_what_can_be_negative_is_not_cut_off_at_0_though_no_sign_is_explained(tmp_path: Path, formula: str) -> None:
    face = moved(FACE, LL=(-10, 0))
    result = evaluate(face, RADII, 1.0, own(tmp_path, formula, {"mean": -4, "sd": 2})).results[0]
    assert result.value is not None and result.low is not None and result.high is not None
    assert result.low < result.value < result.high < 0
    assert result.value - result.low == pytest.approx(result.high - result.value)


def test_what_cannot_be_negative_is_cut_off_at_0_though_a_sign_is_explained(tmp_path: Path) -> None:
    formula = "distance(U1, L1) + abs(ahead(U1, L1)) / 2"
    result = evaluate(FACE, dict.fromkeys(FACE, 30.0), 1.0, own(tmp_path, formula, {"mean": 4}, sign="none")).results[0]
    assert result.low == 0


@pytest.mark.parametrize(
    ("points", "measurement", "note"),
    [
        ({"U1": FACE["U1A"]}, "steiner.interincisal", "U1 and U1A lie on one spot."),
        ({"L1": FACE["L1A"]}, "steiner.interincisal", "L1 and L1A lie on one spot."),
        ({"S": (66, -8.01)}, "steiner.gogn_sn", "S and N lie so close together that they give no direction."),
        ({"S": (66, -8.01)}, "steiner.sna", "N and S lie so close together that they give no direction."),
        ({"U6": (80, 75.5), "L6": (53, 75.5)}, "wits.ao_bo", "the middle of U6 and L6 and the middle of U1 and L1 lie"),
        ({"A": None}, "steiner.sna", "Needs A (subspinale)."),
        ({"B": None, "D": None}, "steiner.snd", "Needs D (D point)."),
    ],
)
def test_the_note_names_the_points_that_are_in_the_way(points: Any, measurement: str, note: str) -> None:
    assert evaluate({**FACE, **points}, mm_per_unit=1.0)[measurement].note.startswith(note)


def test_a_single_point_is_not_said_to_lie_on_one_spot_with_others() -> None:
    assert evaluate({"S": (3, 3)}, mm_per_unit=1.0).notes == ("There is only one point.",)


@pytest.mark.parametrize("points", [FACE, {}, dict.fromkeys(FACE, (1, 1)), without(FACE, "N", "U6")])
def test_the_json_is_strict_and_says_all_that_the_results_say(points: dict[str, tuple[float, float]]) -> None:
    evaluation = evaluate(points, RADII, 1.0)
    document = json.loads(json.dumps(to_json(evaluation), allow_nan=False))
    assert len(document["measurements"]) == len(evaluation.results)
    for row, result in zip(document["measurements"], evaluation.results, strict=True):
        assert (row["id"], row["value"], row["note"]) == (result.measurement.id, result.value, result.note)
        assert row["missing"] == list(result.missing)
    assert [one["id"] for one in document["analyses"]] == [one.id for one in shipped_analyses()]
    assert all(one["name"] and one["about"] for one in document["analyses"])
