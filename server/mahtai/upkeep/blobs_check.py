"""Whether every blob that the tables know is there and is what its name says."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

from mahtai.errors import MahtaiError
from mahtai.security.at_rest.envelope import sealed_key_id
from mahtai.security.at_rest.keys import Keys
from mahtai.upkeep.backup.archive import BLOBS
from mahtai.upkeep.finding import Finding
from mahtai.volumes.store import PARTIAL_FOLDER
from mahtai.volumes.stored_blob import StoredBlob

SETTLED_S = 86_400.0
"""A file so old belongs to nothing that is still under way."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RESTORE = "mahtai doctor --repair --from BACKUP; or upload the same file again if somebody has it."


def files_of(root: Path) -> dict[str, Path]:
    """SHA-256 → file of every blob below a store's folder."""
    return {file.name: file for file in root.glob("??/??/*") if _SHA256.fullmatch(file.name)}


def check_blobs(
    root: Path, files: dict[str, Path], known: set[str], keys: Keys | None, quick: bool
) -> Iterator[Finding]:
    """Look, and change nothing.

    Args:
        files: of ``files_of``, taken before ``known``: a blob is stored before its row.
        known: SHA-256 of every blob that the tables know.
        keys: of the data folder; None where it has none.
        quick: look whether the files are there, and not into them.
    """
    sound = True
    for sha256 in sorted(known):
        path = root / sha256[:2] / sha256[2:4] / sha256
        trouble = None if quick and path.is_file() else _trouble(sha256, path, keys)
        if trouble:
            sound = False
            yield Finding("error", "blobs", f"{sha256} {trouble}.", _RESTORE, lost=f"{BLOBS}/{sha256}")
    if sound:
        yield Finding("ok", "blobs", f"{len(known)} are there{'' if quick else ' and what they should be'}.")
    forgotten = sum(_settled(path) for sha256, path in files.items() if sha256 not in known)
    if forgotten and not known:
        advice = "See that MAHTAI_DATABASE_URL and MAHTAI_DATA_DIR belong together, or restore a backup."
        yield Finding("error", "blobs", f"{forgotten} files are there, and the tables know none of them.", advice)
    elif forgotten:
        yield Finding("warning", "blobs", f"{forgotten} files are in no table.", "Nothing: they only take room.")
    left = [path for path in (root / PARTIAL_FOLDER).glob("*") if _settled(path)]
    if left:
        advice = "Nothing: the next start of the server removes them."
        text = f"{len(left)} partial files were left behind."
        yield Finding("warning", "blobs", text, advice, repair=lambda: _remove(left))
    plain = 0 if keys is None else sum(_is_plain(files[sha256]) for sha256 in known & files.keys())
    if plain:
        yield Finding("warning", "blobs", f"{plain} are not encrypted, and there is a key.", "mahtai keys encrypt")


def _trouble(sha256: str, path: Path, keys: Keys | None) -> str | None:
    digest = hashlib.sha256()
    try:
        with StoredBlob(sha256, path, keys).open() as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except FileNotFoundError:
        return "is missing"
    except (MahtaiError, OSError) as error:
        return f"cannot be read ({error})"
    return None if digest.hexdigest() == sha256 else "is damaged: its content has another hash"


def _is_plain(path: Path) -> bool:
    try:
        return sealed_key_id(path) is None
    except (MahtaiError, OSError):
        return False


def _remove(files: list[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)


def _settled(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > SETTLED_S
    except FileNotFoundError:
        return False
