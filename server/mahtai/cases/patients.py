"""Patients: which cases belong to one, and for what all of them may be used.

A server never learns who a patient is. It knows keyed hashes of what the patient is called elsewhere, and
fingerprints of scans; two cases that share either are the same patient's. The split is drawn once by patient.
Where two patients turn out to be one and were drawn differently, the cases of both are used for nothing:
neither may a test case be learnt from, nor a case that was learnt from be a test.

What teams are told is another thing: that another team has the same patient is not for them. So they see patients by
their own cases alone (``kin``), whatever the cases of others tell.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from mahtai.cases.case import Split
from mahtai.db.tables import CaseKeyRow, CaseRow, PatientKeyRow, PatientRow
from mahtai.security.at_rest.secret_file import load_or_create
from mahtai.training import splits
from mahtai.volumes.store import BlobStore

KEY_FILE = "patients.key"
"""Secret of the keyed hashes, in the data folder; without it nobody can try out numbers."""

SHARES: tuple[tuple[Split, float], ...] = (("train", 0.7), ("validation", 0.1), ("test", 0.2))
"""Of the patients that no published split knows."""

_UNUSED: Split = "none"


@dataclass(frozen=True)
class Traces:
    """What a patient may be found by.

    Attributes:
        keys: ``id:…`` and ``scan:…``, the one that the split is drawn by first.
        known: the part of the split that the shipped models' training drew for one of the scans.
    """

    keys: tuple[str, ...]
    known: Split | None


class Patients:
    """Finds and makes patients. Safe to use from several threads and processes."""

    def __init__(self, store: BlobStore, data_dir: Path) -> None:
        self._store = store
        self._secret = load_or_create(data_dir / KEY_FILE, store.keys)

    def traces(self, volumes: Mapping[str, str], patient: str | None) -> Traces:
        """Look at the scans of a case; takes some tenths of a second a scan, so not in a transaction.

        Args:
            volumes: slot → SHA-256. patient: what the patient is called, if that is known.
        """
        keys, known = [], set()
        if patient and patient.strip():
            name = " ".join(patient.split()).casefold()
            keys.append("id:" + hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest())
        for slot in sorted(volumes):
            key, part = self._look_at(volumes[slot])
            keys.append(key)
            known.add(part)
        known.discard(None)
        return Traces(tuple(dict.fromkeys(keys)), _united(cast("set[Split]", known)) if known else None)

    def _look_at(self, sha256: str) -> tuple[str, Split | None]:
        from mahtai.training.landmarks.films import held_out_film
        from mahtai.volumes.fingerprint import telling_fingerprint
        from mahtai.volumes.formats import read_volume

        volume = read_volume(self._store.read_bytes(sha256))
        found = telling_fingerprint(volume.array)
        part = cast("Split | None", None if found is None else splits.part_of(found))
        if part is None and volume.geometry.shape[2] == 1 and held_out_film(_grey(volume.array)) is not None:
            part = "test"
        # a scan that could be anybody's is known by its bytes alone
        return f"scan:{found or 'bytes-' + sha256[:58]}", part


def find_or_draw(session: Session, traces: Traces) -> PatientRow:
    """The patient of these traces, made if there is none, united if there are several."""
    wanted = select(PatientKeyRow.patient).where(PatientKeyRow.key.in_(traces.keys)).distinct()
    rows = list(
        session.scalars(
            select(PatientRow).where(PatientRow.number.in_(wanted)).order_by(PatientRow.number).with_for_update()
        )
    )
    if not rows:
        drawn_by = "published split" if traces.known else "hash of the patient's key"
        row = PatientRow(split=traces.known or _draw(traces.keys[0]), drawn_by=drawn_by)
        session.add(row)
        session.flush()
    else:
        row = rows[0]
        parts = {cast("Split", each.split) for each in rows} | ({traces.known} if traces.known else set())
        if len(parts) > 1:
            row.split, row.drawn_by = _UNUSED, f"was {', '.join(sorted(parts))}: one patient under several names"
        _unite(session, row, rows[1:])
    held = set(session.scalars(select(PatientKeyRow.key).where(PatientKeyRow.key.in_(traces.keys))))
    session.add_all(PatientKeyRow(key=key, patient=row.number) for key in traces.keys if key not in held)
    session.flush()
    return row


def join_kin(session: Session, case: CaseRow, keys: Collection[str] = ()) -> None:
    """Find the cases of the same patient in the case's team, by what the cases of that team tell and nothing else.

    Args:
        keys: what the case tells, if that is not kept yet (``Traces.keys``).
    """
    session.add_all(CaseKeyRow(case_id=case.id, key=key) for key in keys)
    session.flush()
    same_team = CaseRow.team.is_(None) if case.team is None else CaseRow.team == case.team
    own = select(CaseKeyRow.key).where(CaseKeyRow.case_id == case.id)
    sharing = select(CaseKeyRow.case_id).where(CaseKeyRow.key.in_(own), CaseKeyRow.case_id != case.id)
    kins = session.scalars(select(CaseRow.kin).where(same_team, CaseRow.id.in_(sharing)).distinct())
    found = {kin for kin in kins if kin is not None}
    case.kin = min(found, default=case.number)
    session.execute(
        update(CaseRow)
        .where(same_team, CaseRow.kin.in_(found - {case.kin}))
        .values(kin=case.kin)
        .execution_options(synchronize_session=False)
    )


def _unite(session: Session, kept: PatientRow, others: Collection[PatientRow]) -> None:
    for other in others:
        for column in (PatientKeyRow.patient, CaseRow.patient):
            session.execute(
                update(column.class_)
                .where(column == other.number)
                .values({column.key: kept.number})
                .execution_options(synchronize_session=False)
            )
        session.delete(other)
    session.flush()


def _united(parts: Collection[Split]) -> Split:
    return next(iter(parts)) if len(parts) == 1 else _UNUSED


def _draw(key: str) -> Split:
    """A part of the split by the hash of a key, so that the same patient is drawn alike on every server."""
    place = int.from_bytes(hashlib.sha256(f"split {key}".encode()).digest()[:8], "big") / 2**64
    for part, share in SHARES:
        if place < share:
            return part
        place -= share
    return SHARES[-1][0]


def _grey(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Height × width uint8 of a flat image [i, j, 1] or a colour one."""
    flat = np.asarray(array)[:, :, 0].T.astype(np.float32)
    low, high = float(flat.min()), float(flat.max())
    return ((flat - low) * (255 / (high - low or 1))).astype(np.uint8)
