"""What a request may ask of the pipelines. Pure data, so that the API can check it without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from mahtai.errors import MahtaiError
from mahtai.models.bundle_base import Kind

Choices = Mapping[str, tuple[str, ...]]
"""Option → its possible values; the first one is the default."""

_PRECISIONS = ("auto", "fp32", "bf16")
_SEGMENTATION: Choices = {
    "reference": ("auto", "t1c", "t1", "t2", "flair"),
    "register": ("auto", "on", "off"),
    "brain_mask": ("auto", "on", "off"),
    "resample": ("auto", "off"),
    "check_sequences": ("on", "off"),
    "islands": ("drop", "keep"),
    "flips": ("off", "on"),
    "precision": _PRECISIONS,
}
_LANDMARKS: Choices = {
    "mm_per_unit": ("auto", "unknown"),
    "orientation": ("auto", "as shown"),
    "precision": _PRECISIONS,
}
_NUMBERS = ("mm_per_unit",)
"""Options that also take a positive number."""


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


@dataclass(frozen=True)
class LandmarkOptions:
    """How a cephalogram is looked at.

    Attributes:
        mm_per_unit: true millimetres a unit of the image's physical space, as a number in words; ``auto`` takes what
            the file says, if it can be believed; ``unknown`` leaves the image uncalibrated.
        orientation: ``auto`` finds out how the image is turned and mirrored; ``as shown`` takes it as upright.
        precision: of the network on a CPU; ``auto`` takes bf16 where the processor has units for it.
    """

    mm_per_unit: str = "auto"
    orientation: str = "auto"
    precision: str = "auto"

    def as_json(self) -> dict[str, str]:
        """All options with their values, for the record kept with the result."""
        return asdict(self)


def parse_options(given: Mapping[str, Any]) -> Options:
    """Check a request for a segmentation.

    Raises:
        OptionError: naming what is allowed.
    """
    return _parsed(Options, _SEGMENTATION, given)


def parse_landmark_options(given: Mapping[str, Any]) -> LandmarkOptions:
    """Check a request for landmarks.

    Raises:
        OptionError: naming what is allowed.
    """
    return _parsed(LandmarkOptions, _LANDMARKS, given)


def parse_options_of(kind: Kind, given: Mapping[str, Any]) -> Options | LandmarkOptions:
    """Check a request to a model of this kind.

    Raises:
        OptionError: naming what is allowed.
    """
    return parse_landmark_options(given) if kind == "landmarks" else parse_options(given)


T = TypeVar("T")


def _parsed(options: type[T], choices: Choices, given: Mapping[str, Any]) -> T:
    known = {field.name for field in fields(options)}  # type: ignore[arg-type]  # a dataclass
    unknown = sorted(set(given) - known)
    if unknown:
        raise OptionError(f"There is no option {', '.join(unknown)}.", f"Known options: {', '.join(sorted(known))}.")
    return options(**{name: _value(name, value, choices[name]) for name, value in given.items()})


def _value(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in choices:
        return value
    takes_number = name in _NUMBERS
    if takes_number and isinstance(value, str | int | float) and not isinstance(value, bool):
        number = _positive(value)
        if number is not None:
            return repr(number)
    takes = f"It takes {'a positive number or ' if takes_number else ''}one of: {', '.join(choices)}."
    raise OptionError(f"The option {name} cannot be {value!r}.", takes)


def _positive(value: str | float) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 < number < math.inf else None
