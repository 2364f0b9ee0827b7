"""The 90 % intervals against a simulation of the points' errors, and what classes say about them."""

from __future__ import annotations

import numpy as np
import pytest
from cephalometry_kit import FACE, mirrored, moved, turned, without

from MahtAILib.cephalometry import evaluate

SIGMAS_PER_RADIUS = 1 / 2.145966
SAMPLES = 3000


def test_the_radius_of_a_gaussian_error_holds_90_percent() -> None:
    errors = np.random.default_rng(1).normal(0, SIGMAS_PER_RADIUS, (200_000, 2))
    assert np.mean(np.hypot(*errors.T) < 1) == pytest.approx(0.9, abs=0.003)


def test_intervals_are_as_wide_as_those_of_a_simulation() -> None:
    """Radii of 0.5 to 3 mm, a different one for each point."""
    random = np.random.default_rng(7)
    radii = {one: float(random.uniform(0.5, 3)) for one in FACE}
    # an overjet that stays positive: where it may be a crossbite the interval is not that of one distribution
    face = moved(FACE, U1=(8, 0), U1A=(8, 0))
    evaluation = evaluate(face, radii, 1.0)
    samples = []
    for _ in range(SAMPLES):
        errors = {one: tuple(random.normal(0, radius * SIGMAS_PER_RADIUS, 2)) for one, radius in radii.items()}
        samples.append([result.value for result in evaluate(moved(face, **errors), mm_per_unit=1.0).results])
    low, high = np.percentile(np.array(samples, float), [5, 95], axis=0)
    for result, simulated_low, simulated_high in zip(evaluation.results, low, high, strict=True):
        assert result.low is not None and result.high is not None
        width = simulated_high - simulated_low
        assert result.high - result.low == pytest.approx(width, rel=0.08), result.measurement.id
        assert result.low == pytest.approx(simulated_low, abs=0.08 * width), result.measurement.id
        assert result.high == pytest.approx(simulated_high, abs=0.08 * width), result.measurement.id


def test_intervals_turn_and_grow_with_the_face() -> None:
    radii = {one: 1.0 + 0.05 * place for place, one in enumerate(FACE)}
    expected = evaluate(FACE, radii, 1.0)
    larger = {one: 10 * radius for one, radius in radii.items()}
    for face in (turned(FACE, 12, 10), mirrored(turned(FACE, 0, 10))):
        found = evaluate(face, larger, 0.1)
        for one, other in zip(found.results, expected.results, strict=True):
            if one.measurement.id != "isbi.overjet":
                # errors along the axes of the image add as those along other axes do, but for what is not linear
                assert one.low == pytest.approx(other.low, abs=0.02 * ((other.high or 0) - (other.low or 0)) + 1e-9)
                assert one.high == pytest.approx(other.high, abs=0.02 * ((other.high or 0) - (other.low or 0)) + 1e-9)


def test_without_the_radius_of_each_of_its_points_a_value_has_no_interval() -> None:
    found = evaluate(FACE, {one: 1.0 for one in FACE if one != "N"}, 1.0)
    for result in found.results:
        assert (result.low is None) == ("N" in result.measurement.points)
    assert all(result.low is None for result in evaluate(FACE, None, 1.0).results)


@pytest.mark.parametrize("radius", [float("nan"), float("inf"), -1.0, None, "x"])
def test_what_is_no_radius_gives_no_interval(radius: float) -> None:
    found = evaluate(FACE, {**dict.fromkeys(FACE, 1.0), "N": radius}, 1.0)["steiner.sna"]
    assert found.value is not None and found.low is None and found.high is None


def test_exact_points_have_an_interval_of_no_width() -> None:
    for result in evaluate(FACE, dict.fromkeys(FACE, 0.0), 1.0).results:
        assert result.low == result.value == result.high


def test_a_radius_of_a_missing_point_does_no_harm() -> None:
    found = evaluate(without(FACE, "A"), dict.fromkeys(FACE, 2.0), 1.0)
    assert found["steiner.sna"].low is None and found["steiner.snb"].low is not None


def test_an_interval_across_a_limit_makes_the_class_borderline_and_names_the_others() -> None:
    sure = evaluate(FACE, dict.fromkeys(FACE, 1e-6), 1.0)["steiner.anb"]
    doubtful = evaluate(FACE, dict.fromkeys(FACE, 3.0), 1.0)["steiner.anb"]
    assert not sure.borderline and sure.possible_classes == (sure.classification,) and sure.note == ""
    assert doubtful.borderline and doubtful.classification == sure.classification
    others = [name for name in doubtful.possible_classes if name != doubtful.classification]
    assert others and all(f"“{name}”" in doubtful.note for name in others)


def test_possible_classes_are_those_that_the_interval_reaches_into() -> None:
    for radius in (0.2, 1.0, 4.0):
        for result in evaluate(FACE, dict.fromkeys(FACE, radius), 1.0).results:
            if result.classification is None:
                assert result.possible_classes == () and not result.borderline
            else:
                assert result.classification in result.possible_classes
                assert result.borderline == (len(result.possible_classes) > 1)


def test_an_overjet_that_may_be_a_crossbite_is_borderline() -> None:
    face = {**FACE, "U1": (FACE["L1"][0] + 0.5, FACE["L1"][1] + 2.5)}
    found = evaluate(face, dict.fromkeys(FACE, 1.5), 1.0)["isbi.overjet"]
    assert (found.value or 0) > 0 and "anterior crossbite" in found.possible_classes


@pytest.mark.parametrize("ahead", [-0.3, 0.0, 0.1, 0.3])
@pytest.mark.parametrize("below", [0.0, 0.5, 3.0, 8.0])
def test_the_interval_of_an_overjet_of_uncertain_sign_is_that_of_the_distance_on_both_sides_of_0(
    ahead: float, below: float
) -> None:
    """Tips above each other: the sign may be either, the distance is known all the same."""
    random = np.random.default_rng(3)
    face = {**FACE, "U1": (FACE["L1"][0] + ahead, FACE["L1"][1] + below)}
    found = evaluate(face, dict.fromkeys(FACE, 1.5), 1.0)["isbi.overjet"]
    assert found.low is not None and found.high is not None and found.low == -found.high
    errors = random.normal(0, 1.5 * SIGMAS_PER_RADIUS, (2, SAMPLES, 2))
    distances = np.hypot(*(errors[0] - errors[1] + [ahead, below]).T)
    assert 0.92 <= np.mean(distances < found.high) <= 0.98  # one end of a 90 % interval
    if below == 8:
        assert set(found.possible_classes) <= {"anterior crossbite", "large overjet", "edge to edge"}


def test_an_overjet_of_certain_sign_has_the_interval_of_the_distance() -> None:
    for across, sign in ((5.0, 1), (-5.0, -1)):
        face = {**FACE, "U1": (FACE["L1"][0] + across, FACE["L1"][1])}
        found = evaluate(face, dict.fromkeys(FACE, 1.0), 1.0)["isbi.overjet"]
        assert found.low is not None and found.high is not None and found.value == 5 * sign
        assert found.low < found.value < found.high and found.low * sign > 0 and found.high * sign > 0


def test_an_unsigned_angle_or_length_never_reaches_below_zero() -> None:
    for result in evaluate(FACE, dict.fromkeys(FACE, 60.0), 1.0).results:
        if result.measurement.formula.cannot_be_negative:
            assert result.low is not None and result.low >= 0
