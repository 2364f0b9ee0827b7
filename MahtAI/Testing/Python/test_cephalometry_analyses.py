"""Landmark sets and measurements as data: what is shipped, own files, and what is said about wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cephalometry_kit import FACE

from MahtAILib.cephalometry import (
    AnalysisFileError,
    evaluate,
    landmark,
    landmark_set,
    landmark_sets,
    load_analyses,
    shipped_analyses,
)
from MahtAILib.cephalometry.analyses import DATA_FOLDER, SCHEMA_FILE, SHIPPED
from MahtAILib.cephalometry.formula import FormulaError, read_formula

MEASUREMENTS = [one for analysis in shipped_analyses() for one in analysis.measurements]
OWN = {
    "id": "ours",
    "name": "Our own",
    "source": "Ours",
    "measurements": [
        {
            "id": "sn_pp",
            "name": "SN–PP",
            "definition": "Angle between S-N and the palatal plane.",
            "formula": "turn(S, N, PNS, ANS)",
            "unit": "deg",
            "sign": "positive: tipped down",
            "norms": [{"mean": 8, "sd": 3, "source": "A book"}],
        }
    ],
}


def write(folder: Path, document: Any, name: str = "ours.json") -> Path:
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return folder


def changed(**of_measurement: Any) -> dict[str, Any]:
    return {**OWN, "measurements": [{**OWN["measurements"][0], **of_measurement}]}  # type: ignore[dict-item]


def test_the_sets_have_their_landmarks_in_their_order() -> None:
    isbi, more = landmark_set("isbi19"), landmark_set("cldetection38")
    assert " ".join(isbi.ids) == "S N Or Po A B Pog Me Gn Go L1 U1 UL LL Sn Pog' PNS ANS Ar"
    assert more.ids[:19] == isbi.ids
    assert " ".join(more.ids[19:]) == "D U1A L1A Cm Ptm Co Prn Ba Pt Bo UL' LL' Gn' Me' G' N' C U6 L6"
    for chosen in landmark_sets().values():
        assert [one.number for one in chosen.landmarks] == list(range(1, len(chosen.landmarks) + 1))
        assert all(one.name and one.definition.endswith(".") for one in chosen.landmarks)
        assert {one.kind for one in chosen.landmarks} == {"bone", "tooth", "soft"}
    assert isbi["Pog'"].kind == "soft" and isbi["Pog"].kind == "bone" and isbi["U1"].kind == "tooth"
    assert "vermilion" in more["UL'"].definition and "vermilion" in more["LL'"].definition
    assert "contact point" in more["U6"].definition and "contact point" in more["L6"].definition
    found = landmark("Go")
    assert found is not None and found.name == "Gonion" and landmark("nothing") is None


def test_an_unknown_set_or_landmark_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        landmark_set("aariz")
    with pytest.raises(KeyError):
        landmark_set("isbi19")["Prn"]


def test_every_analysis_that_is_asked_for_is_there() -> None:
    assert tuple(analysis.id for analysis in shipped_analyses()) == SHIPPED
    assert {path.stem for path in DATA_FOLDER.glob("*.json")} == {*SHIPPED, "analysis.schema", "landmark_sets"}
    assert len({one.id for one in MEASUREMENTS}) == len(MEASUREMENTS) >= 60


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda one: one.id)
def test_every_measurement_says_what_it_is_and_every_norm_where_it_is_from(measurement: Any) -> None:
    assert measurement.definition.endswith(".") and measurement.name
    assert set(measurement.points) <= set(landmark_set("cldetection38").ids)
    for norm in measurement.norms:
        assert norm.source and norm.population and norm.age and norm.sex in ("any", "female", "male")
        assert norm.mean is not None or (norm.low is not None and norm.high is not None)


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda one: one.id)
def test_what_can_be_negative_says_what_that_means(measurement: Any) -> None:
    assert measurement.sign or measurement.formula.cannot_be_negative


def test_the_isbi_names_that_mislead_are_not_the_names_shown() -> None:
    isbi = {one.published_as: one.name for one in shipped_analyses()[0].measurements}
    assert isbi["FMA"].startswith("SN–GoGn") and isbi["MW"].startswith("Incisor overjet")


def test_own_analyses_are_computed_like_the_others(tmp_path: Path) -> None:
    own = load_analyses(write(tmp_path, OWN))
    evaluation = evaluate(FACE, analyses=[*shipped_analyses(), *own])
    result = evaluation["ours.sn_pp"]
    assert result.value == pytest.approx(8.01, abs=0.02) and result.classification == "within the norm"
    assert len(evaluation.results) == len(MEASUREMENTS) + 1


def test_a_folder_without_files_has_no_analyses(tmp_path: Path) -> None:
    assert load_analyses(tmp_path) == () and load_analyses(tmp_path / "missing") == ()


CLASSES = [{"name": "low", "below": 5}, {"name": "high", "from": 5}]
WRONG = {
    "not JSON": ("{", "not valid JSON"),
    "a list": ([], "must be an object"),
    "no id": ({key: value for key, value in OWN.items() if key != "id"}, "“id” is missing"),
    "an id in capitals": ({**OWN, "id": "Ours"}, "small letters"),
    "a taken id": ({**OWN, "id": "steiner"}, "that of an analysis that comes along"),
    "no measurements": ({**OWN, "measurements": []}, "at least 1"),
    "a stranger": ({**OWN, "colour": "red"}, "“colour” is not known"),
    "a wrong unit": (changed(unit="cm"), "measurements[0].unit must be one of deg, mm, %, ratio"),
    "a length as an angle": (changed(formula="distance(S, N)"), "the unit is deg, and the formula gives a length"),
    "an angle as a length": (changed(unit="mm"), "gives no length"),
    "an unknown landmark": (changed(formula="angle(S, N, Q)"), "“Q”, and no landmark has that name"),
    "an unknown function": (changed(formula="tangent(S, N)"), "“tangent” is no function"),
    "too few points": (changed(formula="angle(S, N)"), "angle takes 3 points, not 2"),
    "an open bracket": (changed(formula="angle(S, N, A"), "it ends where “)” should come"),
    "something after it": (changed(formula="angle(S, N, A) 3"), "“3” stands where the formula should end"),
    "a strange sign": (changed(formula="angle(S; N, A)"), "“;” means nothing"),
    "apples and pears": (changed(formula="angle(S, N, A) + distance(S, N)"), "a length and an angle"),
    "no landmark": (changed(formula="3"), "it has no landmark"),
    "a text as a mean": (changed(norms=[{"mean": "8"}]), "measurements[0].norms[0].mean must be a number"),
    "an SD of 0": (changed(norms=[{"mean": 8, "sd": 0}]), "must be more than 0"),
    "an empty norm": (changed(norms=[{"sex": "any"}]), "needs a mean, or low and high"),
    "a turned range": (changed(norms=[{"low": 9, "high": 3}]), "low is the smaller one"),
    "half a range": (changed(norms=[{"mean": 8, "low": 3}]), "belong together"),
    "growth from no age": (changed(norms=[{"mean": 8, "per_year": 1}]), "needs age_years"),
    "NaN": (changed(norms=[{"mean": float("nan")}]), "must be a number"),
    "two words": (changed(words=["a", "b"]), "at least 3"),
    "a gap": (changed(classes=[{"name": "low", "below": 5}, {"name": "high", "above": 5}]), "leave a gap"),
    "an overlap": (changed(classes=[{"name": "low", "to": 6}, {"name": "high", "from": 5}]), "overlap"),
    "no end": (changed(classes=[{"name": "low", "below": 5}]), "the highest no upper one"),
    "two limits": (changed(classes=[{**CLASSES[0], "to": 3}, CLASSES[1]]), "two lower or two upper limits"),
    "nothing in it": (changed(classes=[*CLASSES, {"name": "none", "above": 9, "below": 3}]), "holds no value"),
    "twice": ({**OWN, "measurements": OWN["measurements"] * 2}, "two measurements with the id “sn_pp”"),  # type: ignore[operator]
    "no text": (changed(name=" "), "measurements[0].name is empty"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_in_words_that_name_it_and_the_fault(tmp_path: Path, case: str) -> None:
    document, words = WRONG[case]
    with pytest.raises(AnalysisFileError) as refused:
        load_analyses(write(tmp_path, document))
    assert "ours.json" in refused.value.reason and words in refused.value.reason


def test_two_files_with_one_id_are_refused(tmp_path: Path) -> None:
    write(write(tmp_path, OWN), OWN, "theirs.json")
    with pytest.raises(AnalysisFileError, match="that of ours.json"):
        load_analyses(tmp_path)


def test_the_schema_asks_for_what_the_classes_of_measurements_need() -> None:
    schema = json.loads(SCHEMA_FILE.read_text("utf-8"))
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]["measurements"]["items"]["required"]) == {
        "id", "name", "definition", "formula", "unit",
    }  # fmt: skip


def test_formulas_take_precedence_and_brackets_as_arithmetic_does() -> None:
    assert read_formula("2 * distance(S, N) - distance(S, mid(N, Pog')) / 4").points == ("S", "N", "Pog'")
    assert read_formula("-(angle(S, N, A) - 90) * 2").length_power == 0
    assert read_formula("distance(S, N) * distance(S, N) / distance(N, A)").length_power == 1
    with pytest.raises(FormulaError):
        read_formula("mid(S, N)")
