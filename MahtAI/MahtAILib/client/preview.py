"""A job's preview: a coarse result that is there before the full one, fetched while the job is followed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import quote

from MahtAILib.client.background import Task
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import ClientError
from MahtAILib.client.jobs import Job

OnPreview = Callable[[bytes], None]
"""Called with a ``.seg.nrrd`` file in a thread of its own; never after the full result was returned."""

_MAX_BYTES = 2**26


class PreviewFetcher:
    """Fetches each preview that a job announces, once, without holding up whoever follows the job.

    A preview is an extra: whatever goes wrong with it is left unsaid.

    Usage::

        with PreviewFetcher(connection, task, on_preview) as previews:
            follow_as_task(connection, job, task, patience, previews.look)
    """

    def __init__(self, connection: Connection, task: Task, on_preview: OnPreview | None) -> None:
        self._connection = connection
        self._task = task
        self._on_preview = on_preview
        self._seen = 0
        self._lock = threading.Lock()
        self._is_open = True

    def __enter__(self) -> PreviewFetcher:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_open = False

    def look(self, job: Job) -> None:
        """Fetch the preview that this job has, if it is a new one."""
        if self._on_preview is None or job.preview is None or job.preview <= self._seen:
            return
        self._seen = job.preview
        threading.Thread(target=self._fetch, args=(job.id,), daemon=True, name="MahtAI preview").start()

    def _fetch(self, job_id: str) -> None:
        try:
            path = f"/v1/inferences/{quote(job_id, safe='')}/preview"
            data = self._connection.download(path, _MAX_BYTES, None, self._task)
        except ClientError:
            return
        with self._lock:
            if self._is_open and not self._task.stopped.is_set() and self._on_preview is not None:
                self._on_preview(data)
