"""Writes entries to a file in one of three forms."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mahtai.db.engine import Database
from mahtai.in_process import OutputError, written_whole
from mahtai.security.audit.dicom import audit_message
from mahtai.security.audit.fhir import audit_event, bundle_entry
from mahtai.security.audit.reading import Entry, Wanted, oldest_first, raw_rows

FORMATS = ("fhir", "dicom", "json")


@dataclass
class Written:
    """How many entries were written, and how many were left out because their content was erased."""

    entries: int = 0
    erased: int = 0


def export(database: Database, wanted: Wanted, form: str, path: Path) -> Written:
    """Write a new file, whole or not at all, that only its user can read.

    ``fhir``: a Bundle of AuditEvent resources, or one resource a line where the file ends in ``.ndjson``;
    ``dicom``: one audit message (XML) a line; ``json``: one row of the table a line, with its hashes.

    Raises:
        MahtaiError: the database or the file cannot be used.
    """
    require_new(path)
    count = Written()
    write: Callable[[TextIO, Database, Wanted, Written], None] = {
        "fhir": _fhir_lines if path.suffix == ".ndjson" else _fhir_bundle,
        "dicom": _dicom_lines,
        "json": _json_lines,
    }[form]
    with written_whole(path) as part:
        only_ours = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(only_ours, "w", encoding="utf-8", newline="\n") as file:
            write(file, database, wanted, count)
    return count


def require_new(path: Path) -> None:
    """Make sure that an export would take the place of nothing.

    Raises:
        OutputError: there is a file of this name.
    """
    if path.exists():
        raise OutputError(f"{path} is there already. It was not touched, and nothing was exported.", "Name a new file.")


def _fhir_lines(file: TextIO, database: Database, wanted: Wanted, count: Written) -> None:
    for entry in _whole(database, wanted, count):
        file.write(f"{json.dumps(audit_event(entry), ensure_ascii=False)}\n")


def _fhir_bundle(file: TextIO, database: Database, wanted: Wanted, count: Written) -> None:
    file.write('{"resourceType": "Bundle", "type": "collection"')
    comma = ', "entry": [\n'  # FHIR knows no empty list
    for entry in _whole(database, wanted, count):
        file.write(f"{comma}{json.dumps(bundle_entry(audit_event(entry)), ensure_ascii=False)}")
        comma = ",\n"
    file.write("\n]}\n" if count.entries else "}\n")


def _dicom_lines(file: TextIO, database: Database, wanted: Wanted, count: Written) -> None:
    for entry in _whole(database, wanted, count):
        file.write(f"{audit_message(entry)}\n")


def _json_lines(file: TextIO, database: Database, wanted: Wanted, count: Written) -> None:
    for row in raw_rows(database, wanted):
        count.entries += 1
        file.write(f"{json.dumps(dict(row._mapping), ensure_ascii=False)}\n")


def _whole(database: Database, wanted: Wanted, count: Written) -> Iterator[Entry]:
    for entry in oldest_first(database, wanted):
        if entry.erased:
            count.erased += 1
        else:
            count.entries += 1
            yield entry
