"""Approved label versions of this server's cases: those that may be learnt from, and those that are tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, select

from mahtai.db.engine import Database
from mahtai.db.tables import CaseRow, CaseVolumeRow, LabelVersionRow, PatientKeyRow, PatientRow
from mahtai.models.bundle_base import Kind


@dataclass(frozen=True)
class ApprovedCase:
    """A case whose label a reviewer has approved.

    Attributes:
        volumes: slot → SHA-256.
        reference: slot whose grid the label lies on.
        patient: number of the patient, who is in one part of the split with all cases.
        version, content: id and SHA-256 of the approved label.
    """

    id: str
    number: int
    name: str
    volumes: Mapping[str, str]
    reference: str
    patient: int
    split: str
    version: str
    content: str

    def as_json(self) -> dict[str, object]:
        """For the log that is kept with the weights; no names."""
        return {
            "case": self.id,
            "number": self.number,
            "patient": f"P{self.patient}",
            "split": self.split,
            "version": self.version,
            "content": self.content,
            "volumes": dict(self.volumes),
        }


@dataclass(frozen=True)
class HeldOut:
    """What may never be learnt from.

    Attributes:
        patients: their numbers.
        scans: what their scans are known by, see ``PatientKeyRow``.
        references: SHA-256 of the reference volume of each of their cases → name of the case.
    """

    patients: frozenset[int]
    scans: frozenset[str]
    references: Mapping[str, str]


class ApprovedCases:
    """Reads the tables of this server; nothing is changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def for_training(self, task: str, kind: Kind) -> list[ApprovedCase]:
        """Those of patients that were drawn for training, and of no others."""
        return self._find(_approved(task, kind).where(PatientRow.split == "train"))

    def for_tests(self, task: str, kind: Kind) -> list[ApprovedCase]:
        """Those of patients that were drawn for tests."""
        return self._find(_approved(task, kind).where(PatientRow.split == "test"))

    def held_out(self) -> HeldOut:
        """Patients, scans and cases of every part of the split but training."""
        of_patients = select(PatientRow.number).where(PatientRow.split != "train")
        references = (
            select(CaseVolumeRow.sha256, CaseRow.name)
            .join(CaseRow, (CaseRow.id == CaseVolumeRow.case_id) & (CaseRow.reference == CaseVolumeRow.slot))
            .where(CaseRow.patient.in_(of_patients))
        )
        scans = select(PatientKeyRow.key).where(
            PatientKeyRow.patient.in_(of_patients), PatientKeyRow.key.startswith("scan:")
        )
        with self._database.read() as session:
            return HeldOut(
                patients=frozenset(session.scalars(of_patients)),
                scans=frozenset(session.scalars(scans)),
                references={row.sha256: row.name for row in session.execute(references)},
            )

    def _find(self, query: Select[CaseRow, PatientRow, LabelVersionRow]) -> list[ApprovedCase]:
        with self._database.read() as session:
            rows = [(case, patient, label) for case, patient, label in session.execute(query)]
            volumes: dict[str, dict[str, str]] = {case.id: {} for case, _, _ in rows}
            for volume in session.scalars(select(CaseVolumeRow).where(CaseVolumeRow.case_id.in_(volumes))):
                volumes[volume.case_id][volume.slot] = volume.sha256
        return [_view(case, patient, label, volumes[case.id]) for case, patient, label in rows]


def shared_patients(training: Sequence[ApprovedCase], tests: Sequence[ApprovedCase]) -> set[int]:
    """Patients that are on both sides; there must be none."""
    return {case.patient for case in training} & {case.patient for case in tests}


def _approved(task: str, kind: Kind) -> Select[CaseRow, PatientRow, LabelVersionRow]:
    return (
        select(CaseRow, PatientRow, LabelVersionRow)
        .join(PatientRow, PatientRow.number == CaseRow.patient)
        .join(LabelVersionRow, LabelVersionRow.id == CaseRow.approved)
        .where(CaseRow.task == task, CaseRow.removed.is_(False), LabelVersionRow.kind == kind)
        .order_by(CaseRow.number)
    )


def _view(case: CaseRow, patient: PatientRow, label: LabelVersionRow, volumes: Mapping[str, str]) -> ApprovedCase:
    return ApprovedCase(
        id=case.id,
        number=case.number,
        name=case.name,
        volumes=volumes,
        reference=case.reference,
        patient=patient.number,
        split=patient.split,
        version=label.id,
        content=label.content,
    )
