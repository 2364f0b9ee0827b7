"""Who became whom, for those who must be able to go back: a file that only its user can read."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pydicom

from mahtai.deidentification.folder import FolderError, files_below
from mahtai.deidentification.keyed import Keyed
from mahtai.deidentification.people import issuers_in, person_of


def check_place(mapping: Path, output: Path) -> None:
    """See, before anything is done, that the file can be made, and not among what may be given away.

    Raises:
        FolderError: it is there already, its folder is not, or it would lie in the output.
    """
    if mapping.exists():
        raise FolderError(f"{mapping} is there already; nothing was changed.", "Choose another name.")
    if mapping.resolve().is_relative_to(output.resolve()):
        raise FolderError(
            f"{mapping} would say who became whom beside the result; nothing was changed.",
            "Choose a place outside of the output folder.",
        )
    if not mapping.resolve().parent.is_dir():
        raise FolderError(f"There is no folder {mapping.parent}; nothing was changed.", "Make it, or choose another.")


def write_mapping(source: Path, target: Path, key: bytes) -> None:
    """Write a CSV of every patient below a folder: number, name, pseudonym, days by which dates were moved.

    Raises:
        FolderError: the file is there already.
    """
    keyed, people = Keyed(key), dict[str, tuple[str, str]]()
    paths = files_below(source)
    issuers = issuers_in(paths)
    for path in paths:
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            person = person_of(dataset, issuers)
            people[person] = (str(dataset.get("PatientID") or ""), str(dataset.get("PatientName") or ""))
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
