"""Label versions: immutable, a tree, each with where it comes from and what was changed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mahtai.cases.case import KeyReused
from mahtai.cases.case_rows import find_case, note, reference_geometry, shown_state
from mahtai.cases.drafts import end_draft
from mahtai.cases.label_kind import LabelKind, WrongGrid
from mahtai.cases.label_origin import KINDS, check_origin, find_version, require_file
from mahtai.cases.label_version import LabelDraft, LabelVersion, UnknownVersion, Versions
from mahtai.cases.label_views import view, views
from mahtai.cases.leases import end_lease
from mahtai.cases.person import Person
from mahtai.db.clock import moment
from mahtai.db.engine import Database, insist
from mahtai.db.tables import CaseRow, LabelVersionRow
from mahtai.volumes.store import BlobStore, StoredBlob
from MahtAILib.client.geometry import Geometry

REOPENED = ("new", "rejected", "approved")
"""States that a saved version makes a draft; what waits for a review goes on waiting."""


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

        Neither a lease that has ended nor a case that was taken off the list keeps anybody from saving.

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

    def list(self, case_id: str) -> Versions:
        """All versions of a case, the oldest first.

        Raises:
            UnknownCase: there is none of that id.
        """
        with self._database.read() as session:
            case = find_case(session, case_id)
            wanted = select(LabelVersionRow).where(LabelVersionRow.case_id == case_id).order_by(LabelVersionRow.number)
            return views(session, case, session.scalars(wanted).all())

    def get(self, case_id: str, version: str) -> LabelVersion:
        """One version.

        Raises:
            UnknownCase, UnknownVersion: there is none of that id.
        """
        with self._database.read() as session:
            case = find_case(session, case_id)
            return view(session, case, require_version(session, case_id, version))

    def content(self, case_id: str, version: str) -> tuple[LabelVersion, StoredBlob]:
        """A version and its file.

        Raises:
            UnknownCase, UnknownVersion: there is none of that id.
            UnknownBlob: the file is gone from the store.
        """
        found = self.get(case_id, version)
        return found, self._store.get(found.content)

    def kind_of(self, version: LabelVersion) -> LabelKind[Any]:
        """What is to be known of the version's file."""
        return KINDS[version.kind]

    def read(self, case_id: str, version: str) -> tuple[LabelVersion, Any, Geometry]:
        """A version, its content on the grid of the case, and that grid.

        Raises:
            UnknownCase, UnknownVersion, UnknownBlob: it is not there.
        """
        found = self.get(case_id, version)
        with self._database.read() as session:
            geometry = reference_geometry(session, find_case(session, case_id))
        return found, KINDS[found.kind].read(self._store.read_bytes(found.content), geometry), geometry

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
        return view(session, find_case(session, case_id), row)

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
            case = find_case(session, case_id, lock=True)
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
                restores_id=draft.restores,
                merges_id=draft.merges,
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
            _carry_on(session, case, row, draft)
            session.flush()
            return view(session, case, row), True


def require_version(session: Session, case_id: str, version: str) -> LabelVersionRow:
    """A version of a case.

    Raises:
        UnknownVersion: it has none of that id.
    """
    row = find_version(session, case_id, version)
    if row is None:
        raise UnknownVersion("The case has no label version of this id.", "Open the list of versions again.")
    return row


def hand_in(session: Session, case: CaseRow, person: Person, version: str) -> None:
    """The version waits for a review; the case is nobody's until then."""
    before = shown_state(case, moment(session))
    case.state, case.submitted = "submitted", version
    if case.holder == person.name:
        end_lease(case)
    note(session, case, person, "submitted", before, version)


def _carry_on(session: Session, case: CaseRow, row: LabelVersionRow, draft: LabelDraft) -> None:
    """What a new version does to its case."""
    person = Person(draft.author, draft.role)
    before = shown_state(case, moment(session))
    if case.state in REOPENED:
        case.state = "draft"
    note(session, case, person, "saved", before, row.id)
    end_draft(session, case.id, draft.session)
    if draft.submit:
        hand_in(session, case, person, row.id)


def _look_up(session: Session, case_id: str, draft: LabelDraft) -> _Origin:
    geometry = reference_geometry(session, find_case(session, case_id))
    require_file(session, draft.kind, draft.content)
    parent, inference = check_origin(session, case_id, draft.parent, draft.inference)
    for other in (draft.restores, draft.merges):
        if other is not None:
            require_version(session, case_id, other)
    same_kind = parent is not None and parent.kind == draft.kind
    proposal = {} if inference is None else (inference.parts or {}).get(draft.kind, {})
    return _Origin(
        geometry,
        parent.content if parent is not None and same_kind else None,
        proposal.get("sha256"),
        None if inference is None else (inference.model, inference.model_version, inference.model_sha256),
    )
