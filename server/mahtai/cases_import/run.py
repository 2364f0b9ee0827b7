"""The whole of ``mahtai cases import``: find, send, tell."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from mahtai.cases_import.find import Wanted, find_studies
from mahtai.cases_import.findings import Study
from mahtai.cases_import.names import readable
from mahtai.cases_import.report import Entry, Report
from mahtai.cases_import.sending import NothingLeft, Terms, send
from MahtAILib.client.cases import list_cases
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import ClientError, RequestRefusedError

CTRL_C = "Stopped by Ctrl-C."


class Progress(Protocol):
    """Shows how far an import is."""

    def looked_at(self) -> None:
        """One more file."""

    def studies(self, count: int) -> AbstractContextManager[None]:
        """So many studies were found."""

    def sent(self, place: str) -> None:
        """One more study."""


def import_folder(
    connection: Connection | None, folder: Path, wanted: Wanted, terms: Terms, report: Report, progress: Progress
) -> None:
    """Import all studies of a folder; ``report`` is filled on the way, so that it is there however this ends.

    Args:
        connection: None for a dry run, which only finds.

    Raises:
        ClientError: the server is gone; what was imported stays.
    """
    started = time.monotonic()

    def looked_at() -> None:
        report.files += 1
        progress.looked_at()

    called: list[tuple[Entry, str]] = []
    try:
        studies = find_studies(folder, wanted, report.skip, looked_at)
        with progress.studies(len(studies)):
            for study in studies:
                entry = _found(study, terms) if connection is None else _sent(connection, study, terms, report)
                if entry is not None:
                    report.entries.append(entry)
                    called.append((entry, study.patient))
                progress.sent(study.place)
        if connection is not None:
            _tell_same_studies(report)
            _tell_same_patients(connection, called, report)
    except KeyboardInterrupt:
        report.stopped = CTRL_C
    except ClientError as error:
        report.stopped = error.reason
        raise
    finally:
        report.seconds = time.monotonic() - started


def _sent(connection: Connection, study: Study, terms: Terms, report: Report) -> Entry | None:
    try:
        return send(connection, study, terms, report.skip)
    except (NothingLeft, RequestRefusedError) as error:
        told = isinstance(error, NothingLeft) and study.place in (source.name for source in study.slots.values())
        if not told:
            report.skip(study.place, f"the study cannot be imported: {error.reason.rstrip('.')}")
        return None


def _found(study: Study, terms: Terms) -> Entry:
    slots = {slot: source.name for slot, source in study.slots.items()}
    label = f"{len(study.labels)} segmentation(s) beside it." if study.labels else ""
    return Entry(study.place, "found", study.task, slots, [*study.notes], label=label)


def _tell_same_studies(report: Report) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for entry in report.entries:
        places[entry.case].append(entry.place)
    for same in places.values():
        if len(same) > 1:
            report.notes.append(f"The same study lies in {len(same)} places and is one case: {', '.join(same[:5])}")


def _tell_same_patients(connection: Connection, called: list[tuple[Entry, str]], report: Report) -> None:
    """Patients that have several names here; the server tells by the scans themselves that they are one."""
    if not any(entry.outcome == "made" for entry, _ in called) or len({name for _, name in called}) < 2:
        return
    now = {case.id: case.document for case in list_cases(connection)}
    names: dict[str, dict[str, str]] = defaultdict(dict)
    for entry, name in called:
        document = now.get(entry.case, {})
        # what was learnt from a later study may have changed what an earlier one was told
        entry.patient, entry.split = (
            str(document.get("patient", entry.patient)),
            str(document.get("split", entry.split)),
        )
        if entry.patient:
            names[entry.patient].setdefault(name, entry.place)
    for patient, places in names.items():
        if len(places) > 1:
            where = ", ".join(list(places.values())[:5])
            report.notes.append(f"One patient ({patient}) under {len(places)} names, by the scans themselves: {where}")


def report_for(folder: Path) -> Report:
    """An empty report."""
    return Report(readable(str(folder), 1000))
