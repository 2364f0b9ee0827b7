"""Who became whom, for those who must be able to go back: a file that only its user can read."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pydicom

from mahtai.deidentification.engine import person_of
from mahtai.deidentification.folder import FolderError, files_below
from mahtai.deidentification.keyed import Keyed


def write_mapping(source: Path, target: Path, key: bytes) -> None:
    """Write a CSV of every patient below a folder: number, name, pseudonym, days by which dates were moved.

    Raises:
        FolderError: the file is there already.
    """
    keyed, people = Keyed(key), dict[str, tuple[str, str]]()
    for path in files_below(source):
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            people[person_of(dataset)] = (str(dataset.get("PatientID") or ""), str(dataset.get("PatientName") or ""))
        except Exception:  # noqa: BLE001 -- no DICOM, or damaged: nothing was made of it
            continue
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise FolderError(f"{target} is there already; nothing was changed.", "Choose another name.") from error
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["patient_id", "patient_name", "pseudonym", "days"])
        for person, (number, name) in sorted(people.items()):
            writer.writerow([number, name, keyed.pseudonym(person), keyed.days(person)])
