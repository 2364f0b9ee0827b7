"""What a label says that it comes from: its file, the version that was edited, the proposal that was corrected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mahtai.cases.case_rows import is_id
from mahtai.cases.label_kind import LabelError, LabelKind
from mahtai.cases.label_version import UnknownParent, UnknownProposal
from mahtai.cases.landmark_labels import LandmarkLabels
from mahtai.cases.segment_labels import SegmentLabels
from mahtai.db.blobs import find_blob
from mahtai.db.tables import CaseVolumeRow, InferenceRow, LabelVersionRow
from mahtai.jobs.inference import VolumeMissing
from mahtai.models.bundle_base import Kind

KINDS: Mapping[Kind, LabelKind[Any]] = {"segmentation": SegmentLabels(), "landmarks": LandmarkLabels()}

_BLOB_WORDS = {kind: found.word for kind, found in KINDS.items()} | {"volume": "a scan"}


def require_file(session: Session, kind: Kind, content: str) -> None:
    """Look whether the file of a label was uploaded, and is one.

    Raises:
        VolumeMissing: it was not.
        LabelError: it is something else.
    """
    blob = find_blob(session, content)
    if blob is None:
        raise VolumeMissing(
            f"The server does not have the file of {KINDS[kind].word}.",
            "Upload it first; nothing was saved.",
            (content,),
        )
    if blob.kind != kind:
        raise LabelError(
            f"What was sent is {_BLOB_WORDS.get(blob.kind, 'another file')}, not {KINDS[kind].word}.",
            "Save the segmentation (.seg.nrrd) or the landmarks (.mrk.json) themselves as the label.",
        )


def check_origin(
    session: Session, case_id: str, parent: str | None, inference: str | None
) -> tuple[LabelVersionRow | None, InferenceRow | None]:
    """The edited version and the corrected inference, as far as they are named.

    Raises:
        UnknownParent: the case has no such version.
        UnknownProposal: there is no result of that inference, or it looked at other images.
    """
    edited = None if parent is None else find_version(session, case_id, parent)
    if parent is not None and edited is None:
        raise UnknownParent(
            "The version that was edited is not one of this case. Nothing was saved.",
            "Open the list of versions again and choose the one that you edited.",
        )
    return edited, _proposal(session, case_id, inference)


def find_version(session: Session, case_id: str, version: str) -> LabelVersionRow | None:
    """A version of a case."""
    if not is_id(version):
        return None
    wanted = select(LabelVersionRow).where(LabelVersionRow.case_id == case_id, LabelVersionRow.id == version)
    return session.scalar(wanted)


def _proposal(session: Session, case_id: str, inference: str | None) -> InferenceRow | None:
    if inference is None:
        return None
    row = session.scalar(select(InferenceRow).where(InferenceRow.id == inference))
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
    return row
