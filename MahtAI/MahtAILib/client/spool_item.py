"""One unsent piece of work on disk: a folder with ``item.json`` and its files, each named by its SHA-256."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from MahtAILib.client.acting import Person
from MahtAILib.client.cases import NewCase, NewLabel
from MahtAILib.client.durable import replace_durably, write_durably
from MahtAILib.client.reviews import Decision
from MahtAILib.client.volumes import Blob

ITEM_FILE = "item.json"
REFUSAL_FILE = "refusal.json"
_FORMAT = 1


class DamagedItemError(Exception):
    """What lies in the folder is not what was put there."""


@dataclass(frozen=True)
class SpooledItem:
    """Something that waits to be sent.

    Attributes:
        folder: where it lies.
        client_key: the UUID that makes sending it twice harmless.
        server: address of the server that it is meant for.
        case: id of the case on that server, or the case to be created.
        parent_key: ``client_key`` of the version that it is made from or about, if that one was spooled too.
        saved_at: when the reader saved it, UTC.
    """

    folder: Path
    client_key: str
    server: str
    case: str | NewCase
    parent_key: str | None
    saved_at: str


@dataclass(frozen=True)
class SpooledDecision(SpooledItem):
    """A decision about a label version that waits to be sent."""

    decision: Decision

    @property
    def author(self) -> str:
        """Who decided."""
        return self.decision.person.name

    @property
    def content(self) -> str:
        """It has no file."""
        return ""


@dataclass(frozen=True)
class SpooledLabel(SpooledItem):
    """A label version that waits to be sent.

    Attributes:
        label: what is said about it.
        content: SHA-256 of its file, a segmentation or landmarks.
        files: SHA-256 of all files that must be on the server: that one and perhaps volumes.
    """

    label: NewLabel
    content: str
    files: tuple[str, ...]

    @property
    def author(self) -> str:
        """Who saved it."""
        return self.label.author

    def read(self, sha256: str) -> Blob:
        """One of its files.

        Raises:
            DamagedItemError: it is missing or changed.
            OSError: the disk fails.
        """
        try:
            data = (self.folder / _file_name(sha256)).read_bytes()
        except FileNotFoundError as error:
            raise DamagedItemError("A file of this saved version is missing on this computer.") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DamagedItemError("A file of this saved version was damaged on this computer.")
        return Blob(data, sha256)


AnyItem = SpooledLabel | SpooledDecision


def write_item(folder: Path, item: AnyItem, blobs: Sequence[Blob] = ()) -> None:
    """Write an item into an empty folder; what makes it one, ``item.json``, comes last.

    Raises:
        OSError: disk full, no permission.
    """
    for blob in blobs:
        write_durably(folder / _file_name(blob.sha256), blob.data)
    document: dict[str, Any] = {
        "format": _FORMAT,
        "client_key": item.client_key,
        "server": item.server,
        "case": item.case if isinstance(item.case, str) else asdict(item.case),
        "parent_key": item.parent_key,
        "saved_at": item.saved_at,
    }
    if isinstance(item, SpooledDecision):
        document["decision"] = asdict(item.decision)
    else:
        document |= {"label": asdict(item.label), "content": item.content, "files": list(item.files)}
    write_durably(folder / ITEM_FILE, json.dumps(document, indent=1).encode())


def read_item(folder: Path) -> AnyItem:
    """The item in a folder.

    Raises:
        DamagedItemError: there is none that can be understood.
        OSError: the disk fails.
    """
    try:
        document = json.loads((folder / ITEM_FILE).read_bytes())
        case = document["case"]
        common: dict[str, Any] = {
            "folder": folder,
            "client_key": str(uuid.UUID(document["client_key"])),
            "server": str(document["server"]),
            "case": case if isinstance(case, str) else NewCase(**case),
            "parent_key": document["parent_key"],
            "saved_at": str(document["saved_at"]),
        }
        if "decision" in document:
            decision = document["decision"]
            person = Person(**_known(Person, decision["person"]))
            return SpooledDecision(**common, decision=Decision(**{**_known(Decision, decision), "person": person}))
        return SpooledLabel(
            **common,
            label=NewLabel(**_known(NewLabel, document["label"])),
            content=content_of(document),
            files=tuple(map(str, document["files"])),
        )
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedItemError("The description of this saved version was damaged on this computer.") from error


@dataclass(frozen=True)
class RefusedLabel:
    """An item that the server will not take, kept in full.

    Attributes:
        folder: where it lies.
        item: what was saved, or None if its description is damaged.
        reason: why it was refused.
        hint: what to do about that.
    """

    folder: Path
    item: AnyItem | None
    reason: str
    hint: str


def write_refusal(folder: Path, reason: str, hint: str) -> None:
    """Put down beside an item why it was refused.

    Raises:
        OSError: disk full, no permission.
    """
    document = {"reason": reason, "hint": hint, "at": utc_now()}
    replace_durably(folder / REFUSAL_FILE, json.dumps(document).encode())


def read_refusal(folder: Path) -> RefusedLabel:
    """A refused item, whatever is left of it.

    Raises:
        OSError: the disk fails.
    """
    try:
        document = json.loads((folder / REFUSAL_FILE).read_bytes())
        reason, hint = str(document["reason"]), str(document["hint"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        reason, hint = "The reason was not kept.", ""
    try:
        return RefusedLabel(folder, read_item(folder), reason, hint)
    except DamagedItemError:
        return RefusedLabel(folder, None, reason, hint)


def utc_now() -> str:
    """The time in ISO 8601, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def content_of(document: dict[str, Any]) -> str:
    """SHA-256 of the label file that an item or a receipt names.

    Raises:
        KeyError: it names none.
    """
    # items of the first version of this client, which kept segmentations only
    return str(document["content"] if "content" in document else document["segmentation"])


def _known(kind: type[Any], document: dict[str, Any]) -> dict[str, Any]:
    """Without what a newer version of this client may have added."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in document.items() if name in names}


def _file_name(sha256: str) -> str:
    return f"{sha256}.bin"
