"""Cases and their label versions on the server; a version, once saved, never changes."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from MahtAILib.client.background import Task
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import NotMahtAIError
from MahtAILib.client.volumes import Blob, fetch, upload

Verdict = Literal["agree", "disagree"]
Kind = Literal["segmentation", "landmarks"]
"""What the file of a label version holds; the API names the file after it."""

_CASES = uuid.UUID("5d0b6a3e-6a52-5c0c-9e0e-2f6f2f1b8391")
"""Namespace of the keys of cases: the same volumes are the same case, in every session."""


@dataclass(frozen=True)
class NewCase:
    """A case to be created.

    Attributes:
        name: for display; no patient's name.
        task: such as ``brain_tumour``.
        volumes: slot → SHA-256 of a volume.
        client_key: a UUID; creating the same one again gives the same case.
        patient: what the patient is called where the study comes from; the server keeps a keyed hash of it.
        priority: the higher, the sooner.
        assignee: for whom it is meant.
        source: where the study comes from, such as UIDs; the server keeps it apart from the case.
    """

    name: str
    task: str
    volumes: Mapping[str, str]
    client_key: str
    patient: str | None = None
    priority: int = 0
    assignee: str | None = None
    source: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Case:
    """A case as the server describes it; ``document`` is all that it said."""

    id: str
    name: str
    task: str
    volumes: Mapping[str, str]
    document: Mapping[str, Any] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class NewLabel:
    """What is said about a segmentation or landmarks when they are saved as a label version.

    Attributes:
        author: who edited it.
        role: such as ``radiologist`` or ``annotator``.
        parent: id of the version that was edited, None for a first one.
        inference: id of the job whose proposal was edited.
        seconds_of_work: spent on it.
        verdict: whether the author agrees with the proposal.
        comment: free text, at most 10 000 characters.
        tools: editing tool → seconds that it was used.
        submit: it is finished and waits for a review.
        session: of editing; the draft that the server keeps of it ends with this version.
        restores: id of the version whose content is brought back.

    Raises:
        ValueError: a value that every server refuses; a label with one must not wait to be sent in vain.
    """

    author: str
    role: str
    parent: str | None = None
    inference: str | None = None
    seconds_of_work: float | None = None
    verdict: Verdict | None = None
    comment: str = ""
    tools: Mapping[str, float] = field(default_factory=dict)
    submit: bool = False
    session: str | None = None
    restores: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.author) <= 200 or not 1 <= len(self.role) <= 32:
            raise ValueError("A label version needs an author (up to 200 characters) and a role (up to 32).")
        if len(self.comment) > 10_000:
            raise ValueError("The comment is longer than 10 000 characters.")
        if self.seconds_of_work is not None and not 0 <= self.seconds_of_work < math.inf:
            raise ValueError("The seconds of work must be a number from 0.")
        if self.verdict not in (None, "agree", "disagree"):
            raise ValueError("The verdict is “agree” or “disagree”.")


@dataclass(frozen=True)
class LabelVersion:
    """A saved version.

    Attributes:
        id: the server's name for it.
        number: counts within the case.
        parent: id of the version that was edited.
        sibling_of: id of another version made from the same parent in the meantime; both are kept.
        sha256: of its file.
        author: who saved it.
        kind: ``segmentation`` or ``landmarks``.
        document: all that the server said: role, verdict, what was changed of the proposal and so on.
    """

    id: str
    number: int
    parent: str | None
    sibling_of: str | None
    sha256: str
    author: str
    kind: Kind = "segmentation"
    document: Mapping[str, Any] = field(repr=False, default_factory=dict)


def anonymous_case(task: str, volumes: Mapping[str, str]) -> NewCase:
    """The case of these volumes, the same one wherever it is made; its name tells nothing of the patient.

    Args:
        volumes: slot → SHA-256.
    """
    key = uuid.uuid5(_CASES, " ".join(f"{slot}={sha256}" for slot, sha256 in sorted(volumes.items())))
    return NewCase(f"Study {str(key)[:8]}", task, dict(volumes), str(key))


def create_case(connection: Connection, case: NewCase, task: Task | None = None) -> Case:
    """Create a case, or get the one that was created with the same ``client_key``.

    Raises:
        RequestRefusedError: a volume is not on the server, or a slot does not fit the task.
    """
    said = {name: value for name, value in asdict(case).items() if value not in (None, 0)}
    return _case(connection.json("POST", "/v1/cases", said, retry=True, task=task))


def list_cases(connection: Connection, volume: str = "") -> list[Case]:
    """Cases of the server, the newest first: all, or those that have the volume of this SHA-256 in some slot."""
    cases: list[Case] = []
    chosen = f"volume={quote(volume, safe='')}" if volume else ""
    page = f"/v1/cases?{chosen}" if chosen else "/v1/cases"
    while page:
        answer = connection.json("GET", page)
        cases += [_case(document) for document in listing(answer, "cases")]
        before = answer.get("next")
        page = f"/v1/cases?before={int(before)}&{chosen}".rstrip("&") if before else ""
    return cases


def get_case(connection: Connection, case_id: str) -> Case:
    """One case.

    Raises:
        RequestRefusedError: there is none of that id (status 404).
    """
    return _case(connection.json("GET", case_path(case_id)))


def list_labels(connection: Connection, case_id: str) -> list[LabelVersion]:
    """All label versions of a case, the oldest first."""
    documents = listing(connection.json("GET", f"{case_path(case_id)}/labels"), "labels")
    return sorted((label_of(document) for document in documents), key=lambda label: label.number)


def add_label(
    connection: Connection,
    case_id: str,
    content: bytes,
    label: NewLabel,
    client_key: str,
    task: Task | None = None,
) -> LabelVersion:
    """Save a new version; nothing is overwritten, and saying it twice saves it once.

    Args:
        connection: to the server.
        case_id: the case.
        content: a ``.seg.nrrd`` file on the grid of the case's reference volume, or a ``.mrk.json`` file of it.
        label: what is said about it.
        client_key: a UUID of this version.
        task: stops the upload when it is stopped.

    Raises:
        RequestRefusedError: no such case or parent, a file that cannot be read, or another grid.
    """
    blob = Blob(content)
    upload(connection, [blob], task=task)
    body: dict[str, Any] = {**asdict(label), kind_of(content): blob.sha256, "client_key": client_key}
    condition = {"If-None-Match": "*"} if label.parent is None else {"If-Match": f'"{label.parent}"'}
    answer = connection.json("POST", f"{case_path(case_id)}/labels", body, headers=condition, retry=True, task=task)
    return label_of(answer)


def label_content(connection: Connection, case_id: str, label: LabelVersion, max_bytes: int = 2**30) -> bytes:
    """The ``.seg.nrrd`` or ``.mrk.json`` file of a version, hash checked.

    Raises:
        DamagedTransferError: it arrived damaged twice.
    """
    return fetch(connection, content_path(case_id, label), label.sha256, max_bytes)


def kind_of(content: bytes) -> Kind:
    """What a label file holds, by its first byte: ``.mrk.json`` is JSON, ``.seg.nrrd`` is not."""
    return "landmarks" if content[:64].lstrip()[:1] == b"{" else "segmentation"


def content_path(case_id: str, label: LabelVersion) -> str:
    """Of a version's file in the API."""
    return f"{case_path(case_id)}/labels/{quote(label.id, safe='')}/content"


def case_path(case_id: str) -> str:
    """Of a case in the API, whatever its id holds."""
    return f"/v1/cases/{quote(case_id, safe='')}"


def listing(answer: Any, name: str) -> list[Any]:
    """The list of that name in an answer.

    Raises:
        NotMahtAIError: there is none.
    """
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise NotMahtAIError(f"The server's list of {name} cannot be understood.")
    return found


def _case(document: Any) -> Case:
    try:
        return Case(
            str(document["id"]), str(document["name"]), str(document["task"]), dict(document["volumes"]), document
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotMahtAIError("The server's description of a case cannot be understood.") from error


def label_of(document: Any) -> LabelVersion:
    """A label version as the server describes it.

    Raises:
        NotMahtAIError: the description cannot be understood.
    """
    try:
        kind: Kind = "landmarks" if document.get("kind") == "landmarks" else "segmentation"
        return LabelVersion(
            id=str(document["id"]),
            number=int(document["number"]),
            parent=document.get("parent"),
            sibling_of=document.get("sibling_of"),
            sha256=str(document[kind]),
            author=str(document.get("author", "")),
            kind=kind,
            document=document,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NotMahtAIError("The server's description of a label version cannot be understood.") from error
