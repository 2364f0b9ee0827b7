"""What was done, by keyword and without a value: for the file beside the result, and for the terminal."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

from mahtai import __version__
from mahtai.deidentification.profile import EDITION, Option, table

NAME = "deidentification-report"


@dataclass
class Report:
    """Of one run.

    Attributes:
        refused: SHA-256 of a file (which names nobody) → why it was put aside.
        done: (keyword, what was done) → how often.
    """

    options: Set[Option]
    files: int = 0
    made: int = 0
    there: int = 0
    not_dicom: int = 0
    defaced: int = 0
    may_show_faces: int = 0
    interrupted: bool = False
    refused: dict[str, str] = field(default_factory=dict)
    done: Counter[tuple[str, str]] = field(default_factory=Counter)

    def write(self, folder: Path) -> None:
        """As JSON and CSV, beside reports of former runs."""
        number = 1
        while any((folder / f"{NAME}-{number}.{ending}").exists() for ending in ("json", "csv")):
            number += 1
        (folder / f"{NAME}-{number}.json").write_text(json.dumps(self._document(), indent=1) + "\n", "utf-8")
        (folder / f"{NAME}-{number}.csv").write_text(self._rows(), "utf-8")

    def _document(self) -> dict[str, object]:
        return {
            "program": f"MahtAI {__version__}",
            "profile": f"DICOM PS3.15 Annex E, {EDITION}, {len(table())} attributes",
            "options": sorted(option.label for option in self.options),
            "files": self.files,
            "made": self.made,
            "there_already": self.there,
            "not_dicom": self.not_dicom,
            "defaced": self.defaced,
            "may_show_faces": self.may_show_faces,
            "interrupted": self.interrupted,
            "refused": [{"sha256": name, "reason": reason} for name, reason in self.refused.items()],
            "attributes": [
                {"keyword": keyword, "action": action, "times": times}
                for (keyword, action), times in sorted(self.done.items())
            ],
        }

    def _rows(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["keyword", "action", "times"])
        writer.writerows((keyword, action, times) for (keyword, action), times in sorted(self.done.items()))
        return text.getvalue()
