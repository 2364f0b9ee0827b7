"""What readers think of the models: counted by version of the model, from what they saved and reviewed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from mahtai.db.engine import Database
from mahtai.db.tables import LabelVersionRow, ReviewRow


@dataclass(frozen=True)
class Feedback:
    """Of one version of a model.

    Attributes:
        versions: label versions that were made from its proposals.
        agree, disagree: what their authors said. review_agree, review_disagree: what reviewers said.
        mean_dice: segment → Dice of the proposal against the first version that was made of it.
        mean_distance: landmark → radial distance likewise, in mm; uncalibrated images are left out.
    """

    model: str
    version: str
    sha256: str
    versions: int
    agree: int
    disagree: int
    review_agree: int
    review_disagree: int
    mean_dice: Mapping[str, float] = field(default_factory=dict)
    mean_distance: Mapping[str, float] = field(default_factory=dict)


def feedback(database: Database) -> list[Feedback]:
    """Of all models that somebody saved a label of, by id and version."""
    with database.read() as session:
        rows = session.scalars(select(LabelVersionRow).where(LabelVersionRow.model_sha256.is_not(None))).all()
        of_version = {row.id: row for row in rows}
        reviews = session.execute(
            select(ReviewRow.version, ReviewRow.ai_verdict).where(ReviewRow.ai_verdict.is_not(None))
        )
        said: dict[str, list[str]] = defaultdict(list)
        for version, verdict in reviews:
            if version in of_version:
                said[str(of_version[version].model_sha256)].append(str(verdict))
    models: dict[str, list[LabelVersionRow]] = defaultdict(list)
    for row in rows:
        models[str(row.model_sha256)].append(row)
    found = [_summed_up(sha256, rows, said[sha256]) for sha256, rows in models.items()]
    return sorted(found, key=lambda each: (each.model, each.version, each.sha256))


def _summed_up(sha256: str, rows: list[LabelVersionRow], reviewers: list[str]) -> Feedback:
    first_of: dict[str | None, LabelVersionRow] = {}
    for row in sorted(rows, key=lambda each: each.number):
        first_of.setdefault(row.inference_id, row)
    firsts = [row.against_proposal for row in first_of.values() if row.against_proposal is not None]
    verdicts = [row.verdict for row in rows]
    return Feedback(
        model=str(rows[0].model),
        version=str(rows[0].model_version),
        sha256=sha256,
        versions=len(rows),
        agree=verdicts.count("agree"),
        disagree=verdicts.count("disagree"),
        review_agree=reviewers.count("agree"),
        review_disagree=reviewers.count("disagree"),
        mean_dice=_means(each["dice"] for each in firsts if "dice" in each),
        mean_distance=_means(each["distance"] for each in firsts if each.get("unit") == "mm"),
    )


def _means(values: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    collected: dict[str, list[float]] = defaultdict(list)
    for one in values:
        for part, value in one.items():
            collected[part].append(float(value))
    return {part: round(sum(each) / len(each), 4) for part, each in sorted(collected.items())}
