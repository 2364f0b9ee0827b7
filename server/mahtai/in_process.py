"""One inference without a server: files in, files out, with a bar that shows how far it is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

from mahtai.errors import MahtaiError
from mahtai.inference.prediction import choose_device
from mahtai.inference.service import InferenceOutput, InferenceRequest, run
from mahtai.models.bundle import Bundle, is_bundle, read_bundle
from mahtai.models.catalogue import Catalogue
from mahtai.progress import StageBar
from mahtai.settings import Settings

_LONG = 60
"""Characters of a file name that are said."""


class OutputError(MahtaiError):
    """The result cannot be written where it was asked for."""

    kind = "output"
    title = "The result cannot be written"
    status = 422


def check_output(path: Path) -> None:
    """Make sure that a file can be written, before work is spent on it; its folder is made.

    Raises:
        OutputError: it is a folder, its name is too long, or nothing can be written beside it.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # the folder, looked at below, tells more
    except OSError as error:
        raise _refused(path, error) from error
    if path.is_dir():
        raise OutputError(f"{path} is a folder, not a file.", "Add a file name to it.")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is a device, not a file.", "Choose another name.")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Make sure that files can be written into a folder, which is made.

    Raises:
        OutputError: it is a file, cannot be made, or nothing can be written into it.
    """
    with _work_folder(folder):
        pass


def check_different(paths: Mapping[str, Path]) -> None:
    """Make sure that no file would be written over another one of the same run.

    Args:
        paths: what the reader calls it → file, whether it is there already or not.

    Raises:
        OutputError: two are one file, under one name or two (links).
    """
    for (name, path), (other_name, other) in combinations(paths.items(), 2):
        if _is_same(path, other):
            raise OutputError(
                f"{name} and {other_name} are the same file ({other}): one would destroy the other.",
                "Choose another name. Nothing was changed.",
            )


def _is_same(path: Path, other: Path) -> bool:
    if os.path.normcase(os.path.realpath(path)) == os.path.normcase(os.path.realpath(other)):
        return True
    try:
        return path.samefile(other)
    except OSError:
        return False  # one of them is not there yet


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A new file to write that takes the place of ``path`` at the end of the block, or is gone if the block fails.

    Raises:
        OutputError: it cannot be written.
    """
    with _work_folder(path.parent) as folder:
        part = Path(folder) / f"part{path.suffix}"
        try:
            yield part
            os.replace(part, path)
        except OSError as error:
            raise _refused(path, error) from error


def _work_folder(folder: Path) -> tempfile.TemporaryDirectory[str]:
    if folder.is_file():
        raise OutputError(f"{folder} is a file, not a folder.", "Choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=folder, prefix=".mahtai-")
    except OSError as error:
        raise OutputError(
            f"Nothing can be written into {folder} ({error.strerror or error}).", "Choose another folder."
        ) from error


def _refused(path: Path, error: OSError) -> OutputError:
    name = path.name if len(path.name) <= _LONG else f"{path.name[:_LONG]}…"
    return OutputError(
        f"{name} cannot be written ({error.strerror or error}).",
        "Choose another name or folder, and see that the disk has room.",
    )


def find_bundle(model: str) -> Bundle:
    """A model by its folder, or by its id in the models folders.

    Raises:
        UnknownModel, BundleError: there is none that can be used.
    """
    folder = Path(model)
    if is_bundle(folder):
        return read_bundle(folder)
    settings = Settings.from_environment()
    return Catalogue(settings.models_path, settings.versions_dir).get(model)


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
    choose_device(device)  # now, not after the images were read
    check_output(beside)
    settings = Settings.from_environment(device=device)
    with _work_folder(beside.parent) as folder, StageBar() as bar:
        request = InferenceRequest(
            model_folder=str(bundle.folder),
            inputs={channel: str(path) for channel, path in inputs.items()},
            options=dict(options),
            output_folder=folder,
            **settings.machine,
        )
        yield run(request, bar.show, lambda: False)
