"""Fetch a model of the registry into a models folder: verified, whole, and visible only when complete."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mahtai.models.bundle import read_bundle
from mahtai.models.bundle_base import WEIGHTS_FILES
from mahtai.models.checksums import file_sha256, write_checksum
from mahtai.models.config import BundleError
from mahtai.models.download import DownloadError, WrongContent, download, verify
from mahtai.models.registry import Entry, RemoteFile, Source, entry, read_registry
from mahtai.models.unpack import unpack
from mahtai.volumes.store import full_disk_named

SOURCE_FILE = "source.json"
"""Written beside a fetched model: where it came from and the hash of every file."""

Progress = Callable[[int, int], None]
"""Told the bytes that have come and the bytes that there are."""


def pull(
    model_id: str,
    models_folder: Path,
    progress: Progress = lambda done, total: None,
    archive: Path | None = None,
    again: bool = False,
    registry: dict[str, Entry] | None = None,
) -> Path:
    """Fetch a model, unless it is there already, and return its folder.

    Args:
        models_folder: the model's folder is made in it.
        progress: told how far it is; from the beginning again where another source is tried.
        archive: the model's zip, fetched by other means, for a computer without internet; it must be
            the pinned one.
        again: replace a model that is there.

    Raises:
        UnknownSource: the registry does not name it.
        DownloadError, WrongContent: no connection, or not the pinned bytes.
        BundleError: the fetched model cannot be read. Whatever was there before stays.
        StorageFull: no room; nothing is kept.
    """
    wanted = entry(model_id, read_registry() if registry is None else registry)
    final = models_folder / model_id
    if final.exists() and not again:
        _check_present(final)
        return final
    with full_disk_named():
        return _pull(wanted, models_folder, progress, archive)


def _check_present(folder: Path) -> None:
    try:
        read_bundle(folder).require_weights()
    except BundleError as error:
        raise BundleError(
            f"{folder.name} is there already but cannot be used: {error.reason}",
            f"Replace it with `mahtai models pull {folder.name} --again`.",
        ) from error


def _pull(wanted: Entry, models_folder: Path, progress: Progress, archive: Path | None) -> Path:
    final = models_folder / wanted.id
    models_folder.mkdir(parents=True, exist_ok=True)
    # a name with a dot in front is no model to the catalogue
    workplace = models_folder / f".pull-{wanted.id}-{secrets.token_hex(4)}"
    workplace.mkdir()
    try:
        prepared = workplace / wanted.id
        used = _from_file(wanted, archive, prepared) if archive else _from_network(wanted, workplace, progress)
        read_bundle(prepared).require_weights()
        _write_source(prepared, used)
        if final.exists():
            os.replace(final, workplace / "replaced")
        os.replace(prepared, final)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return final


def _from_network(wanted: Entry, workplace: Path, progress: Progress) -> Source:
    """Fetch from the first source that works."""
    problems: list[DownloadError] = []
    for source in wanted.sources:
        shutil.rmtree(workplace / wanted.id, ignore_errors=True)
        try:
            _fetch(source, workplace, wanted.id, progress)
        except DownloadError as error:
            problems.append(error)
        else:
            return source
    # a changed file is worse news than a missing connection
    raise next((problem for problem in problems if isinstance(problem, WrongContent)), problems[0])


def _fetch(source: Source, workplace: Path, model_id: str, progress: Progress) -> None:
    received = 0

    def count(more: int) -> None:
        nonlocal received
        received += more
        progress(received, source.bytes)

    if source.archive is not None:
        packed = workplace / "archive.zip"
        download(source.archive, packed, count)
        unpack(packed, workplace / model_id)
        packed.unlink()
    for file in source.files:
        download(file, workplace / model_id / file.path, count)


def _from_file(wanted: Entry, archive: Path, prepared: Path) -> Source:
    pinned = [source for source in wanted.sources if source.archive is not None and not source.files]
    size = archive.stat().st_size if archive.is_file() else None
    if size is None:
        raise BundleError(f"There is no file {archive.name}.", "Give the path of the model's zip.")
    source = next((source for source in pinned if source.archive and source.archive.bytes == size), None)
    if source is None or source.archive is None:
        known = " or ".join(source.archive.url for source in pinned if source.archive) or "none is known"
        raise WrongContent(f"{archive.name} is not the archive of {wanted.id} that MahtAI pins.", f"Fetch {known}.")
    verify(source.archive, archive)
    unpack(archive, prepared)
    return source


def _write_source(folder: Path, used: Source) -> None:
    for name in WEIGHTS_FILES:
        if (folder / name).is_file():
            write_checksum(folder / name)
    files = {
        path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    content: dict[str, Any] = {"from": [_origin(part) for part in used.parts], "sha256": files}
    (folder / SOURCE_FILE).write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _origin(part: RemoteFile) -> dict[str, str]:
    return {"url": part.url, "sha256": part.sha256}


def changed_files(folder: Path) -> list[str] | None:
    """Files of a fetched model that are no longer as they came; None for a model that was not fetched.

    Raises:
        BundleError: the record itself is damaged.
    """
    record = folder / SOURCE_FILE
    if not record.is_file():
        return None
    try:
        recorded: dict[str, str] = json.loads(record.read_text("utf-8"))["sha256"]
        return [
            name
            for name, sha256 in recorded.items()
            if not (folder / name).is_file() or file_sha256(folder / name) != sha256
        ]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BundleError(f"{SOURCE_FILE} of {folder.name} is damaged.", "Get the model again.") from error
