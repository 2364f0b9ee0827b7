"""One inference without a server: files in, files out, with a bar that shows how far it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mahtai.errors import MahtaiError
from mahtai.inference.service import InferenceOutput, InferenceRequest, run
from mahtai.models.bundle import Bundle, is_bundle, read_bundle
from mahtai.models.catalogue import Catalogue
from mahtai.progress import StageBar
from mahtai.settings import Settings


class OutputError(MahtaiError):
    """The result cannot be written where it was asked for."""

    kind = "output"
    title = "The result cannot be written"
    status = 422


def find_bundle(model: str) -> Bundle:
    """A model by its folder, or by its id in the models folders.

    Raises:
        UnknownModel, BundleError: there is none that can be used.
    """
    folder = Path(model)
    return read_bundle(folder) if is_bundle(folder) else Catalogue(Settings.from_environment().models_path).get(model)


@contextmanager
def inference(
    inputs: Mapping[str, Path], bundle: Bundle, device: str, options: Mapping[str, str], beside: Path
) -> Iterator[InferenceOutput]:
    """Run a model; the files that it wrote are there until the end of the block.

    Args:
        inputs: channel id → file of a volume.
        beside: a file in whose folder the work is done, so that results can be moved there in one step.

    Raises:
        MahtaiError: a volume, the model or an option cannot be used.
        OutputError: the folder cannot be written.
    """
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(dir=beside.parent, prefix=".mahtai-")
    except OSError as error:
        raise OutputError(
            f"Nothing can be written into {beside.parent} ({error.strerror}).", "Choose another folder."
        ) from error
    with work as folder, StageBar() as bar:
        request = InferenceRequest(
            model_folder=str(bundle.folder),
            inputs={channel: str(path) for channel, path in inputs.items()},
            options=dict(options),
            output_folder=folder,
            device=device,
            threads=Settings.from_environment().threads,
        )
        yield run(request, bar.show, lambda: False)
