"""Which volume is T1c, T1, T2 and FLAIR: by real-world names and tags, better empty than wrong."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MahtAILib.client.geometry import Geometry
from MahtAILib.sequences import assignment
from MahtAILib.sequences.assignment import LEAST_CONFIDENCE, SLOTS, Assignment, Candidate, assign
from MahtAILib.sequences.words import read_words, unaccented, vocabulary, words_of

DOCUMENT = json.loads(Path(__file__).with_name("naming_styles.json").read_text(encoding="utf-8"))
STYLES: dict[str, dict[str, Any]] = {style["id"]: style for style in DOCUMENT["styles"]}
PARTS = ("tuning", "held-out", "found", "found later")

_AXES = {"axial": [0, 1, 2], "coronal": [0, 2, 1], "sagittal": [1, 2, 0]}


def candidates(style: dict[str, Any]) -> list[Candidate]:
    return [
        Candidate(one.get("key", one["name"]), one["name"], one.get("tags", {}), grid(one)) for one in style["series"]
    ]


def grid(series: dict[str, Any]) -> Geometry | None:
    """The slices of a series; its third axis goes across them."""
    if "shape" not in series:
        return None
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, _AXES[series.get("plane", "axial")]] * series["spacing_mm"]
    return Geometry(series["shape"], matrix)


def verdicts(style: dict[str, Any], found: Assignment) -> dict[str, str]:
    """Slot → right, empty (though the volume is there) or wrong."""
    said = {}
    for slot in SLOTS:
        wanted = style["expected"].get(slot, [])
        wanted = [wanted] if isinstance(wanted, str) else wanted
        got = found.keys.get(slot)
        said[slot] = "right" if got in wanted or (got is None and not wanted) else "empty" if got is None else "wrong"
    return said


@pytest.mark.parametrize("name", STYLES)
def test_each_naming_style_fills_the_right_slots_and_no_other(name: str) -> None:
    style = STYLES[name]
    found = assign(candidates(style))
    left_empty = style.get("left_empty", {})
    assert verdicts(style, found) == {slot: "empty" if slot in left_empty else "right" for slot in SLOTS}
    assert all(choice.confidence >= LEAST_CONFIDENCE and choice.reason for choice in found.slots.values())
    assert set(found.slots) | set(found.empty) == set(SLOTS) and all(found.empty.values())


@pytest.mark.parametrize("part", PARTS)
def test_no_slot_of_a_part_is_wrong_and_nearly_all_are_right(part: str, record_property: Any) -> None:
    styles = [style for style in STYLES.values() if style["part"] == part]
    count = Counter(said for style in styles for said in verdicts(style, assign(candidates(style))).values())
    record_property(part, dict(count))
    assert count["wrong"] == 0
    assert count["right"] >= 0.98 * 4 * len(styles)


def test_there_are_at_least_eighty_styles_and_a_quarter_was_held_out() -> None:
    parts = Counter(style["part"] for style in STYLES.values())
    assert set(parts) == set(PARTS)
    assert parts.total() >= 80 and parts.total() - parts["tuning"] >= 0.25 * parts.total()


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_loading_makes_no_slot_wrong(seed: int) -> None:
    for style in STYLES.values():
        shuffled = candidates(style)
        random.Random(seed).shuffle(shuffled)
        assert "wrong" not in verdicts(style, assign(shuffled)).values(), style["id"]


def test_no_volume_is_in_two_slots() -> None:
    for style in STYLES.values():
        keys = list(assign(candidates(style)).keys.values())
        assert len(set(keys)) == len(keys), style["id"]


ALONE = {
    "T1": "t1",
    "ax T1 FLAIR": "t1",
    "FLAIR T2": "flair",
    "T2 FLAIR": "flair",
    "T2": "t2",
    "T1 Gd": "t1c",
    "T1_vKM": "t1",
    "T1_nKM": "t1c",
    "T1 s/contraste": "t1",
    "T1 c/contraste": "t1c",
    "T1 non-gad": "t1",
    "T2*": None,
    "T1 map": None,
    "SUB T1 POST": None,
    "T1 post - pre": None,
    "T1c_seg": None,
    "T1c_brain_mask": None,
    "T1T2 ratio": None,
    "T1 T2": None,
    "STIR": None,
    "PD T2": None,
    "SWI": None,
    "T1 C-SPINE": None,
    "volume": None,
    "T12_vertebra": None,
    "test1": None,
    "post": None,
    "": None,
}


@pytest.mark.parametrize(("name", "slot"), ALONE.items(), ids=[name or "(empty)" for name in ALONE])
def test_a_volume_alone_goes_where_its_name_says_or_nowhere(name: str, slot: str | None) -> None:
    assert assign([Candidate("it", name)]).keys == ({slot: "it"} if slot else {})


def test_reasons_are_plain_words() -> None:
    found = assign(
        [
            Candidate("a", "AX FLAIR"),
            Candidate("b", "Series 4", {"EchoTime": "98", "RepetitionTime": "5200", "ScanningSequence": "SE"}),
            Candidate("c", "AX T1 POST GAD"),
            Candidate("d", "ADC"),
            Candidate("e", "T1 CT", {"Modality": "CT"}),
        ]
    )
    assert found.slots["flair"].reason == "name contains “flair”"
    assert found.slots["t2"].reason == "TE 98 ms, TR 5200 ms"
    assert found.slots["t1c"].reason == "name contains “t1”; “post gad” means after contrast"
    assert found.empty["t1"] == "No volume looks like T1."
    assert found.unusable["d"] == "its name says that it is a diffusion image"
    assert found.unusable["e"] == "its modality is CT, not MR"


def test_an_empty_slot_names_the_volume_that_might_be_meant() -> None:
    found = assign([Candidate("a", "2: AX T1"), Candidate("b", "3: AX T2"), Candidate("c", "8: AX T1")])
    assert found.keys == {"t1": "a", "t2": "b"}
    assert "“8: AX T1” might be it" in found.empty["t1c"] and "another T1 was taken before it" in found.empty["t1c"]


def test_timing_that_agrees_with_the_name_raises_confidence_and_one_that_contradicts_empties_the_slot() -> None:
    named = assign([Candidate("a", "AX T2")]).slots["t2"]
    agreed = assign([Candidate("a", "AX T2", {"EchoTime": 100, "RepetitionTime": 5000.0})]).slots["t2"]
    against = assign([Candidate("a", "AX T2", {"EchoTime": 9, "RepetitionTime": 500})])
    assert agreed.confidence > named.confidence
    assert against.keys == {} and "speaks against it" in against.empty["t2"]


def test_a_t2_with_the_timing_of_a_flair_is_a_flair() -> None:
    tags = {"EchoTime": 390, "RepetitionTime": 5000, "InversionTime": 1800}
    assert assign([Candidate("a", "t2_spc_sag_p2_iso", tags)]).keys == {"flair": "a"}


def test_volumes_on_the_grid_of_the_others_are_preferred() -> None:
    here, there = Geometry((64, 64, 64), np.eye(4)), Geometry((64, 64, 64), np.diag([1.1, 1, 1, 1]))
    found = assign(
        [
            Candidate("a", "T2 raw", geometry=there),
            Candidate("b", "T2 registered", geometry=here),
            Candidate("c", "T1", geometry=here),
            Candidate("d", "FLAIR", geometry=here),
        ]
    )
    assert found.keys["t2"] == "b"


def test_a_second_examination_is_mentioned() -> None:
    found = assign(
        [Candidate(f"{patient}{name}", name, {"PatientID": patient}) for patient in "AB" for name in ("T1", "T2")]
    )
    assert found.keys == {"t1": "BT1", "t2": "BT2"}
    assert found.notes == ("Volumes of 2 examinations are loaded; the slots hold those of one of them.",)


def test_a_volume_that_cannot_be_used_is_not_chosen_however_it_is_called() -> None:
    found = assign([Candidate("a", "T2", unusable="“T2” has one slice only."), Candidate("b", "T1")])
    assert found.keys == {"t1": "b"} and found.unusable == {"a": "“T2” has one slice only."}


def test_thirty_volumes_of_one_sequence_take_no_noticeable_time(record_property: Any) -> None:
    import time

    many = [Candidate(str(n), f"{n}: AX {name}") for n, name in enumerate(("T1", "T1 POST", "T2", "FLAIR") * 30)]
    start = time.perf_counter()
    found = assign(many)
    record_property("seconds", time.perf_counter() - start)
    assert set(found.keys) == set(SLOTS)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("4: AxT1+C post_Gd.nii.gz", "ax t1 + c post gd"),
        ("FLAIRreg", "flair reg"),
        ("t1mprnssagisoce", "t1 mpr ns sag iso ce"),
        ("T2*", "t2star"),
        ("T1 kontrastlı", "t1 kontrastli"),
        ("Gd造影T1強調", "gd 造影 t1 強調"),
        ("trace", "trace"),
        ("T12", "t12"),
        ("FLAIR_reg_to_T1c", "flair"),
        ("MRI_BRAIN_W_WO_CONTRAST_AX_T1", "mri brain ax t1"),
        ("postop_T1", "t1"),
        ("", ""),
    ],
)
def test_names_are_cut_into_words(name: str, words: str) -> None:
    assert words_of(name) == tuple(unaccented(words).split())


def test_the_vocabulary_is_well_formed() -> None:
    book = vocabulary()
    assert set(book) - {"about", "schema"} == set(book["schema"]) - {"words"}
    assert {entry["is"] for entry in book["weighting"]} == {"t1", "t2", "flair"}
    assert {entry["is"] for entry in book["contrast"]} == {"with", "without"}
    assert all(0 < entry["strength"] <= 1 for kind in ("weighting", "contrast", "timing") for entry in book[kind])
    assert all(set(rule["order"]) == set(SLOTS) and re.compile(rule["case"]) for rule in book["numbered"])
    for kind in ("unusable", "weighting", "contrast", "preference"):
        for entry in book[kind]:
            assert len(set(entry["words"])) == len(entry["words"]), entry["is"]
            assert all(phrase == " ".join(phrase.lower().split()) for phrase in entry["words"])


def test_every_phrase_of_the_vocabulary_is_found_where_it_stands_alone() -> None:
    book = vocabulary()
    for entry in book["weighting"]:
        for phrase in entry["words"]:
            plain = unaccented(phrase.replace(" $", "")).replace("*", "x")
            assert entry["is"] in read_words(plain.split()).weightings, phrase
    for entry in book["contrast"]:
        for phrase in entry["words"]:
            plain = unaccented(phrase.replace(" $", "")).replace("*", "x")
            assert entry["is"] in read_words(plain.split()).contrast, phrase


def test_every_rewriting_is_a_valid_expression_with_a_string_to_put_in() -> None:
    for pattern, replacement, why in vocabulary()["rewrite"]:
        assert re.compile(pattern) and isinstance(replacement, str) and isinstance(why, str)


def test_strange_names_and_tags_are_no_error() -> None:
    strange = ["\0", "🧠 T1", "T1" * 5000, "(((", "*+*", "T1 [", "a" * 10_000, "\n\tT2\n", "١٢٣ T2"]
    tags: list[dict[str, Any]] = [
        {"EchoTime": "abc", "RepetitionTime": "", "InversionTime": None},
        {"EchoTime": ["9", "98"], "ImageType": ["ORIGINAL", "PRIMARY"], "SeriesNumber": "x"},
        {"EchoTime": "nan", "RepetitionTime": "inf", "AcquisitionTime": "10:15"},
        {"ContrastBolusAgent": 0, "Modality": None, "ScanningSequence": ""},
    ]
    found = assign([Candidate(f"{n}-{m}", name, tag) for n, name in enumerate(strange) for m, tag in enumerate(tags)])
    assert set(found.slots) | set(found.empty) == set(SLOTS)


def test_the_example_in_the_documentation_is_true() -> None:
    import doctest

    assert doctest.testmod(assignment).failed == 0
