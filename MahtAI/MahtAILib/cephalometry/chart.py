"""The rows of the wiggle chart: how far each value lies from its norm, in standard deviations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from MahtAILib.cephalometry.results import Evaluation, Result


@dataclass(frozen=True)
class ChartRow:
    """One line of the chart.

    Attributes:
        id: of the measurement.
        analysis: id of its analysis.
        label: the measurement's name.
        value_text: the value with its unit.
        norm_text: such as ``82.0 ± 2.0°``.
        deviation_sd: of the value.
        low_sd: of the lower end of the 90 % interval; None without one.
        high_sd: of the upper end.
        borderline: see ``Result``.
        result: all about it.
    """

    id: str
    analysis: str
    label: str
    value_text: str
    norm_text: str
    deviation_sd: float
    low_sd: float | None
    high_sd: float | None
    borderline: bool
    result: Result


def chart(evaluation: Evaluation, analysis: str | None = None) -> tuple[ChartRow, ...]:
    """Rows for all results that have a value and a norm with a standard deviation, in their order.

    Args:
        evaluation: as ``evaluate`` gave it.
        analysis: id of the only analysis to be shown; None for all.
    """
    return tuple(
        row for result in evaluation.results if analysis in (None, result.measurement.analysis) for row in _row(result)
    )


def _row(result: Result) -> Iterator[ChartRow]:
    norm = result.norm
    if result.value is None or result.deviation_sd is None or norm is None or norm.mean is None or norm.sd is None:
        return
    measurement = result.measurement
    yield ChartRow(
        measurement.id,
        measurement.analysis,
        measurement.name,
        result.text,
        f"{norm.mean:.{measurement.decimals}f} ± {measurement.text(norm.sd)}".replace("-", "\u2212"),
        result.deviation_sd,
        None if result.low is None else (result.low - norm.mean) / norm.sd,
        None if result.high is None else (result.high - norm.mean) / norm.sd,
        result.borderline,
        result,
    )
