"""Cases: the studies that people work on, and the list of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import ConfigDict, Field, field_validator

from mahtai.api.acting import Acting, is_about
from mahtai.api.forms import EXAMPLE_HASH, Answer, Form, Identifier, Name, Sha256, Slug, Text, storable
from mahtai.api.openapi import problems
from mahtai.api.services import Called
from mahtai.cases.case import Case, CaseChanged, Filter, NewCase, Split, State
from mahtai.cases.studies import Change

PAGE = 1000
LARGEST_SOURCE = 65_536
"""Bytes of the JSON that is stored, in which every character beyond ASCII is escaped."""

DEEPEST_SOURCE = 16
PRIORITY = 1_000_000

router = APIRouter(prefix="/v1/cases", tags=["cases"], responses=problems(401))

TeamName = Annotated[Text, Field(min_length=1, max_length=64)]
Priority = Annotated[int, Field(ge=-PRIORITY, le=PRIORITY, description="The higher, the sooner.")]


class CaseIn(Form):
    """A case to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "Case 17",
                "task": "brain-tumour",
                "volumes": {"t1c": EXAMPLE_HASH},
                "client_key": "c1e0b6a2-2c0e-4c42-8f0a-0d1f0f0c9b11",
            }
        }
    )

    name: Name = Field(description="For display; no patient data.")
    task: Annotated[Text, Field(min_length=1, max_length=64)]
    volumes: dict[Slug, Sha256] = Field(max_length=32, description="Slot → SHA-256 of an uploaded volume.")
    client_key: Identifier | None = Field(None, description="The same key again gives the same case.")
    patient: Annotated[Text, Field(max_length=200)] | None = Field(
        None, description="What the patient is called where the study comes from. Only a keyed hash of it is kept."
    )
    priority: Priority = 0
    assignee: Name | None = Field(None, description="For whom it is meant.")
    team: TeamName | None = Field(None, description="Whose it is; without, everybody's.")
    source: dict[str, Any] | None = Field(None, description="Where it comes from, such as UIDs; kept apart.")

    @field_validator("source")
    @classmethod
    def _is_small(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            if not _is_flat(value, DEEPEST_SOURCE):
                raise ValueError(f"holds things in things more than {DEEPEST_SOURCE} deep")
            if len(json.dumps(value)) > LARGEST_SOURCE:
                raise ValueError(f"has more than {LARGEST_SOURCE} bytes as JSON in ASCII")
            for text in _texts(value):
                storable(text)
        return value

    def new_case(self) -> NewCase:
        """For the service."""
        return NewCase(**self.model_dump())


class ReviewSummary(Answer):
    """The last review of a case."""

    verdict: Literal["approve", "reject"]
    reviewer: str
    comment: str
    version: str
    created_at: datetime


class CaseOut(Answer):
    """A case."""

    id: str
    number: int
    name: str
    task: str
    volumes: dict[str, str]
    reference: str = Field(description="Slot whose voxel grid the labels lie on.")
    team: str | None = Field(description="Whose it is; null for everybody's.")
    patient: str | None = Field(
        description="Tells nothing of the patient; the same for cases of one team that are the same patient's."
    )
    split: Split = Field(description="What the patient's cases are for; `none`: neither training nor test.")
    state: State = Field(description="`claimed` is a new case that somebody holds.")
    priority: int
    assignee: str | None
    holder: str | None = Field(description="Who works on it now.")
    held_until: datetime | None
    submitted: str | None = Field(description="The label version that was handed in last.")
    approved: str | None = Field(description="The label version that passed a review last.")
    last_review: ReviewSummary | None
    removed: bool
    revision: int
    created_at: datetime
    updated_at: datetime
    label_count: int

    @classmethod
    def of(cls, case: Case) -> CaseOut:
        """From the service's view of the case."""
        return cls.model_validate(case)


class CasesOut(Answer):
    """Cases, the newest first."""

    cases: list[CaseOut]
    next: int | None = Field(description="`before` of the next page; null on the last one.")


class CaseChange(Form):
    """What is to be different; what is not named stays."""

    name: Name | None = None
    assignee: Annotated[Text, Field(max_length=200)] | None = Field(
        None, description="Empty: for nobody in particular."
    )
    priority: Priority | None = None
    team: Annotated[Text, Field(max_length=64)] | None = Field(None, description="Empty: for everybody.")


class SourceOut(Answer):
    """Where a case comes from, as it was told when the case was made."""

    source: dict[str, Any]


class EventOut(Answer):
    """Something that happened to a case."""

    number: int
    at: datetime
    who: str
    role: str
    what: str
    before: str = Field(description="The state before.")
    after: str
    version: str | None
    comment: str


class EventsOut(Answer):
    """What happened to a case, the oldest first."""

    events: list[EventOut]


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": CaseOut, "description": "Made before, with the same key."},
        **problems(409, 422, 503, 507),
    },
)
def create_case(wanted: CaseIn, request: Request, response: Response, services: Called, person: Acting) -> CaseOut:
    """Make a case of volumes that were uploaded before."""
    services.visibility.require_volumes(person, wanted.volumes.values())
    case, is_new = services.cases.create(wanted.new_case(), person)
    services.visibility.require(person, {"case": case.id})  # made before with the same key, and moved since
    is_about(request, "case", case.id)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/cases/{case.id}"
    return CaseOut.of(case)


@router.get("", responses=problems(422))
def list_cases(
    services: Called,
    person: Acting,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="`next` of the page before.")] = None,
    volume: Annotated[
        str | None, Query(pattern="^[0-9a-f]{64}$", description="Only cases that have this volume (SHA-256).")
    ] = None,
    state: Annotated[list[State] | None, Query(max_length=6, description="May be repeated.")] = None,
    task: Annotated[Text | None, Query(max_length=64)] = None,
    assignee: Annotated[Text | None, Query(max_length=200)] = None,
    holder: Annotated[Text | None, Query(max_length=200)] = None,
    split: Split | None = None,
    search: Annotated[
        Text | None, Query(max_length=200, description="Part of the name, a number, or a patient.")
    ] = None,
    hard: Annotated[bool, Query(description="Only those that the AI or a reader got wrong.")] = False,
    removed: Annotated[bool, Query(description="Those that were taken off the list instead.")] = False,
) -> CasesOut:
    """Cases, the newest first."""
    wanted = Filter(limit, before, volume, tuple(state or ()), task, assignee, holder, split, search, hard, removed)
    found = services.cases.list(wanted, person)
    return CasesOut(cases=[CaseOut.of(case) for case in found], next=found[-1].number if len(found) == limit else None)


@router.get("/{case}", responses=problems(404))
def get_case(case: str, response: Response, services: Called) -> CaseOut:
    """One case."""
    found = services.cases.get(case)
    response.headers["ETag"] = f'"{found.revision}"'
    return CaseOut.of(found)


@router.patch("/{case}", responses=problems(404, 412, 422))
def change_case(
    case: str,
    change: CaseChange,
    services: Called,
    person: Acting,
    if_match: Annotated[str | None, Header(description="The revision that was read, in quotes.")] = None,
) -> CaseOut:
    """Rename a case, assign it, or put it sooner or later."""
    revision = None if if_match is None else _revision(if_match)
    return CaseOut.of(services.cases.change(case, Change(**change.model_dump(), revision=revision), person))


@router.delete("/{case}", status_code=204, responses=problems(404, 409))
def remove_case(
    case: str,
    services: Called,
    person: Acting,
    anyway: Annotated[bool, Query(description="Also while somebody else works on it.")] = False,
) -> None:
    """Take a case off the list. Nothing is erased; what somebody still saves of it is kept."""
    services.cases.remove(case, person, anyway)


@router.post("/{case}/restoration", responses=problems(404))
def restore_case(case: str, services: Called, person: Acting) -> CaseOut:
    """Put a case back on the list."""
    return CaseOut.of(services.cases.restore(case, person))


@router.get("/{case}/source", responses=problems(404))
def get_source(case: str, services: Called) -> SourceOut:
    """Where a case comes from."""
    return SourceOut(source=dict(services.cases.source(case)))


@router.get("/{case}/events", responses=problems(404))
def list_events(case: str, services: Called) -> EventsOut:
    """What happened to a case, the oldest first."""
    return EventsOut(events=[EventOut.model_validate(event) for event in services.cases.events(case)])


def _is_flat(value: Any, deepest: int) -> bool:
    """Whether no list or object lies deeper in others than so many."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return deepest > 0 and all(_is_flat(each, deepest - 1) for each in inner if isinstance(each, (dict, list)))


def _texts(value: Any) -> Iterator[str]:
    """All names and texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        inner = (*value.keys(), *value.values()) if isinstance(value, dict) else value
        for each in inner:
            yield from _texts(each)


def _revision(header: str) -> int:
    number = header.strip().removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise CaseChanged("If-Match is no revision of this case. Nothing was changed.", "Look at the case again.")
    return int(number)
