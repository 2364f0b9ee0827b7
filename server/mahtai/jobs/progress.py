"""What runs right now, for those who watch: kept in memory, because after a restart it is new anyway."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """Stage name and how much of the stage is done, 0..1."""

    stage: str
    fraction: float


class Watcher:
    """Wakes one waiting client when its job has news; any number of changes between two looks count as one."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def wake(self) -> None:
        """From any thread."""
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._news.set)

    async def changes(self, patience_s: float, at_once: bool = False) -> AsyncIterator[bool]:
        """True whenever there is news (and ``at_once``), False when there was none for ``patience_s`` seconds."""
        if at_once:
            yield True
        while True:
            try:
                await asyncio.wait_for(self._news.wait(), patience_s)
            except asyncio.TimeoutError:
                yield False
                continue
            self._news.clear()
            yield True


class ProgressBoard:
    """Latest progress by job, and the watchers of each. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: dict[str, Progress] = {}
        self._previews: dict[str, list[Path]] = {}
        self._watchers: dict[str, set[Watcher]] = {}

    def latest(self, job: str) -> Progress | None:
        """None unless the job is running in this process."""
        with self._lock:
            return self._progress.get(job)

    def report(self, job: str, stage: str, fraction: float) -> None:
        """The job has come this far."""
        with self._lock:
            self._progress[job] = Progress(stage, min(max(fraction, 0.0), 1.0))
        self.changed(job)

    def show(self, job: str, preview: Path) -> None:
        """There is a coarse result."""
        with self._lock:
            self._previews.setdefault(job, []).append(preview)
        self.changed(job)

    def previews(self, job: str) -> tuple[Path, ...]:
        """Coarse results of a running job, the newest last; a file may be gone when the job ends."""
        with self._lock:
            return tuple(self._previews.get(job, ()))

    def forget(self, job: str) -> None:
        """The job does not run any more."""
        with self._lock:
            self._progress.pop(job, None)
            self._previews.pop(job, None)
        self.changed(job)

    def changed(self, job: str) -> None:
        """Wake those who watch the job."""
        with self._lock:
            watchers = tuple(self._watchers.get(job, ()))
        for watcher in watchers:
            watcher.wake()

    def all_changed(self) -> None:
        """Wake everybody: the line has moved."""
        with self._lock:
            jobs = tuple(self._watchers)
        for job in jobs:
            self.changed(job)

    def watched(self) -> tuple[str, ...]:
        """The jobs that somebody watches."""
        with self._lock:
            return tuple(self._watchers)

    @contextmanager
    def watch(self, job: str) -> Iterator[Watcher]:
        """A watcher for the calling task, with its event loop."""
        watcher = Watcher()
        with self._lock:
            self._watchers.setdefault(job, set()).add(watcher)
        try:
            yield watcher
        finally:
            with self._lock:
                remaining = self._watchers[job]
                remaining.discard(watcher)
                if not remaining:
                    del self._watchers[job]
