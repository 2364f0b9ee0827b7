"""Measurements as JSON: what a server answers and what is exported."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from MahtAILib.cephalometry.results import Evaluation, Result


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as plain dicts, lists, strings and numbers; never NaN.

    Returns:
        ``{"facing", "mm_per_unit", "notes", "analyses": [{"id", "name", "about", "source"}],
        "measurements": [{"id", "name", "analysis", "unit", "definition", "formula", "sign", "points", "published_as",
        "value", "low", "high", "missing", "needs_calibration", "norm": {...} | None, "deviation_sd",
        "classification", "borderline", "possible_classes", "note"}]}``
    """
    return {
        "facing": evaluation.facing,
        "mm_per_unit": evaluation.mm_per_unit,
        "notes": list(evaluation.notes),
        "analyses": [
            {"id": one.id, "name": one.name, "about": one.about, "source": one.source} for one in evaluation.analyses
        ],
        "measurements": [_result(result) for result in evaluation.results],
    }


def _result(result: Result) -> dict[str, Any]:
    measurement = result.measurement
    return {
        "id": measurement.id,
        "name": measurement.name,
        "published_as": measurement.published_as,
        "analysis": measurement.analysis,
        "unit": measurement.unit,
        "definition": measurement.definition,
        "formula": measurement.formula.text,
        "sign": measurement.sign,
        "points": list(measurement.points),
        "value": result.value,
        "low": result.low,
        "high": result.high,
        "missing": list(result.missing),
        "needs_calibration": result.needs_calibration,
        "norm": asdict(result.norm) if result.norm else None,
        "deviation_sd": result.deviation_sd,
        "classification": result.classification,
        "borderline": result.borderline,
        "possible_classes": list(result.possible_classes),
        "note": result.note,
    }
