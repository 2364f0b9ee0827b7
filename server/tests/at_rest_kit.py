"""What the tests of data at rest share: servers with a key, and a look for plain bytes in everything they write."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mahtai.security.at_rest.envelope import HEADER_BYTES, MAGIC
from mahtai.security.at_rest.master_key import new_key_file
from server_process import ServerProcess

MARK_BYTES = 20
MARKS_A_FILE = 40
FEWEST_DIFFERENT = 12
FEWEST_NO_LETTERS = 4


def with_key(root: Path, models: tuple[Path, ...], **more: str) -> ServerProcess:
    """A server, not yet started, whose key lies in ``root/master.key``, which is made."""
    file = root / "master.key"
    new_key_file(file)
    return ServerProcess(root, models, {"key_file": str(file), **more})


def marks_of(data: bytes, seed: int = 0) -> list[bytes]:
    """Short pieces of a file that tell it: no words, and nowhere else by chance."""
    chance, found = random.Random(seed), []
    for _ in range(2000):
        at = chance.randrange(max(len(data) - MARK_BYTES, 1))
        piece = data[at : at + MARK_BYTES]
        if len(set(piece)) >= FEWEST_DIFFERENT and sum(byte >= 128 for byte in piece) >= FEWEST_NO_LETTERS:
            found.append(piece)
        if len(found) == MARKS_A_FILE:
            break
    return found


def plain_in(folder: Path, marks: Iterable[bytes]) -> list[tuple[str, bytes]]:
    """Files below a folder that hold one of the marks."""
    wanted = list(marks)
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found += [(str(path.relative_to(folder)), mark) for mark in wanted if mark in content]
    return found


class Sniffer:
    """Looks, while a server works, at every file of blobs and jobs: each begins as an encrypted one does."""

    def __init__(self, data: Path) -> None:
        self.plain: set[str] = set()
        self.seen: set[str] = set()
        self._folders = [data / "blobs", data / "work"]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Sniffer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.002):
            for folder in self._folders:
                for root, _, names in os.walk(folder):
                    for name in names:
                        self._look_at(Path(root) / name)

    def _look_at(self, path: Path) -> None:
        try:
            with path.open("rb") as stream:
                beginning = stream.read(HEADER_BYTES)
        except OSError:
            return
        self.seen.add(path.parent.parent.name if path.parent.parent.name == "work" else path.parent.name)
        if not beginning.startswith(MAGIC[: len(beginning)]):
            self.plain.add(str(path))


def keys_command(server: ServerProcess, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``mahtai keys …`` beside a server, on its folder."""
    return subprocess.run(
        [sys.executable, "-m", "mahtai.cli", "keys", *words],
        env=keys_environment(server, more),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def keys_environment(server: ServerProcess, more: Mapping[str, str]) -> dict[str, str]:
    """The server's environment with other ``MAHTAI_*`` variables; an empty one is as none."""
    return {**server.variables(), **{f"MAHTAI_{name.upper()}": value for name, value in more.items()}}


@contextmanager
def refused_start(server: ServerProcess) -> Iterator[list[str]]:
    """Start a server that ends at once; the block gets what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "mahtai.app"],
        env=server.variables(),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    yield [line for line in ended.stderr.splitlines() if line]
