"""What the engine is given, what it gives back, and the ways in which it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mahtai.errors import MahtaiError
from mahtai.security.at_rest.keys import GivenKeys, Keys
from mahtai.security.at_rest.sealed_files import needed_keys

DEVICE_LOST = "device-lost"
"""Kind of the failure where the graphics card failed or has gone."""


class EngineFailure(MahtaiError):
    """A job that the engine could not finish; ``kind`` tells the cause apart."""

    title = "The engine could not finish"
    status = 500

    def __init__(self, kind: str, reason: str, hint: str) -> None:
        super().__init__(reason, hint)
        self.kind = kind  # type: ignore[misc]  # told by the engine process, not known to the class


class JobCancelled(Exception):
    """The job was stopped because its owner wished so."""


@dataclass(frozen=True)
class Work:
    """One inference, or one correction of its result, in plain types.

    Attributes:
        job: a name of its own.
        output_folder: where the files of the result go.
        anew: do all of it again, though part of it may be in memory.
        region: file with the labels and strokes of a region to correct; None for an inference.
        keys: with which the inputs are decrypted and the results encrypted; None where the server has none.
    """

    job: str
    model_folder: Path
    inputs: Mapping[str, Path]
    options: Mapping[str, Any]
    output_folder: Path
    anew: bool = False
    region: Path | None = None
    keys: Keys | None = field(default=None, repr=False)

    def request(self, **machine: Any) -> dict[str, Any]:
        """See ``mahtai.inference.service.InferenceRequest`` and ``CorrectionRequest``.

        Args:
            machine: see ``Settings.machine``.
        """
        inference = {
            "model_folder": str(self.model_folder),
            "inputs": {channel: str(path) for channel, path in self.inputs.items()},
            "options": dict(self.options),
            "output_folder": str(self.output_folder),
            "anew": self.anew,
            "keys": self._given_keys(),
            **machine,
        }
        return inference if self.region is None else {"inference": inference, "region": str(self.region)}

    def _given_keys(self) -> dict[str, Any] | None:
        """No more than this work needs: the engine never has the keyring. They go through a pipe, never to a file."""
        if self.keys is None:
            return None
        name, key = self.keys.current()
        known = {other: self.keys.key(other) for other in needed_keys(list(self.inputs.values()))}
        return GivenKeys(name, {**known, name: key}).as_json()


@dataclass(frozen=True)
class EngineOutput:
    """Files by name and the summary."""

    files: dict[str, Path]
    summary: dict[str, Any]


def death(code: int) -> EngineFailure:
    """What to tell of a process that ended in the middle of a job."""
    hint = (
        "Run it again; the engine has been started afresh. If it happens again, close other programs on the "
        "server's computer or ask for a machine with more memory."
    )
    if code in (-9, 137):
        return EngineFailure(
            "engine-stopped",
            "The engine was ended by the system while it worked on this study, most likely because memory ran out. "
            "The study itself is safe.",
            hint,
        )
    return EngineFailure(
        "engine-stopped",
        f"The engine stopped in the middle of this study (exit code {code}), perhaps because memory ran out. "
        "The study itself is safe.",
        hint,
    )
