"""Landmarks and measurements as a table for a spreadsheet (CSV)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from MahtAILib.cephalometry import Analysis, Evaluation, Norm
from MahtAILib.client.markups import LandmarkFile


def table_csv(
    file: LandmarkFile, evaluation: Evaluation, plane_points: Mapping[str, Sequence[Any]], analyses: Sequence[Analysis]
) -> str:
    """Both tables below each other, with what holds for them at the top; numbers with a point.

    Args:
        plane_points: landmark id → (x, y) in units of the image.
    """
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\r\n")
    scale = "not calibrated: angles and ratios only" if file.mm_per_unit is None else f"{file.mm_per_unit:.6g}"
    out.writerow(["millimetres per unit", scale])
    for name in ("Model", "Status"):
        if file.provenance.get(name):
            out.writerow([name.lower(), file.provenance[name]])
    if file.indeterminate:
        out.writerow(["indeterminate", file.indeterminate])
    out.writerow([])
    out.writerow(
        ["landmark", "name", "x (units)", "y (units)", "state", "confidence", "90 % radius (units)", "doubtful because"]
    )
    for point in file.points:
        x, y = (f"{float(value):.3f}" for value in plane_points[point.id]) if point.id in plane_points else ("", "")
        out.writerow(
            [point.id, point.name, x, y, point.state, _number(point.confidence), _number(point.radius), point.flag]
        )
    out.writerow([])
    heading = ["analysis", "measurement", "value", "unit", "90 % from", "90 % to", "norm", "deviation (SD)", "class"]
    out.writerow([*heading, "missing landmarks", "note"])
    names = {one.id: one.name for one in analyses}
    for result in evaluation.results:
        measurement = result.measurement
        out.writerow(
            [
                names.get(measurement.analysis, measurement.analysis),
                measurement.name,
                _number(result.value),
                measurement.unit,
                _number(result.low),
                _number(result.high),
                norm_words(result.norm, measurement.decimals),
                _number(result.deviation_sd),
                "" if file.indeterminate else result.classification or "",
                " ".join(result.missing),
                result.note,
            ]
        )
    return text.getvalue()


def norm_words(norm: Norm | None, decimals: int = 1) -> str:
    """Such as ``82.0 ± 2.0`` or ``3.2 to 5.7``; empty without a norm."""
    if norm is None:
        return ""
    words = ""
    if norm.mean is not None:
        words = f"{norm.mean:.{decimals}f}" + ("" if norm.sd is None else f" ± {norm.sd:.{decimals}f}")
    elif norm.low is not None and norm.high is not None:
        words = f"{norm.low:.{decimals}f} to {norm.high:.{decimals}f}"
    return words.replace("-", "−")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
