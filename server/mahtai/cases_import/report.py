"""What an import came to, for the terminal and as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Outcome = Literal["made", "there", "found"]

_EXAMPLES = 3
_WORDS = {"made": "imported", "there": "there before", "found": "would be imported"}


@dataclass
class Entry:
    """One study.

    Attributes:
        place: where it was found.
        outcome: a new case, one that the server had, or (in a dry run) one to come.
        slots: slot → file or series.
        case, number, name, patient, split: the server's; empty in a dry run.
        label: what became of a segmentation beside it; else empty.
    """

    place: str
    outcome: Outcome
    task: str
    slots: dict[str, str]
    notes: list[str] = field(default_factory=list)
    case: str = ""
    number: int | None = None
    name: str = ""
    patient: str = ""
    split: str = ""
    label: str = ""


@dataclass(frozen=True)
class Skipped:
    """Something that was left out."""

    what: str
    reason: str


@dataclass
class Report:
    """Everything that became of a folder.

    Attributes:
        files: that were looked at.
        stopped: why the import ended early; else empty.
    """

    folder: str
    entries: list[Entry] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    seconds: float = 0.0
    stopped: str = ""

    def skip(self, what: str, reason: str) -> None:
        """Note that something was left out."""
        self.skipped.append(Skipped(what, reason))

    def count(self, outcome: Outcome) -> int:
        """Studies of one outcome."""
        return sum(entry.outcome == outcome for entry in self.entries)

    @property
    def summary(self) -> str:
        """One line."""
        counts = [f"{self.count(one)} {_WORDS[one]}" for one in ("made", "there", "found") if self.count(one)]
        return (
            f"{', '.join(counts) or 'No study could be imported'}; {len(self.skipped)} left out; "
            f"{self.files:,} files looked at in {self.seconds:.1f} s."
        )

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "folder": self.folder,
            "imported": self.count("made"),
            "there_before": self.count("there"),
            "files": self.files,
            "seconds": round(self.seconds, 2),
            "stopped": self.stopped,
            "studies": [asdict(entry) for entry in self.entries],
            "skipped": [asdict(one) for one in self.skipped],
            "notes": self.notes,
        }

    def lines(self) -> Iterator[str]:
        """For a terminal: a line a study, then what was left out, by reason."""
        for entry in self.entries:
            yield (
                f"{entry.name or '-':16.40} {_WORDS[entry.outcome]:18}{entry.task:14}"
                f"{' '.join(entry.slots):20} {entry.split:11}{entry.patient:6} {entry.place}"
            )
            for note in [*entry.notes, *filter(None, [entry.label])]:
                yield f"    {note}"
        by_reason: dict[str, list[str]] = defaultdict(list)
        for one in self.skipped:
            by_reason[one.reason].append(one.what)
        for reason, whats in sorted(by_reason.items(), key=lambda item: -len(item[1])):
            more = f" and {len(whats) - _EXAMPLES:,} more" if len(whats) > _EXAMPLES else ""
            yield f"Left out, {reason}: {', '.join(whats[:_EXAMPLES])}{more}"
        yield from self.notes
