"""Label versions: immutable, a tree, each with where it comes from and what was changed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mahtai.cases.label_kind import LabelError, LabelKind, WrongGrid
from mahtai.cases.label_version import (
    LabelDraft,
    LabelVersion,
    UnknownParent,
    UnknownProposal,
    UnknownVersion,
    Verdict,
)
from mahtai.cases.landmark_labels import LandmarkLabels
from mahtai.cases.segment_labels import SegmentLabels
from mahtai.cases.studies import KeyReused, find_case, reference_geometry
from mahtai.db.blobs import find_blob
from mahtai.db.engine import Database, insist
from mahtai.db.tables import CaseVolumeRow, InferenceRow, LabelVersionRow
from mahtai.jobs.inference import VolumeMissing
from mahtai.models.bundle_base import Kind
from mahtai.volumes.store import BlobStore
from MahtAILib.client.geometry import Geometry

KINDS: Mapping[Kind, LabelKind[Any]] = {"segmentation": SegmentLabels(), "landmarks": LandmarkLabels()}

_BLOB_WORDS = {kind: found.word for kind, found in KINDS.items()} | {"volume": "a scan"}


@dataclass(frozen=True)
class _Origin:
    """What a draft refers to, looked up."""

    geometry: Geometry
    parent_blob: str | None
    proposal_blob: str | None
    model: tuple[str, str, str] | None


class Labels:
    """Label versions of all cases. What ``add`` has returned survives whatever happens to the server."""

    def __init__(self, database: Database, store: BlobStore) -> None:
        self._database = database
        self._store = store

    def add(self, case_id: str, draft: LabelDraft) -> tuple[LabelVersion, bool]:
        """Save a version; its file is in the store already, one transaction makes it a version.

        Returns:
            the version, and whether it is new.

        Raises:
            UnknownCase, UnknownParent, UnknownProposal: it refers to something that is not there.
            VolumeMissing: the file was not uploaded.
            LabelError, WrongGrid: the file is no label of this case.
            KeyReused: the client key stands for another file.
            StorageFull, DatabaseUnavailable: nothing was saved.
        """
        with self._database.read() as session:
            known = self._known(session, case_id, draft)
            if known is not None:
                return known, False
            origin = _look_up(session, case_id, draft)
        values = self._measure(draft, origin)
        return insist(lambda: self._insert(case_id, draft, values))

    def list(self, case_id: str) -> list[LabelVersion]:
        """All versions of a case, the oldest first.

        Raises:
            UnknownCase: there is none of that id.
        """
        with self._database.read() as session:
            find_case(session, case_id)
            wanted = select(LabelVersionRow).where(LabelVersionRow.case_id == case_id).order_by(LabelVersionRow.number)
            return [_view(session, row) for row in session.scalars(wanted)]

    def get(self, case_id: str, version: str) -> LabelVersion:
        """One version.

        Raises:
            UnknownCase, UnknownVersion: there is none of that id.
        """
        with self._database.read() as session:
            find_case(session, case_id)
            row = _find_version(session, case_id, version)
            if row is None:
                raise UnknownVersion("The case has no label version of this id.", "Open the list of versions again.")
            return _view(session, row)

    def content(self, case_id: str, version: str) -> tuple[LabelVersion, Path]:
        """A version and where its file lies.

        Raises:
            UnknownCase, UnknownVersion: there is none of that id.
            UnknownBlob: the file is gone from the store.
        """
        found = self.get(case_id, version)
        return found, self._store.path(found.content)

    def kind_of(self, version: LabelVersion) -> LabelKind[Any]:
        """What is to be known of the version's file."""
        return KINDS[version.kind]

    def _known(self, session: Session, case_id: str, draft: LabelDraft) -> LabelVersion | None:
        if draft.client_key is None:
            return None
        wanted = select(LabelVersionRow).where(
            LabelVersionRow.case_id == case_id, LabelVersionRow.client_key == draft.client_key
        )
        row = session.scalar(wanted)
        if row is None:
            return None
        if (row.content, row.parent_id) != (draft.content, draft.parent):
            raise KeyReused("This client key stands for another label already.", "Use a new key for a new version.")
        return _view(session, row)

    def _measure(self, draft: LabelDraft, origin: _Origin) -> dict[str, Any]:
        """Columns that follow from the files: contents, and changes against proposal and parent."""
        kind = KINDS[draft.kind]
        saved = kind.read(self._store.read_bytes(draft.content), origin.geometry)
        model, version, sha256 = origin.model or (None, None, None)
        return {
            "model": model,
            "model_version": version,
            "model_sha256": sha256,
            "parts": kind.parts(saved),
            "against_proposal": self._compare(kind, saved, origin.proposal_blob, origin.geometry),
            "against_parent": self._compare(kind, saved, origin.parent_blob, origin.geometry),
        }

    def _compare(self, kind: LabelKind[Any], saved: Any, other: str | None, grid: Geometry) -> dict[str, Any] | None:
        if other is None or not self._store.has(other):
            return None
        try:
            return kind.compare(saved, kind.read(self._store.read_bytes(other), grid))
        except WrongGrid:  # the proposal was made on the grid of another volume
            return None

    def _insert(self, case_id: str, draft: LabelDraft, values: Mapping[str, Any]) -> tuple[LabelVersion, bool]:
        with self._database.write() as session:
            find_case(session, case_id, lock=True)
            known = self._known(session, case_id, draft)
            if known is not None:
                return known, False
            of_case = LabelVersionRow.case_id == case_id
            last = session.scalar(select(func.max(LabelVersionRow.number)).where(of_case)) or 0
            siblings = select(LabelVersionRow.id).where(
                of_case, LabelVersionRow.parent_id.is_not_distinct_from(draft.parent)
            )
            row = LabelVersionRow(
                id=str(uuid.uuid4()),
                case_id=case_id,
                number=last + 1,
                parent_id=draft.parent,
                sibling_of=session.scalar(siblings.order_by(LabelVersionRow.number).limit(1)),
                client_key=draft.client_key,
                kind=draft.kind,
                content=draft.content,
                author=draft.author,
                role=draft.role,
                inference_id=draft.inference,
                seconds_of_work=draft.seconds_of_work,
                verdict=draft.verdict,
                comment=draft.comment,
                tools=dict(draft.tools),
                **values,
            )
            session.add(row)
            session.flush()
            return _view(session, row), True


def _look_up(session: Session, case_id: str, draft: LabelDraft) -> _Origin:
    geometry = reference_geometry(session, find_case(session, case_id))
    blob = find_blob(session, draft.content)
    if blob is None:
        raise VolumeMissing(
            f"The server does not have the file of {KINDS[draft.kind].word}.",
            "Upload it first; nothing was saved.",
            (draft.content,),
        )
    if blob.kind != draft.kind:
        raise LabelError(
            f"What was sent is {_BLOB_WORDS.get(blob.kind, 'another file')}, not {KINDS[draft.kind].word}.",
            "Save the segmentation (.seg.nrrd) or the landmarks (.mrk.json) themselves as the label.",
        )
    parent_blob = None
    if draft.parent is not None:
        parent = _find_version(session, case_id, draft.parent)
        if parent is None:
            raise UnknownParent(
                "The version that was edited is not one of this case. Nothing was saved.",
                "Open the list of versions again and choose the one that you edited.",
            )
        parent_blob = parent.content if parent.kind == draft.kind else None
    proposal_blob, model = _proposal(session, case_id, draft)
    return _Origin(geometry, parent_blob, proposal_blob, model)


def _proposal(session: Session, case_id: str, draft: LabelDraft) -> tuple[str | None, tuple[str, str, str] | None]:
    if draft.inference is None:
        return None, None
    row = session.scalar(select(InferenceRow).where(InferenceRow.id == draft.inference))
    if row is None or row.state != "succeeded":
        raise UnknownProposal(
            "The inference that this label comes from has no result on this server. Nothing was saved.",
            "Save it without the inference, or run the model again.",
        )
    of_case = select(CaseVolumeRow.sha256).where(CaseVolumeRow.case_id == case_id)
    if not set(session.scalars(of_case)) & set(row.inputs.values()):
        raise UnknownProposal(
            "The inference that this label comes from looked at other images than those of this case. "
            "Nothing was saved.",
            "Save it with the case of those images, or without the inference.",
        )
    part = (row.parts or {}).get(draft.kind, {})
    return part.get("sha256"), (row.model, row.model_version, row.model_sha256)


def _find_version(session: Session, case_id: str, version: str) -> LabelVersionRow | None:
    if not (len(version) == 36 and version.isascii() and version.isprintable()):
        return None
    wanted = select(LabelVersionRow).where(LabelVersionRow.case_id == case_id, LabelVersionRow.id == version)
    return session.scalar(wanted)


def _view(session: Session, row: LabelVersionRow) -> LabelVersion:
    blob = find_blob(session, row.content)
    kind = KINDS[cast("Kind", row.kind)]
    return LabelVersion(
        id=row.id,
        case=row.case_id,
        number=row.number,
        kind=cast("Kind", row.kind),
        content=row.content,
        bytes=0 if blob is None else blob.bytes,
        author=row.author,
        role=row.role,
        created_at=row.created_at,
        parent=row.parent_id,
        sibling_of=row.sibling_of,
        inference=row.inference_id,
        model=row.model,
        model_version=row.model_version,
        model_sha256=row.model_sha256,
        seconds_of_work=row.seconds_of_work,
        verdict=cast("Verdict | None", row.verdict),
        comment=row.comment,
        tools=row.tools,
        parts={part: kind.part_of(held) for part, held in row.parts.items()},
        against_proposal=None if row.against_proposal is None else kind.comparison_of(row.against_proposal),
        against_parent=None if row.against_parent is None else kind.comparison_of(row.against_parent),
    )
