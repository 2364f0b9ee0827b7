"""What a request may ask of the pipeline. Pure data, so that the API can check it without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mahtai.errors import MahtaiError

_CHOICES: dict[str, tuple[str, ...]] = {
    "reference": ("auto", "t1c", "t1", "t2", "flair"),
    "register": ("auto", "on", "off"),
    "brain_mask": ("auto", "on", "off"),
    "resample": ("auto", "off"),
    "check_sequences": ("on", "off"),
    "islands": ("drop", "keep"),
    "flips": ("off", "on"),
    "precision": ("auto", "fp32", "bf16"),
}


class OptionError(MahtaiError):
    """An option that the pipeline does not know, or a value that it does not take."""

    kind = "unknown-option"
    title = "Unknown option"
    status = 422


@dataclass(frozen=True)
class Options:
    """How a study is brought into the form that the model was trained on, step by step.

    Attributes:
        reference: the sequence whose grid the result lies on; ``auto`` takes T1c, else T1, FLAIR, T2.
        register: rigid registration to the reference; ``auto`` leaves out skull-stripped volumes on its grid.
        brain_mask: brain extraction; ``auto`` does it where the skull is still on.
        resample: to the model's voxel size; ``off`` feeds the reference grid as it is.
        check_sequences: refuse sequences that look swapped or doubled.
        islands: parts of the whole tumour without any core, apart from the largest part.
        flips: mean over mirrored inputs: eight times slower, a little more accurate.
        precision: of the network on a CPU; ``auto`` takes bf16 where the processor has units for it.
    """

    reference: str = "auto"
    register: str = "auto"
    brain_mask: str = "auto"
    resample: str = "auto"
    check_sequences: str = "on"
    islands: str = "drop"
    flips: str = "off"
    precision: str = "auto"

    def as_json(self) -> dict[str, str]:
        """All options with their values, for the record kept with the result."""
        return asdict(self)


def parse_options(given: Mapping[str, Any]) -> Options:
    """Check a request's options.

    Raises:
        OptionError: naming what is allowed.
    """
    known = {field.name for field in fields(Options)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise OptionError(f"There is no option {', '.join(unknown)}.", f"Known options: {', '.join(sorted(known))}.")
    for name, value in given.items():
        if value not in _CHOICES[name]:
            raise OptionError(
                f"The option {name} cannot be {value!r}.", f"It takes one of: {', '.join(_CHOICES[name])}."
            )
    return Options(**given)
