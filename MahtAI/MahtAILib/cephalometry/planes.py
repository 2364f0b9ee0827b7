"""Reference lines, drawn a little beyond their points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from MahtAILib.cephalometry.drawing import Plane
from MahtAILib.cephalometry.head import Head

_LABEL_MM = 4.5


@dataclass(frozen=True)
class _Line:
    """A line to be drawn.

    Attributes:
        id: of the plane.
        name: for display.
        label: short.
        start: landmark ids whose middle is the one end.
        end: likewise, the other.
        before_mm: how far it is drawn beyond the start.
        after_mm: how far it is drawn beyond the end, where the label stands.
        usual: belongs to a plain tracing.
    """

    id: str
    name: str
    label: str
    start: tuple[str, ...]
    end: tuple[str, ...]
    before_mm: float = 6.0
    after_mm: float = 6.0
    usual: bool = False


_LINES = (
    _Line("sn", "Sella–nasion", "SN", ("S",), ("N",), 8, 12, usual=True),
    _Line("fh", "Frankfort horizontal", "FH", ("Po",), ("Or",), 8, 30, usual=True),
    _Line("palatal", "Palatal plane", "PP", ("ANS",), ("PNS",), 8, 14, usual=True),
    _Line("occlusal", "Occlusal plane", "OP", ("U1", "L1"), ("U6", "L6"), 8, 16, usual=True),
    _Line("mandibular", "Mandibular plane", "MP", ("Me",), ("Go",), 10, 12, usual=True),
    _Line("na", "N–A", "NA", ("N",), ("A",), 0, 42, usual=True),
    _Line("nb", "N–B", "NB", ("N",), ("B",), 0, 30, usual=True),
    _Line("facial", "Facial plane", "NPog", ("N",), ("Pog",), 0, 14),
    _Line("apog", "A–Pog", "APog", ("A",), ("Pog",), 8, 18),
    _Line("ab", "A–B", "AB", ("B",), ("A",), 12, 12),
    _Line("gogn", "Mandibular plane of Steiner", "GoGn", ("Gn",), ("Go",), 10, 18),
    _Line("y_axis", "Y axis", "Y", ("S",), ("Gn",), 0, 10),
    _Line("s_ar", "Posterior cranial base", "SAr", ("S",), ("Ar",), 0, 8),
    _Line("ramus", "Ramus", "RP", ("Ar",), ("Go",), 8, 10),
    _Line("ba_n", "Basion–nasion", "BaN", ("N",), ("Ba",), 8, 8),
    _Line("facial_axis", "Facial axis", "FX", ("Pt",), ("Gn",), 6, 12),
    _Line("esthetic", "Esthetic line", "E", ("Prn",), ("Pog'",), 8, 10, usual=True),
    _Line("u1", "Axis of the upper incisor", "U1", ("U1",), ("U1A",), 8, 12, usual=True),
    _Line("l1", "Axis of the lower incisor", "L1", ("L1",), ("L1A",), 8, 12, usual=True),
)


def planes(head: Head) -> Iterator[Plane]:
    """All lines whose points are there and do not coincide."""
    for line in _LINES:
        if not head.has(*line.start, *line.end):
            continue
        start = sum((head[one] for one in line.start), 0j) / len(line.start)
        end = sum((head[one] for one in line.end), 0j) / len(line.end)
        if abs(end - start) <= head.shortest:
            continue
        along = (end - start) / abs(end - start) * head.mm
        yield Plane(
            line.id,
            line.name,
            line.label,
            (*line.start, *line.end),
            _xy(start - along * line.before_mm),
            _xy(end + along * line.after_mm),
            _xy(end + along * (line.after_mm + _LABEL_MM)),
            line.usual,
        )


def _xy(position: complex) -> tuple[float, float]:
    return position.real, position.imag
