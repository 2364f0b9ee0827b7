"""What comes out of an evaluation: a value with its interval and its class, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from MahtAILib.cephalometry.measurements import Analysis, Measurement, Norm
from MahtAILib.cephalometry.orientation import Facing


@dataclass(frozen=True, eq=False)
class Result:
    """A measurement's value, or why there is none.

    Attributes:
        measurement: what was measured.
        value: in the measurement's unit; None where it cannot be had.
        low: lower end of the 90 % interval that the points' own uncertainty gives; None without a radius for each.
        high: upper end.
        missing: ids of the landmarks that it needs and that are not there.
        needs_calibration: it is withheld because the image is not calibrated.
        norm: what it is compared with; None without one.
        deviation_sd: (value - mean) / SD of the norm; None where either is lacking or values are not judged by it.
        classification: name of the class that the value falls into; None without classes.
        borderline: another class than the value's is possible.
        possible_classes: all classes that the interval reaches into, the lowest first; where the sex is not known and
            the norms of the sexes differ, by either norm.
        note: in plain words: why there is no value, or what to know about it; empty where there is nothing to say.
    """

    measurement: Measurement
    value: float | None
    low: float | None
    high: float | None
    missing: tuple[str, ...]
    needs_calibration: bool
    norm: Norm | None
    deviation_sd: float | None
    classification: str | None
    borderline: bool
    possible_classes: tuple[str, ...]
    note: str

    @property
    def text(self) -> str:
        """The value with its unit, as it is displayed; a dash where there is none."""
        return "\u2013" if self.value is None else self.measurement.text(self.value)

    @property
    def interval_text(self) -> str:
        """Such as ``80.1 to 83.2°``; empty where there is no interval."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:.{self.measurement.decimals}f} to {self.measurement.text(self.high)}".replace("-", "\u2212")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All results for one set of points.

    Attributes:
        results: in the order of the analyses and of their measurements.
        facing: where the face looks; None if the points do not tell.
        mm_per_unit: the calibration that was used, None for none.
        notes: what holds for all of it, in plain words.
        analyses: what was evaluated.
    """

    results: tuple[Result, ...]
    facing: Facing | None
    mm_per_unit: float | None
    notes: tuple[str, ...]
    analyses: tuple[Analysis, ...] = ()

    def __getitem__(self, measurement_id: str) -> Result:
        """The result of this measurement.

        Raises:
            KeyError: there is none of that id.
        """
        for result in self.results:
            if result.measurement.id == measurement_id:
                return result
        raise KeyError(measurement_id)
