"""``mahtai segment``: one study from files to files, without a server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mahtai.in_process import OutputError, find_bundle, inference

__all__ = ["OutputError", "segment_files"]


def segment_files(
    sequences: Mapping[str, Path], output: Path, model: str, device: str, options: Mapping[str, str]
) -> dict[str, Any]:
    """Segment the volumes in ``sequences`` (channel id → file) and write ``output`` (.seg.nrrd).

    The confidence map is written beside it as ``<name>.confidence.nrrd``.

    Returns:
        The summary: volumes, confidence, warnings, steps, timings.

    Raises:
        MahtaiError: a volume, the model, an option or the output cannot be used.
    """
    if not output.name.endswith(".seg.nrrd"):
        raise OutputError(f"{output.name} does not end in .seg.nrrd.", "Slicer knows a segmentation by that ending.")
    bundle = find_bundle(model)
    if bundle.kind != "segmentation":
        raise OutputError(f"The model {bundle.id} places landmarks; it does not segment.", "Use `mahtai landmarks`.")
    with inference(sequences, bundle, device, options, output) as found:
        os.replace(found.files["confidence"], output.with_name(output.name[: -len(".seg.nrrd")] + ".confidence.nrrd"))
        os.replace(found.files["segmentation"], output)
    return found.summary
