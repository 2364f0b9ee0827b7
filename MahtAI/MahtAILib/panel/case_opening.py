"""What is fetched of a case before it is shown: in threads, from this computer where it is, else from the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from slicer.i18n import tr as _

from MahtAILib.client import jobs
from MahtAILib.client.acting import plain_name
from MahtAILib.client.background import Task as Work
from MahtAILib.client.background import run_cancellable, run_parallel
from MahtAILib.client.case_files import CaseFiles
from MahtAILib.client.cases import LabelVersion, content_path, label_of, list_labels
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import RequestRefusedError
from MahtAILib.client.volumes import AT_ONCE
from MahtAILib.client.worklist import WorkCase, work_case
from MahtAILib.errors import ExplainedError
from MahtAILib.panel.background import Errand
from MahtAILib.panel.task import Task
from MahtAILib.panel.versions import provenance_of_version
from MahtAILib.scene.case_volumes import CaseRef, ReadVolume, read_volume
from MahtAILib.scene.provenance import Provenance


@dataclass(frozen=True, eq=False)
class ReadyCase:
    """A case of which nothing is left to fetch or to compute; to be shown once.

    Attributes:
        case: as the server described it.
        ref: how the scene names it.
        volumes: slot → volume.
        version: that is opened with it, None where there is none yet.
        label: what that holds and where it comes from.
    """

    case: WorkCase
    ref: CaseRef
    volumes: Mapping[str, ReadVolume]
    version: LabelVersion | None
    label: tuple[Any, Provenance] | None

    def fits(self, case: WorkCase) -> bool:
        """Whether it is this case and nothing was saved of it since."""
        mine = (self.case.id, self.case.label_count, self.case.volumes, self.case.submitted)
        return mine == (case.id, case.label_count, case.volumes, case.submitted)


class CaseSource:
    """Where cases come from.

    Args:
        files: on this computer.
        tasks: id → what the panel does with its cases.
    """

    def __init__(self, files: CaseFiles, tasks: Mapping[str, Task]) -> None:
        self._files = files
        self._tasks = tasks

    def fetch(self, connection: Connection, case: WorkCase, errand: Errand[Any]) -> ReadyCase:
        """In a thread: all of a case, from the server where it is not here.

        Raises:
            CancelledError: the reader did not want to wait.
            ExplainedError: it could not be fetched or read.
        """
        task = self._task(case)

        def work(work: Work) -> ReadyCase:
            version, summary = _version_to_open(connection, case)
            self._files.note(
                case.id,
                {
                    "server": connection.url,
                    "reader": "" if connection.account is None else connection.account.name,
                    "case": dict(case.document),
                    "version": None if version is None else dict(version.document),
                    "summary": dict(summary),
                },
            )
            return self._read(connection, connection.url, case, task, version, summary, work)

        return run_cancellable(work, errand.progress, errand.cancelled)

    def here(self, server: str, case_id: str, reader: str) -> ReadyCase | None:
        """In a thread: a case of which all is on this computer, as it was when it was fetched; None otherwise.

        Args:
            reader: who asks; what another account fetched is not for them.

        Raises:
            ExplainedError: it cannot be read.
        """
        for note in self._notes(server, reader):
            if note["case"].get("id") == case_id:
                case = work_case(note["case"])
                version = None if note.get("version") is None else label_of(note["version"])
                return self._read(None, server, case, self._task(case), version, note.get("summary") or {}, Work())
        return None

    def cases_here(self, server: str, reader: str) -> list[WorkCase]:
        """Those of which all was here a moment ago, the one that was fetched last first."""
        cases = (work_case(note["case"]) for note in self._notes(server, reader))
        return [case for case in cases if self._files.has(case.volumes.values())]

    def _notes(self, server: str, reader: str) -> list[dict[str, Any]]:
        def is_for_reader(note: dict[str, Any]) -> bool:
            fetched_by = str(note.get("reader") or "")
            return not fetched_by or plain_name(fetched_by) == plain_name(reader)

        notes = [note for note in self._files.notes() if note.get("server") == server and note.get("case")]
        return [note for note in notes if is_for_reader(note)]

    def _task(self, case: WorkCase) -> Task:
        if case.task not in self._tasks:
            raise ExplainedError(
                _("“{name}” is for a task that this panel does not know ({task}).").format(
                    name=case.name, task=case.task
                ),
                _("Choose another case, or update MahtAI on this computer."),
            )
        return self._tasks[case.task]

    def _read(
        self,
        connection: Connection | None,
        server: str,
        case: WorkCase,
        task: Task,
        version: LabelVersion | None,
        summary: Mapping[str, Any],
        work: Work,
    ) -> ReadyCase:
        ref = CaseRef(server, case.id, case.number, case.name, case.task)
        done: list[str] = []

        def volume(sha256: str, _failed: object) -> ReadVolume:
            data = _whole(self._files.fetch(connection, sha256, task=work), case)
            work.check()
            found = read_volume(data, sha256)
            done.append(sha256)
            work.report("fetching", len(done) / (len(case.volumes) + 1))
            return found

        def label(_failed: object) -> tuple[Any, Provenance] | None:
            if version is None:
                return None
            path = content_path(case.id, version)
            content = task.decode(_whole(self._files.fetch(connection, version.sha256, path, task=work), case))
            origin = provenance_of_version(server, case, version, content.provenance, summary)
            return task.prepare(content), origin

        works: Sequence[Callable[[Any], Any]] = [partial(volume, one) for one in case.volumes.values()]
        *volumes, content = run_parallel([*works, label], AT_ONCE)
        return ReadyCase(case, ref, dict(zip(case.volumes, volumes, strict=True)), version, content)


def _version_to_open(connection: Connection, case: WorkCase) -> tuple[LabelVersion | None, Mapping[str, Any]]:
    """The version that waits for a review, else the newest; and what its job found."""
    if not case.label_count:
        return None, {}
    versions = list_labels(connection, case.id)
    submitted = [one for one in versions if case.state == "submitted" and one.id == case.submitted]
    version = (submitted or versions)[-1]
    summary: Mapping[str, Any] = {}
    job = str(version.document.get("inference") or "")
    if job:
        with suppress(RequestRefusedError):  # the server may have forgotten the job; the version stands without it
            summary = jobs.summary(connection, job)
    return version, summary


def _whole(data: bytes | None, case: WorkCase) -> bytes:
    if data is None:
        raise ExplainedError(
            _("“{name}” is not wholly on this computer, and the server cannot be reached.").format(name=case.name),
            _("Open it when the server is back."),
        )
    return data
