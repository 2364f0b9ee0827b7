"""Analyses read from JSON files: those that come along, and a reader's own from a folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from MahtAILib.cephalometry.classes import read_classes
from MahtAILib.cephalometry.errors import AnalysisFileError
from MahtAILib.cephalometry.formula import FormulaError, read_formula
from MahtAILib.cephalometry.landmarks import landmark
from MahtAILib.cephalometry.measurements import Analysis, Measurement, Norm
from MahtAILib.cephalometry.schema import complaints

DATA_FOLDER = Path(__file__).with_name("data")
SCHEMA_FILE = DATA_FOLDER / "analysis.schema.json"
SHIPPED = ("isbi", "steiner", "downs", "tweed", "jarabak", "mcnamara", "ricketts", "wits")
"""Files in the data folder, in the order in which they are shown."""

NOT_STATED = "not stated"

_GROWTH_YEARS = (5.0, 18.0)
"""Where a norm that changes with age does not say so: the ages between which the change is followed."""


@cache
def shipped_analyses() -> tuple[Analysis, ...]:
    """ISBI 2015, Steiner, Downs, Tweed, Jarabak/Björk, McNamara, Ricketts and Wits."""
    return tuple(read_analysis(DATA_FOLDER / f"{name}.json") for name in SHIPPED)


def load_analyses(folder: Path) -> tuple[Analysis, ...]:
    """A reader's own analyses: all ``*.json`` files in a folder, in the order of the file names.

    Raises:
        AnalysisFileError: a file cannot be used; says which, which measurement, and what is wrong with it.
    """
    taken = {analysis.id: "an analysis that comes along" for analysis in shipped_analyses()}
    analyses = []
    for path in sorted(Path(folder).glob("*.json")):
        analysis = read_analysis(path)
        if analysis.id in taken:
            raise _wrong(path, f"The id “{analysis.id}” is that of {taken[analysis.id]}.", "Choose another.")
        taken[analysis.id] = path.name
        analyses.append(analysis)
    return tuple(analyses)


def read_analysis(path: Path) -> Analysis:
    """One analysis.

    Raises:
        AnalysisFileError: the file cannot be used.
    """
    document = _read(path)
    wrong = next(complaints(document, _schema()), None)
    if wrong:
        raise _wrong(path, wrong, "The file analysis.schema.json describes what may stand there.")
    defaults = {"source": document["source"], **document.get("norm_defaults", {})}
    counted = Counter(one["id"] for one in document["measurements"])
    twice = [name for name, count in counted.items() if count > 1]
    if twice:
        raise _wrong(path, f"There are two measurements with the id “{twice[0]}”.", "Give each its own.")
    try:
        measurements = tuple(_measurement(one, document["id"], defaults) for one in document["measurements"])
    except ValueError as error:
        raise _wrong(path, str(error)) from error
    return Analysis(document["id"], document["name"], document.get("about", ""), document["source"], measurements)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise _wrong(path, "It cannot be read.", f"({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise _wrong(
            path, f"It is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise _wrong(path, "It is not a JSON file.") from error


@cache
def _schema() -> Any:
    return json.loads(SCHEMA_FILE.read_text("utf-8"))


def _wrong(path: Path, reason: str, hint: str = "") -> AnalysisFileError:
    return AnalysisFileError(f"The measurements in {path.name} cannot be used. {reason}", hint)


def _measurement(document: Mapping[str, Any], analysis: str, defaults: Mapping[str, Any]) -> Measurement:
    """A measurement whose form is right already.

    Raises:
        ValueError: what it says cannot be meant.
    """
    where = f"Measurement “{document['id']}”: "
    try:
        formula = read_formula(document["formula"])
        _ = formula.length_power
    except FormulaError as error:
        raise ValueError(f"{where}the formula “{document['formula']}” cannot be read: {error}.") from error
    unknown = [point for point in formula.points if landmark(point) is None]
    if unknown:
        raise ValueError(f"{where}the formula names “{unknown[0]}”, and no landmark has that name.")
    if formula.length_power != (1 if document["unit"] == "mm" else 0):
        gives = "a length" if formula.length_power == 1 else "no length"
        raise ValueError(f"{where}the unit is {document['unit']}, and the formula gives {gives}.")
    words = document.get("words")
    return Measurement(
        id=f"{analysis}.{document['id']}",
        name=document["name"],
        definition=document["definition"],
        formula=formula,
        unit=document["unit"],
        sign=document.get("sign", ""),
        analysis=analysis,
        points=formula.points,
        norms=tuple(_norm({**defaults, **one}, document["unit"], where) for one in document.get("norms", ())),
        classes=read_classes(document.get("classes", ()), where),
        published_as=document.get("published_as", ""),
        remark=document.get("remark", ""),
        **({"words": tuple(words)} if words else {}),
    )


def _norm(document: Mapping[str, Any], unit: str, where: str) -> Norm:
    """A norm whose form is right already, in true millimetres.

    Raises:
        ValueError: what it says cannot be meant.
    """
    mean, sd = document.get("mean"), document.get("sd")
    low, high = document.get("low"), document.get("high")
    first, last = document.get("from_years"), document.get("to_years")
    if mean is None and (low is None or high is None):
        raise ValueError(f"{where}a norm needs a mean, or low and high.")
    if (low is None) != (high is None) or (low is not None and low >= high):
        raise ValueError(f"{where}low and high of a norm belong together, and low is the smaller one.")
    if document.get("per_year") and document.get("age_years") is None:
        raise ValueError(f"{where}a norm with per_year needs age_years, the age that the mean holds for.")
    if first is not None and last is not None and first > last:
        raise ValueError(f"{where}from_years of a norm is above its to_years.")
    if unit != "mm" and "enlargement" in document:
        raise ValueError(f"{where}enlargement is for norms in mm.")
    compared = document.get("compared", True)
    if mean is not None and sd is not None and low is None and compared:
        low, high = mean - sd, mean + sd
    if document.get("per_year"):
        first = _GROWTH_YEARS[0] if first is None else first
    enlargement = document.get("enlargement", 1.0)
    true_mean, true_sd, true_low, true_high = (
        None if one is None else one / enlargement for one in (mean, sd, low, high)
    )
    return Norm(
        true_mean,
        true_sd,
        true_low,
        true_high,
        sex=document.get("sex", "any"),
        age=document.get("age", NOT_STATED),
        population=document.get("population", NOT_STATED),
        source=document["source"] + _published(mean, sd, enlargement),
        age_years=document.get("age_years"),
        per_year=document.get("per_year", 0.0),
        grown_years=document.get("grown_years", _GROWTH_YEARS[1] if document.get("per_year") else None),
        from_years=first,
        to_years=last,
        enlargement=enlargement,
        compared=compared,
        remark=document.get("remark", ""),
    )


def _published(mean: float | None, sd: float | None, enlargement: float) -> str:
    """What stands in the source, where that is not what values are compared with."""
    if enlargement == 1.0 or mean is None:
        return ""
    words = f"{mean:g}" if sd is None else f"{mean:g} ± {sd:g}"
    return f". Published as {words} mm on films enlarged by {100 * (enlargement - 1):.3g} %; here in true millimetres"
