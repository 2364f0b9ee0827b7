"""NRRD headers made by hand."""

from __future__ import annotations

DATA = bytes(range(48))
"""2×3×4 voxels of int16."""


def header(**changes: str | None) -> bytes:
    """A header for 2×3×4 int16 voxels with some lines replaced or (None) left out."""
    lines: dict[str, str | None] = {
        "type": "short",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": "2 3 4",
        "space directions": "(1,0,0) (0,1,0) (0,0,1)",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(0,0,0)",
    }
    lines |= {name.replace("_", " "): value for name, value in changes.items()}
    text = "NRRD0004\n" + "".join(f"{name}: {value}\n" for name, value in lines.items() if value is not None)
    return text.encode() + b"\n"
