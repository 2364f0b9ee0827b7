"""Unfinished work on the server: the newest state of each editing session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from MahtAILib.client.background import Task
from MahtAILib.client.cases import Kind, case_path, kind_of, listing
from MahtAILib.client.connection import Connection
from MahtAILib.client.errors import NotMahtAIError
from MahtAILib.client.volumes import Blob, fetch, upload


@dataclass(frozen=True)
class Draft:
    """A kept draft.

    Attributes:
        session: of editing; made up by the panel, a UUID.
        sha256: of its file.
        author: who edits.
        parent: id of the version that is edited, empty for none. inference: likewise of the AI's proposal.
        saved_at: ISO 8601.
    """

    session: str
    sha256: str
    author: str
    parent: str = ""
    inference: str = ""
    seconds_of_work: float = 0.0
    saved_at: str = ""
    kind: Kind = "segmentation"


def send_draft(connection: Connection, case_id: str, draft: Draft, content: bytes, task: Task | None = None) -> Draft:
    """Keep the newest state of an editing session; it replaces that session's last one and no other.

    Raises:
        RequestRefusedError: no such case, or a file that cannot be read.
    """
    blob = Blob(content)
    upload(connection, [blob], task=task)
    body: dict[str, Any] = {
        kind_of(content): blob.sha256,
        "parent": draft.parent or None,
        "inference": draft.inference or None,
        "seconds_of_work": round(draft.seconds_of_work, 1),
    }
    return _draft(connection.json("PUT", _path(case_id, draft.session), body, task=task))


def list_drafts(connection: Connection, case_id: str) -> list[Draft]:
    """The newest draft of each editing session, the newest first."""
    return [_draft(one) for one in listing(connection.json("GET", f"{case_path(case_id)}/drafts"), "drafts")]


def draft_content(connection: Connection, draft: Draft, max_bytes: int = 2**30) -> bytes:
    """The file of a draft, hash checked.

    Raises:
        DamagedTransferError: it arrived damaged twice.
    """
    return fetch(connection, f"/v1/volumes/{quote(draft.sha256, safe='')}", draft.sha256, max_bytes)


def discard_draft(connection: Connection, case_id: str, session: str) -> None:
    """Forget a draft; nothing happens if there is none."""
    connection.json("DELETE", _path(case_id, session))


def _path(case_id: str, session: str) -> str:
    return f"{case_path(case_id)}/drafts/{quote(session, safe='')}"


def _draft(document: Any) -> Draft:
    try:
        kind: Kind = "landmarks" if document["kind"] == "landmarks" else "segmentation"
        return Draft(
            session=str(document["session"]),
            sha256=str(document[kind]),
            author=str(document["author"]),
            parent=str(document["parent"] or ""),
            inference=str(document["inference"] or ""),
            seconds_of_work=float(document["seconds_of_work"] or 0),
            saved_at=str(document["saved_at"]),
            kind=kind,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotMahtAIError("The server's description of a draft cannot be understood.") from error
