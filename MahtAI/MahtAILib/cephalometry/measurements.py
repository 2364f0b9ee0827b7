"""What a measurement is: its definition and formula, its norms and the classes that its values fall into."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from MahtAILib.cephalometry.formula import Formula

Unit = Literal["deg", "mm", "%", "ratio"]
Sex = Literal["any", "female", "male"]

UNIT_SIGNS: dict[Unit, str] = {"deg": "°", "mm": " mm", "%": " %", "ratio": ""}


@dataclass(frozen=True, eq=False)
class Norm:
    """What is usual, for whom, and who says so.

    Attributes:
        mean: in the measurement's unit, lengths in true millimetres; None where only a range was published.
        sd: standard deviation; None where none was published.
        low: lower end of the published range, or mean - sd; None where there is neither.
        high: upper end, likewise.
        sex: whom it was measured on.
        age: in words.
        population: in words; ``not stated`` where the source does not say.
        source: citation, and where a figure is not the source's own, whose it is.
        age_years: what ``mean`` holds for, where it changes with age.
        per_year: change of the mean with each year of growth.
        grown_years: age from which it changes no more.
        from_years: youngest age that it holds for; None where that is not known.
        to_years: last year of age that it holds for, likewise.
        enlargement: of the films that it is from; what was published has been divided by it.
        compared: whether values are judged by it; otherwise it is only shown.
        remark: what to know about the comparison; mostly empty.
    """

    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    sex: Sex
    age: str
    population: str
    source: str
    age_years: float | None = None
    per_year: float = 0.0
    grown_years: float | None = None
    from_years: float | None = None
    to_years: float | None = None
    enlargement: float = 1.0
    compared: bool = True
    remark: str = ""

    def holds_at(self, years: float) -> bool:
        """Whether it is meant for this age."""
        old_enough = self.from_years is None or years >= self.from_years
        return old_enough and (self.to_years is None or math.floor(years) <= self.to_years)

    @property
    def ages_text(self) -> str:
        """Such as ``12 to 17 years``; empty where the ages are not known."""
        if self.from_years is None:
            return "" if self.to_years is None else f"up to {self.to_years:g} years"
        if self.to_years is None:
            return f"{self.from_years:g} years and older"
        return f"{self.from_years:g} to {self.to_years:g} years"

    def at_age(self, years: float | None) -> Norm:
        """The norm for this age; itself where it does not depend on the age or the age is not known.

        The change is followed only as far as it is stated: from ``from_years`` to ``grown_years``.
        """
        if years is None or self.age_years is None or not self.per_year:
            return self
        until = min(years, math.inf if self.grown_years is None else self.grown_years)
        until = max(until, 0.0 if self.from_years is None else self.from_years)
        change = self.per_year * (until - self.age_years)
        return replace(
            self,
            mean=None if self.mean is None else self.mean + change,
            low=None if self.low is None else self.low + change,
            high=None if self.high is None else self.high + change,
            age_years=until,
        )


@dataclass(frozen=True)
class MeasurementClass:
    """A range of values that has a name; ranges of one measurement cover all values and do not overlap.

    Attributes:
        name: such as ``skeletal class II``.
        low: lower limit, None without one.
        high: upper limit, None without one.
        low_included: whether the lower limit itself belongs to it.
        high_included: whether the upper limit itself belongs to it.
        number: what the source counts it as, where it does (ISBI 2015: 1 is normal).
        normal: whether it is the usual one.
    """

    name: str
    low: float | None = None
    high: float | None = None
    low_included: bool = True
    high_included: bool = True
    number: int | None = None
    normal: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value belongs to it."""
        above = self.low is None or value > self.low or (self.low_included and value == self.low)
        below = self.high is None or value < self.high or (self.high_included and value == self.high)
        return above and below


@dataclass(frozen=True, eq=False)
class Measurement:
    """A value that is computed from landmarks.

    Attributes:
        id: unique among all analyses, such as ``steiner.sna``.
        name: for display.
        definition: in words.
        formula: see ``MahtAILib.cephalometry.formula``.
        unit: ``deg``, ``mm``, ``%`` or ``ratio``; only ``mm`` needs a calibrated image.
        sign: what a positive and a negative value mean; may be empty.
        analysis: id of the analysis that it belongs to.
        points: ids of the landmarks that it needs.
        norms: the first that fits the patient counts; may be empty.
        classes: own ranges; where empty, the norm's range makes three of them, named by ``words``.
        words: what lies below, within and above the norm.
        published_as: the name under which the source published it, where that name misleads.
        remark: what the reader has to know about each value; mostly empty.
    """

    id: str
    name: str
    definition: str
    formula: Formula
    unit: Unit
    sign: str
    analysis: str
    points: tuple[str, ...]
    norms: tuple[Norm, ...]
    classes: tuple[MeasurementClass, ...] = ()
    words: tuple[str, str, str] = ("below the norm", "within the norm", "above the norm")
    published_as: str = ""
    remark: str = ""

    @property
    def decimals(self) -> int:
        """How many a displayed value has."""
        return 2 if self.unit == "ratio" else 1

    def norm_for(self, sex: Sex | None = None, age_years: float | None = None) -> Norm | None:
        """The norm to compare with: of that sex if there is one, else of both sexes, else the first."""
        return next(iter(self.norms_for(sex, age_years)), None)

    def norms_for(self, sex: Sex | None = None, age_years: float | None = None) -> tuple[Norm, ...]:
        """The norm to compare with, and behind it that of the other sex where the sex is not known and they differ."""
        of_sex = [norm for norm in self.norms if sex is not None and norm.sex == sex]
        of_both = [norm for norm in self.norms if norm.sex == "any"]
        chosen = of_sex[:1] or of_both[:1] or self.norms[:1]
        if chosen and not of_sex and not of_both and sex is None:
            chosen = (*chosen, *[norm for norm in self.norms if norm.sex != chosen[0].sex][:1])
        return tuple(norm.at_age(age_years) for norm in chosen)

    def text(self, value: float) -> str:
        """A value as it is displayed, with its unit.

        >>> shipped_analyses()[0].measurements[0].text(4.24)
        '4.2°'
        """
        return f"{value:.{self.decimals}f}".replace("-", "\u2212") + UNIT_SIGNS[self.unit]


@dataclass(frozen=True, eq=False)
class Analysis:
    """Measurements that belong together.

    Attributes:
        id: such as ``steiner``.
        name: for display.
        about: what it is for and what to know about it.
        source: citation.
        measurements: in their order.
    """

    id: str
    name: str
    about: str
    source: str
    measurements: tuple[Measurement, ...]
