"""The tracing goes through the points, says the values that are measured, and never fails; the superimposition."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from cephalometry_kit import FACE, mirrored, moved, turned, without
from hypothesis import given, settings
from hypothesis import strategies as st

from MahtAILib.cephalometry import Tracing, evaluate, landmark_set, superimpose, tracing

ISBI = {one: FACE[one] for one in landmark_set("isbi19").ids}


def distance(curve: np.ndarray, point: tuple[float, float]) -> float:
    return float(np.hypot(*(curve - point).T).min())


def curves(drawing: Tracing) -> dict[str, np.ndarray]:
    return {curve.id: curve.points for curve in drawing.curves}


@pytest.mark.parametrize("look", [dict, mirrored], ids=["right", "left"])
@pytest.mark.parametrize(
    ("curve", "landmarks"),
    [
        ("profile", ["Sn", "UL", "LL", "Pog'"]),
        ("maxilla", ["ANS", "A"]),
        ("nasal_floor", ["PNS", "ANS"]),
        ("symphysis", ["B", "Pog", "Gn", "Me"]),
        ("mandible", ["Me", "Go", "Ar"]),
    ],
)
def test_an_outline_goes_through_its_points(look, curve: str, landmarks: list[str]) -> None:  # type: ignore[no-untyped-def]
    points = look(ISBI)
    drawn = curves(tracing(points))[curve]
    assert all(distance(drawn, points[one]) < 1e-9 for one in landmarks)


def test_the_profile_goes_through_all_soft_tissue_points_that_there_are() -> None:
    drawn = curves(tracing(FACE))["profile"]
    soft = [one.id for one in landmark_set("cldetection38").landmarks if one.kind == "soft"]
    assert all(distance(drawn, FACE[one]) < 1e-9 for one in soft)


def test_outlines_are_smooth() -> None:
    for points in (ISBI, FACE):
        for one in ("profile", "symphysis", "maxilla"):
            steps = np.diff(curves(tracing(points))[one], axis=0)
            bearing = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
            assert np.degrees(np.abs(np.diff(bearing)).max()) < 45, one


def test_the_lips_part_behind_the_line_from_lip_to_lip_and_the_fold_lies_behind_the_chin() -> None:
    drawn = curves(tracing(ISBI))["profile"]
    between_lips = drawn[(drawn[:, 1] > ISBI["UL"][1]) & (drawn[:, 1] < ISBI["LL"][1])]
    assert between_lips[:, 0].min() < min(ISBI["UL"][0], ISBI["LL"][0]) - 1
    chin = drawn[(drawn[:, 1] > ISBI["LL"][1]) & (drawn[:, 1] < ISBI["Pog'"][1])]
    assert chin[:, 0].min() < ISBI["Pog'"][0] + 0.5


def test_curves_through_too_few_points_say_that_they_are_estimated() -> None:
    assert {curve.id: curve.estimated for curve in tracing(ISBI).curves}["profile"]
    estimated = {curve.id: curve.estimated for curve in tracing(FACE).curves}
    assert not estimated["symphysis"] and estimated["sella"]


def test_planes_lie_on_their_points_and_reach_a_little_beyond_them() -> None:
    drawing = tracing(FACE)
    assert {"sn", "fh", "palatal", "occlusal", "mandibular", "na", "nb", "facial", "apog"} <= {
        plane.id for plane in drawing.planes
    }
    for plane in drawing.planes:
        if len(plane.through) != 2:
            continue
        start, end = complex(*plane.start), complex(*plane.end)
        for one in plane.through:
            share = (complex(*FACE[one]) - start) / (end - start)
            assert abs(share.imag) < 1e-9 and -1e-9 <= share.real <= 1


def test_arcs_say_what_is_measured() -> None:
    for face in (FACE, moved(FACE, A=(-10, 0)), mirrored(moved(FACE, A=(-10, 0))), turned(FACE, 20, 3)):
        evaluation = evaluate(face)
        drawn = {arc.id: arc for arc in tracing(face).arcs}
        for arc, measurement in (
            ("sna", "steiner.sna"),
            ("snb", "steiner.snb"),
            ("anb", "steiner.anb"),
            ("gonial", "jarabak.gonial"),
            ("saddle", "jarabak.saddle"),
            ("articular", "jarabak.articular"),
            ("impa", "tweed.impa"),
            ("interincisal", "steiner.interincisal"),
            ("facial", "downs.facial_angle"),
            ("y_axis", "downs.y_axis"),
            ("fma", "tweed.fma"),
            ("sn_gogn", "steiner.gogn_sn"),
            ("convexity", "downs.convexity"),
        ):
            assert drawn[arc].value_deg == pytest.approx(evaluation[measurement].value), arc
            assert drawn[arc].label.endswith(evaluation[measurement].text)


def test_an_angle_whose_lines_meet_far_off_is_drawn_at_gonion_with_a_parallel() -> None:
    for face in (ISBI, turned(mirrored(ISBI), 10, 2)):
        arc = next(arc for arc in tracing(face).arcs if arc.id == "fma")
        assert arc.vertex == pytest.approx(face["Go"]) and tuple(arc.points[0]) == arc.vertex
        along, frankfort = complex(*(arc.points[1] - arc.points[0])), complex(*np.subtract(face["Or"], face["Po"]))
        assert abs((along / frankfort).imag) < 1e-9 and (along / frankfort).real > 0


def test_a_molar_hangs_by_its_mesial_contact_and_nothing_of_it_is_far_ahead_of_that() -> None:
    drawn = curves(tracing(FACE))
    for one in ("U6", "L6"):
        assert drawn[one.lower()][:, 0].max() == pytest.approx(FACE[one][0], abs=0.6)
        assert distance(drawn[one.lower()], FACE[one]) < 0.5


def test_an_arc_runs_from_one_line_of_the_angle_to_the_other() -> None:
    sna = next(arc for arc in tracing(FACE).arcs if arc.id == "sna")
    start, end = sna.points[0] - sna.vertex, sna.points[-1] - sna.vertex
    assert np.allclose(np.hypot(*(sna.points - sna.vertex).T), np.hypot(*start))
    assert math.degrees(math.atan2(*end[::-1]) - math.atan2(*start[::-1])) % 360 == pytest.approx(360 - sna.value_deg)


def test_a_mirrored_face_has_the_mirrored_tracing() -> None:
    drawn, other = tracing(FACE), tracing(mirrored(FACE))
    assert (drawn.facing, other.facing) == ("right", "left")
    for one, two in zip(drawn.curves, other.curves, strict=True):
        assert np.allclose(one.points, np.array([1000, 0]) + two.points * [-1, 1]), one.id
    for arc, mirror in zip(drawn.arcs, other.arcs, strict=True):
        assert np.allclose(arc.label_at, np.array([1000, 0]) + np.multiply(mirror.label_at, [-1, 1])), arc.id


def test_the_tracing_turns_and_grows_with_the_face() -> None:
    drawn, other = tracing(FACE), tracing(turned(FACE, 25, 8, (100, 50)))
    for one, two in zip(drawn.curves, other.curves, strict=True):
        moved_points = turned(dict(enumerate(map(tuple, one.points))), 25, 8, (100, 50))  # type: ignore[arg-type]
        assert np.allclose(list(moved_points.values()), two.points), one.id


def is_finite(drawing: Tracing) -> bool:
    numbers = [curve.points for curve in drawing.curves] + [arc.points for arc in drawing.arcs]
    numbers += [np.array([plane.start, plane.end, plane.label_at]) for plane in drawing.planes]
    numbers += [np.array([arc.vertex, arc.label_at]) for arc in drawing.arcs]
    return all(np.isfinite(one).all() for one in numbers)


@pytest.mark.parametrize("landmark", FACE)
def test_a_missing_point_takes_only_what_needs_it(landmark: str) -> None:
    drawing = tracing(without(FACE, landmark))
    assert is_finite(drawing) and len(drawing.curves) >= 10
    assert all(landmark not in plane.through for plane in drawing.planes)


@pytest.mark.parametrize("landmark", FACE)
@pytest.mark.parametrize("onto", ["S", "N", "Me", "UL", "A"])
def test_points_that_coincide_make_no_tracing_fail(landmark: str, onto: str) -> None:
    assert is_finite(tracing({**FACE, landmark: FACE[onto]}))


@pytest.mark.parametrize(
    "points",
    [{}, {"S": (1, 2)}, dict.fromkeys(FACE, (3, 3)), {"S": (0, 0), "N": (50, 0)}, {"UL": (3, 4), "LL": (3, 9)}],
)
def test_too_few_points_make_a_small_tracing_or_none(points: dict[str, tuple[float, float]]) -> None:
    assert is_finite(tracing(points))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(FACE)),
        st.tuples(st.floats(allow_nan=True, width=32), st.floats(allow_nan=True, width=32))
        | st.tuples(st.integers(0, 3), st.integers(0, 3)),
    ),
    st.floats(0, 50),
    st.sampled_from([None, 0.1]),
)
def test_no_points_whatever_make_anything_fail(
    points: dict[str, tuple[float, float]], radius: float, calibration: float | None
) -> None:
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        assert is_finite(tracing(points))
        for result in evaluate(points, dict.fromkeys(points, radius), calibration).results:
            assert result.value is None or math.isfinite(result.value)
            assert (result.value is None) <= bool(result.note)
            assert (result.low is None) == (result.high is None)
        assert all(np.isfinite(at).all() for at in superimpose(points, FACE).points.values())


def test_a_tracing_takes_3_ms() -> None:
    tracing(FACE)
    spent = []
    for _ in range(30):
        start = time.perf_counter()
        tracing(FACE)
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.003


def test_an_earlier_head_that_only_lies_elsewhere_is_laid_on_itself() -> None:
    earlier = turned(FACE, -17, 4, (900, 300))
    found = superimpose(earlier, FACE, 0.25, 1.0)
    assert found.note == "" and not found.mirrored and found.scale == pytest.approx(0.25)
    assert np.allclose([found.points[one] for one in FACE], list(FACE.values()))
    homogeneous = np.column_stack([list(earlier.values()), np.ones(len(earlier))])
    assert np.allclose(homogeneous @ found.earlier_to_present.T, list(FACE.values()))


def test_between_calibrated_images_growth_of_the_cranial_base_shows() -> None:
    smaller = turned(FACE, 0, 0.9)
    found = superimpose(smaller, FACE, 1.0, 1.0)
    assert found.points["S"] == pytest.approx(FACE["S"]) and found.scale == 1
    assert np.hypot(*np.subtract(FACE["N"], found.points["N"])) == pytest.approx(0.1 * np.hypot(66, 8))


def test_without_calibration_the_earlier_head_is_scaled_to_the_present_and_that_is_said() -> None:
    found = superimpose(turned(FACE, 0, 0.9), FACE, None, 1.0)
    assert found.points["N"] == pytest.approx(FACE["N"]) and "earlier image is not calibrated" in found.note
    assert "images are not calibrated" in superimpose(FACE, FACE).note


def test_a_head_that_looks_the_other_way_is_mirrored() -> None:
    found = superimpose(mirrored(turned(FACE, 9, 2)), FACE, 0.5, 1.0)
    assert found.mirrored and np.allclose([found.points[one] for one in FACE], list(FACE.values()))
    earlier = np.column_stack([list(mirrored(turned(FACE, 9, 2)).values()), np.ones(len(FACE))])
    assert np.allclose(earlier @ found.earlier_to_present.T, list(FACE.values()))


@pytest.mark.parametrize(
    ("earlier", "present", "words"),
    [
        (without(FACE, "S"), FACE, "The earlier image has no S."),
        (FACE, without(FACE, "S", "N"), "The present image has no S and no N."),
        ({**FACE, "N": FACE["S"]}, FACE, "S and N of the earlier image lie on one spot."),
        ({}, {}, "The earlier image has no S and no N."),
    ],
)
def test_where_it_cannot_be_done_the_note_says_why(earlier, present, words: str) -> None:  # type: ignore[no-untyped-def]
    found = superimpose(earlier, present, 1.0, 1.0)
    assert found.points == {} and found.note == words
