"""Drafts: unfinished work, kept while somebody edits."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import Field

from mahtai.api.acting import Acting
from mahtai.api.forms import Answer, Form, Identifier, Name, Sha256
from mahtai.api.label_forms import Seconds, Tool, one_file
from mahtai.api.openapi import problems
from mahtai.api.services import Called
from mahtai.cases.drafts import Draft, NewDraft

router = APIRouter(prefix="/v1/cases/{case}/drafts", tags=["drafts"], responses=problems(401))

Session = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9-]{1,64}$", description="Of editing; made up by the client, such as a UUID.")
]


class DraftIn(Form):
    """Unfinished work: a segmentation or landmarks."""

    segmentation: Sha256 | None = Field(None, description="SHA-256 of an uploaded .seg.nrrd.")
    landmarks: Sha256 | None = Field(None, description="SHA-256 of an uploaded .mrk.json. One of the two is given.")
    parent: Identifier | None = None
    inference: Identifier | None = None
    seconds_of_work: Seconds | None = None
    tools: dict[Name, Tool] = Field(default_factory=dict, max_length=100)

    def new_draft(self) -> NewDraft:
        """For the service.

        Raises:
            FileUnclear: not exactly one file is named.
        """
        kind, content = one_file({"segmentation": self.segmentation, "landmarks": self.landmarks})
        said = self.model_dump(exclude={"segmentation", "landmarks"})
        return NewDraft(kind=kind, content=content, **said)


class DraftOut(Answer):
    """A kept draft."""

    session: str
    number: int = Field(description="Counts how often the session kept one.")
    kind: Literal["segmentation", "landmarks"]
    segmentation: Sha256 | None
    landmarks: Sha256 | None
    author: str
    parent: str | None
    inference: str | None
    seconds_of_work: float | None
    tools: dict[str, float]
    saved_at: datetime

    @classmethod
    def of(cls, draft: Draft) -> DraftOut:
        """From the service's view of the draft."""
        files = {kind: draft.content if draft.kind == kind else None for kind in ("segmentation", "landmarks")}
        return cls.model_validate({**vars(draft), **files})


class DraftsOut(Answer):
    """The newest draft of each editing session, the newest first."""

    drafts: list[DraftOut]


@router.put("/{session}", responses=problems(404, 422, 503, 507))
def keep_draft(case: str, session: Session, wanted: DraftIn, services: Called, person: Acting) -> DraftOut:
    """Keep the newest state of an editing session; it replaces that session's last one and no other."""
    draft = wanted.new_draft()
    services.visibility.require_volumes(person, [draft.content])
    return DraftOut.of(services.drafts.keep(case, session, draft, person))


@router.get("", responses=problems(404))
def list_drafts(case: str, services: Called) -> DraftsOut:
    """The drafts of a case. The file of one is got with `GET /v1/volumes/{sha256}`."""
    return DraftsOut(drafts=[DraftOut.of(draft) for draft in services.drafts.list(case)])


@router.delete("/{session}", status_code=204, responses=problems(404))
def discard_draft(case: str, session: Session, services: Called, person: Acting) -> None:
    """Forget a draft."""
    services.drafts.discard(case, session, person)
