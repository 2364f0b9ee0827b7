"""Rows of label versions as clients see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mahtai.cases.case_rows import is_held
from mahtai.cases.label_origin import KINDS
from mahtai.cases.label_version import LabelVersion, Verdict, VersionReview, Versions
from mahtai.db.blobs import find_blobs
from mahtai.db.clock import moment
from mahtai.db.tables import CaseRow, LabelVersionRow, ReviewRow
from mahtai.models.bundle_base import Kind


def view(session: Session, case: CaseRow, row: LabelVersionRow) -> LabelVersion:
    """One version."""
    return views(session, case, [row])[0]


def views(session: Session, case: CaseRow, rows: Sequence[LabelVersionRow]) -> Versions:
    """Versions of one case; a handful of queries, however many there are."""
    blobs = find_blobs(session, {row.content for row in rows})
    reviews = _last_reviews(session, [row.id for row in rows])
    holder = case.holder if is_held(case, moment(session)) else None
    sizes = {sha256: blob.bytes for sha256, blob in blobs.items()}
    return [_view(row, case.task, sizes.get(row.content, 0), reviews.get(row.id), holder) for row in rows]


def _view(row: LabelVersionRow, task: str, size: int, review: VersionReview | None, holder: str | None) -> LabelVersion:
    kind = KINDS[cast(Kind, row.kind)]
    return LabelVersion(
        id=row.id,
        case=row.case_id,
        number=row.number,
        kind=cast(Kind, row.kind),
        content=row.content,
        bytes=size,
        author=row.author,
        role=row.role,
        created_at=row.created_at,
        parent=row.parent_id,
        sibling_of=row.sibling_of,
        restores=row.restores_id,
        merges=row.merges_id,
        inference=row.inference_id,
        model=row.model,
        model_version=row.model_version,
        model_sha256=row.model_sha256,
        seconds_of_work=row.seconds_of_work,
        verdict=cast("Verdict | None", row.verdict),
        comment=row.comment,
        tools=row.tools,
        parts={part: kind.part_of(held) for part, held in row.parts.items()},
        against_proposal=None if row.against_proposal is None else kind.comparison_of(row.against_proposal),
        against_parent=None if row.against_parent is None else kind.comparison_of(row.against_parent),
        review=review,
        unknown_parts=_unknown(row.parts, kind.known_parts(task)),
        held_by=None if holder == row.author else holder,
    )


def _unknown(parts: Mapping[str, Any], known: frozenset[str] | None) -> list[str]:
    return [] if known is None else [str(held["name"]) for part, held in parts.items() if part not in known]


def _last_reviews(session: Session, ids: Sequence[str]) -> dict[str, VersionReview]:
    newest = select(func.max(ReviewRow.number)).where(ReviewRow.version.in_(ids)).group_by(ReviewRow.version)
    return {
        row.version: VersionReview(
            cast(Any, row.verdict),
            row.reviewer,
            row.role,
            row.comment,
            cast("Verdict | None", row.ai_verdict),
            row.created_at,
        )
        for row in session.scalars(select(ReviewRow).where(ReviewRow.number.in_(newest)))
    }
