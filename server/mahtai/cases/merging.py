"""Two versions side by side: what differs between them, and one made of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mahtai.cases.intake import Intake
from mahtai.cases.label_kind import LabelError
from mahtai.cases.label_origin import KINDS
from mahtai.cases.label_version import LabelDraft, LabelVersion
from mahtai.cases.labels import Labels
from mahtai.cases.person import Person

Side = Literal["first", "second"]


@dataclass(frozen=True)
class Difference:
    """Two versions of a case and how ``second`` differs from ``first``.

    Attributes:
        change: a ``Comparison`` or a ``PointComparison``.
    """

    first: LabelVersion
    second: LabelVersion
    change: Any


class Merging:
    """Compares and merges label versions."""

    def __init__(self, labels: Labels, intake: Intake) -> None:
        self._labels = labels
        self._intake = intake

    def compare(self, case_id: str, first: str, second: str) -> Difference:
        """How two versions of a case differ.

        Raises:
            UnknownCase, UnknownVersion, UnknownBlob: one is not there.
            LabelError: they are of different kinds.
        """
        here, ours, _ = self._labels.read(case_id, first)
        there, theirs, _ = self._labels.read(case_id, second)
        _require_same_kind(here, there)
        kind = KINDS[here.kind]
        return Difference(here, there, kind.comparison_of(kind.compare(theirs, ours)))

    def merge(
        self,
        case_id: str,
        first: str,
        second: str,
        take: Mapping[str, Side],
        person: Person,
        comment: str = "",
        client_key: str | None = None,
    ) -> tuple[LabelVersion, bool]:
        """Save a version of two others: each segment or landmark from the one that ``take`` names, else from ``first``.

        Raises:
            UnknownCase, UnknownVersion, UnknownBlob: one is not there.
            LabelError: they are of different kinds, or have no such part.
            StorageFull, DatabaseUnavailable: nothing was saved.
        """
        here, ours, _ = self._labels.read(case_id, first)
        there, theirs, _ = self._labels.read(case_id, second)
        _require_same_kind(here, there)
        unknown = sorted(set(take) - {*here.parts, *there.parts})
        if unknown:
            raise LabelError(
                f"Neither version has {', '.join(part[:50] for part in unknown[:5])}. Nothing was saved.",
                f"They have: {', '.join(sorted({*here.parts, *there.parts}))}.",
            )
        chosen = frozenset(part for part, side in take.items() if side == "second")
        content = self._intake.take_bytes(KINDS[here.kind].merge(ours, theirs, chosen))
        draft = LabelDraft(
            kind=here.kind,
            content=content,
            author=person.name,
            role=person.role,
            parent=first,
            merges=second,
            client_key=client_key,
            inference=here.inference,
            comment=comment,
        )
        return self._labels.add(case_id, draft)


def _require_same_kind(first: LabelVersion, second: LabelVersion) -> None:
    if first.kind != second.kind:
        raise LabelError(
            "One of the versions is a segmentation and the other a list of landmarks.", "Choose two of a kind."
        )
