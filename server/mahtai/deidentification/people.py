"""Who is who: what patients are told apart by, also where only part of a study says who gave the number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

_WANTED = ["PatientID", "PatientName", "IssuerOfPatientID", "StudyInstanceUID"]

Issuers = Mapping[tuple[str, str], str]
"""Study instance UID and patient number → who gave the number."""


def person_of(dataset: Dataset, issuers: Issuers | None = None) -> str:
    """What a patient is told apart by: number and issuer; the name where there is no number; else the study.

    Args:
        issuers: of the other objects of the study, for one that does not say its own.
    """
    number, study = _text(dataset, "PatientID"), _text(dataset, "StudyInstanceUID")
    if number:
        return f"{number}^^^{(issuers or {}).get((study, number)) or _text(dataset, 'IssuerOfPatientID')}"
    return _text(dataset, "PatientName").lower() or study


def issuers_in(paths: Iterable[Path]) -> dict[tuple[str, str], str]:
    """One issuer for each study and number of DICOM files: the same one in whatever order they are read."""
    found: dict[tuple[str, str], str] = {}
    for path in paths:
        try:
            header = pydicom.dcmread(path, specific_tags=_WANTED, stop_before_pixels=True)
            study, number, issuer = (_text(header, name) for name in ("StudyInstanceUID", "PatientID", _WANTED[2]))
        except Exception:  # noqa: BLE001 -- no DICOM, or damaged; whoever reads it next says so
            continue
        if issuer and number:
            found[study, number] = min(issuer, found.get((study, number), issuer))
    return found


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()
