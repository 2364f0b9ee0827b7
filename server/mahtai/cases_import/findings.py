"""What an import finds in a folder: studies whose voxels are read later, and what is left out and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mahtai.volumes.volume import Volume

BRAIN_TUMOUR, CEPHALOMETRY = "brain-tumour", "cephalometry"

Skip = Callable[[str, str], None]
"""Called with what is left out (a path below the folder, or a series) and a reason for the reader."""


@dataclass(frozen=True, eq=False)
class Source:
    """One volume of a study.

    Attributes:
        name: file or series, for the reader.
        load: reads it as Slicer would load it; raises MahtaiError or OSError.
        about: what is to be remembered of its origin, plain JSON.
    """

    name: str
    load: Callable[[], Volume]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Label:
    """A segmentation beside a study.

    Attributes:
        name: file, for the reader.
        read: makes the ``.seg.nrrd`` file of it, given the task; raises MahtaiError or OSError.
    """

    name: str
    read: Callable[[str], bytes]


@dataclass(frozen=True, eq=False)
class Study:
    """What becomes one case.

    Attributes:
        place: where it was found, for the reader.
        task: ``BRAIN_TUMOUR`` or ``CEPHALOMETRY``.
        slots: slot → its volume.
        patient: what the patient is called there.
        folder: names it among others, for display where folder names are no patient data.
        about: of the study as a whole, plain JSON.
        notes: what the reader should know, such as a sequence that is lacking.
        labels: segmentations that lie beside it.
    """

    place: str
    task: str
    slots: Mapping[str, Source]
    patient: str
    folder: str
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()
