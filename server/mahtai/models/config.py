"""Bundle configuration files as data: ``@references`` are followed, ``$expressions`` are never run.

MONAI evaluates strings that begin with ``$`` as Python. Reading a stranger's bundle must not, so
whatever MahtAI needs from a configuration has to be plain data once its references are followed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from mahtai.errors import MahtaiError

LARGEST_CONFIG_BYTES = 8 << 20
DEEPEST_NESTING = 64
MOST_VALUES = 20_000

_SEPARATORS = re.compile(r"::|#")


class BundleError(MahtaiError):
    """A model folder that cannot be read or whose parts do not fit together."""

    kind = "bundle"
    title = "The model cannot be used"
    status = 422


class Expression(BundleError):
    """Data was needed where the configuration has code; the code was not run."""


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON or YAML file that holds one mapping.

    Raises:
        BundleError: unreadable, too large, not valid, or not a mapping.
    """
    try:
        if path.stat().st_size > LARGEST_CONFIG_BYTES:
            raise BundleError(f"{path.name} is larger than any model description.", "Get the model again.")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{path.name} of the model {path.parent.parent.name} cannot be read: {error}.", "Get the model again."
        ) from error
    try:
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:  # a number of 5,000 digits is no JSONDecodeError
        raise BundleError(
            f"{path.name} of the model {path.parent.parent.name} is damaged: {error}.", "Get the model again."
        ) from error
    if not isinstance(content, dict):
        raise BundleError(f"{path.name} does not hold a description by names.", "Get the model again.")
    return content


def look_up(config: dict[str, Any], path: str) -> Any:
    """The raw value at ``a::b::0``.

    Raises:
        KeyError: there is nothing at that path.
    """
    value: Any = config
    for step in _SEPARATORS.split(path):
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            raise KeyError(path)
    return value


def resolve(config: dict[str, Any], path: str) -> Any:
    """The value at ``path`` as plain data: every ``@reference`` below it replaced by what it names.

    Raises:
        KeyError: there is nothing at ``path``.
        Expression: an expression or a macro would have to be evaluated.
        BundleError: a reference leads nowhere or in a circle.
    """
    return _Walk(config).resolved(look_up(config, path), path, ())


def resolve_or_none(config: dict[str, Any], path: str) -> Any:
    """As ``resolve``, for values that MahtAI can do without: None where there is none as plain data."""
    try:
        return resolve(config, path)
    except (KeyError, Expression):
        return None


class _Walk:
    """One resolution; it counts its steps, because references to references can multiply without end."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.steps = 0

    def resolved(self, value: Any, place: str, trail: tuple[str, ...]) -> Any:
        self.steps += 1
        if self.steps > MOST_VALUES or place.count("::") > DEEPEST_NESTING:
            raise BundleError(f"The configuration has no end at {place[:80]}.", "Get the model again.")
        if isinstance(value, dict):
            return {key: self.resolved(item, f"{place}::{key}", trail) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolved(item, f"{place}::{index}", trail) for index, item in enumerate(value)]
        if not isinstance(value, str) or value[:1] not in ("$", "@", "%"):
            return value
        if value[0] in "$%":
            kind = "an expression" if value[0] == "$" else "a macro"
            raise Expression(
                f"{place} holds {kind} ({value[:80]!r}) where plain values are needed. It was refused and not run.",
                "Write the values themselves into configs/inference.json.",
            )
        return self._followed(value, place, trail)

    def _followed(self, reference: str, place: str, trail: tuple[str, ...]) -> Any:
        target = reference[1:]
        if target in trail:
            raise BundleError(
                f"The reference {reference} at {place} leads in a circle.", "Correct configs/inference.json."
            )
        try:
            found = look_up(self.config, target)
        except KeyError as error:
            raise BundleError(
                f"{place} refers to {reference}, which the configuration does not have.",
                "Correct configs/inference.json.",
            ) from error
        return self.resolved(found, place, (*trail, target))
