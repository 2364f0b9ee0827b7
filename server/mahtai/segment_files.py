"""``mahtai segment``: one study from files to files, without a server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mahtai.errors import MahtaiError
from mahtai.inference.service import InferenceRequest, run
from mahtai.models.bundle import is_bundle, read_bundle
from mahtai.models.catalogue import Catalogue
from mahtai.progress import StageBar
from mahtai.settings import Settings


class OutputError(MahtaiError):
    """The result cannot be written where it was asked for."""

    kind = "output"
    title = "The result cannot be written"
    status = 422


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
    settings = Settings.from_environment()
    folder = Path(model)
    bundle = read_bundle(folder) if is_bundle(folder) else Catalogue(settings.models_path).get(model)
    output.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=output.parent, prefix=".mahtai-") as work,
        StageBar() as bar,
    ):
        request = InferenceRequest(
            model_folder=str(bundle.folder),
            inputs={channel: str(path) for channel, path in sequences.items()},
            options=dict(options),
            output_folder=work,
            device=device,
            threads=settings.threads,
        )
        found = run(request, bar.show, lambda: False)
        os.replace(found.files["confidence"], output.with_name(output.name[: -len(".seg.nrrd")] + ".confidence.nrrd"))
        os.replace(found.files["segmentation"], output)
    return found.summary
