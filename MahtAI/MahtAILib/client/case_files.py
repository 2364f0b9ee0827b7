"""Files of cases on this computer: fetched once, checked, bounded; what is here can be opened without the server.

A folder of files, each named by its SHA-256, and of notes, JSON named by a case. A file is written under another
name and renamed when it is whole and its hash is right, so that no part of one is ever seen; a file that was damaged
later is removed when it is read. The ones that were not used for the longest time go first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from MahtAILib.client.background import Task
from MahtAILib.client.connection import Connection
from MahtAILib.client.volumes import OnBytes, fetch

DEFAULT_BYTES = 4 * 2**30
"""Room for some fifty studies of four sequences."""

_LARGEST_FILE = 2**30
_HASH = re.compile(r"[0-9a-f]{64}")
_HASH_ANYWHERE = re.compile(r'(?<=")[0-9a-f]{64}(?=")')
_CASE = re.compile(r"[A-Za-z0-9-]{1,64}")
_NOTES_KEPT = 200


class CaseFiles:
    """A bounded folder of files; for any number of threads, and of processes where none counts on a file to stay.

    Args:
        folder: made when it is needed, readable by its owner only.
        most_bytes: of all files together; the files of the last call may lie above it.
    """

    def __init__(self, folder: Path, most_bytes: int = DEFAULT_BYTES) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._lock = threading.Lock()

    def has(self, sha256: Collection[str]) -> bool:
        """Whether all of these are here, as far as can be told without reading them."""
        return all(self._path(one).is_file() for one in sha256)

    def read(self, sha256: str) -> bytes | None:
        """A file that is here and whole; None otherwise."""
        path = self._path(sha256)
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == sha256:
                os.utime(path)
                return data
            path.unlink()
        except OSError:
            pass  # not here, or gone a moment ago: whoever wants it fetches it
        return None

    def keep(self, sha256: str, data: bytes) -> None:
        """Put a file down, as far as the disk lets us; what could not be kept is fetched again some day."""
        partial = self._folder / f"{uuid.uuid4()}.partial"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_bytes(data)
            os.replace(partial, self._path(sha256))
            self._make_room(sha256)
        except OSError:
            with suppress(OSError):
                partial.unlink()

    def fetch(
        self,
        connection: Connection | None,
        sha256: str,
        path: str = "",
        on_bytes: OnBytes | None = None,
        task: Task | None = None,
    ) -> bytes | None:
        """A file from here, or from the server; None where it is not here and there is no server to ask.

        Args:
            path: in the API; that of an uploaded file by default.

        Raises:
            ClientError: the server did not answer, or does not have it.
            CancelledError: ``task`` was stopped.
        """
        known = self.read(sha256)
        if known is not None or connection is None:
            return known
        where = path or f"/v1/volumes/{quote(sha256, safe='')}"
        data = fetch(connection, where, sha256, _LARGEST_FILE, on_bytes, task)
        self.keep(sha256, data)
        return data

    def note(self, case_id: str, document: Mapping[str, Any]) -> None:
        """Remember what is known of a case whose files are here."""
        if not _CASE.fullmatch(case_id):
            return
        partial = self._folder / f"{uuid.uuid4()}.partial"
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_text(json.dumps(document), encoding="utf-8")
            os.replace(partial, self._folder / f"{case_id}.json")

    def notes(self) -> list[dict[str, Any]]:
        """What is remembered of cases, the last one first."""
        found = []
        for path in self._by_age("*.json")[::-1]:
            with suppress(OSError, ValueError):
                document = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(document, dict):
                    found.append(document)
        return found

    def forget(self, server: str) -> None:
        """Remove what is known of a server's cases, and every file that no other server's case needs."""
        with self._lock:
            needed: set[str] = set()
            for path in self._by_age("*.json"):
                document: Any = None
                with suppress(OSError, ValueError):
                    document = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(document, dict) and document.get("server") != server:
                    needed |= set(_HASH_ANYWHERE.findall(json.dumps(document)))
                else:
                    with suppress(OSError):
                        path.unlink()
            for path in self._by_age("*"):
                if _HASH.fullmatch(path.name) and path.name not in needed:
                    with suppress(OSError):
                        path.unlink()

    def _make_room(self, kept: str) -> None:
        """Remove what was not used for the longest time, beginnings that a crash left, and old notes."""
        with self._lock:
            files = self._by_age("*")
            sizes = {path: _size(path) for path in files if _HASH.fullmatch(path.name)}
            too_much = sum(sizes.values()) - self._most_bytes
            for path, size in sizes.items():
                if too_much <= 0:
                    break
                if path.name != kept:
                    with suppress(OSError):
                        path.unlink()
                        too_much -= size
            notes = [path for path in files if path.suffix == ".json"]
            newest = files[-1].stat().st_mtime if files else 0.0
            stale = [path for path in files if path.suffix == ".partial" and path.stat().st_mtime < newest - 3600]
            for path in [*notes[:-_NOTES_KEPT], *stale]:
                with suppress(OSError):
                    path.unlink()

    def _by_age(self, pattern: str) -> list[Path]:
        """The one that was used last comes last."""

        def used(path: Path) -> float:
            try:
                return path.stat().st_mtime
            except OSError:
                return 0.0

        return sorted(self._folder.glob(pattern), key=used) if self._folder.is_dir() else []

    def _path(self, sha256: str) -> Path:
        if not _HASH.fullmatch(sha256):
            raise ValueError(f"not a SHA-256: {sha256[:80]!r}")
        return self._folder / sha256


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
