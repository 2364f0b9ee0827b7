"""Drafts on this computer: written before they go to the server, so that a crash costs a minute and no more."""

from __future__ import annotations

import json
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from MahtAILib.client.drafts import Draft
from MahtAILib.client.durable import replace_durably
from MahtAILib.client.errors import SpoolError

_ENDINGS = {"segmentation": ".seg.nrrd", "landmarks": ".mrk.json"}


@dataclass(frozen=True)
class LocalDraft:
    """A draft and the case that it is of."""

    server: str
    case: str
    draft: Draft


class LocalDrafts:
    """A folder with two files a draft: the work itself, which Slicer can open, and what is known of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, kept: LocalDraft, content: bytes) -> Path:
        """Write a draft in place of the last one of its session; returns the path of the work.

        Raises:
            SpoolError: it could not be written; the last one is still there.
        """
        session = str(uuid.UUID(kept.draft.session))
        path = self._folder / f"{session}{_ENDINGS[kept.draft.kind]}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_durably(path, content)
            replace_durably(self._folder / f"{session}.json", json.dumps(asdict(kept)).encode())
        except OSError as error:
            raise SpoolError(
                f"The draft could not be written to this computer ({error.strerror or error}). "
                "Your work is still open in front of you.",
                "Free some space, or save it as a version.",
            ) from error
        return path

    def of_case(self, server: str, case: str) -> list[LocalDraft]:
        """The drafts of a case, the newest first."""
        found = [one for one in self._all() if (one.server, one.case) == (server, case)]
        return sorted(found, key=lambda one: one.draft.saved_at, reverse=True)

    def read(self, session: str) -> bytes | None:
        """The work of a draft; None where it is not here."""
        for ending in _ENDINGS.values():
            with suppress(OSError, ValueError):
                return (self._folder / f"{uuid.UUID(session)}{ending}").read_bytes()
        return None

    def drop(self, session: str) -> None:
        """Forget a draft, because a version was saved in its place or nobody wants it."""
        with suppress(ValueError):
            name = str(uuid.UUID(session))
            for ending in (".json", *_ENDINGS.values()):
                with suppress(OSError):
                    (self._folder / f"{name}{ending}").unlink()

    def _all(self) -> list[LocalDraft]:
        found = []
        for path in self._folder.glob("*.json") if self._folder.is_dir() else ():
            with suppress(OSError, ValueError, KeyError, TypeError):
                document = json.loads(path.read_text(encoding="utf-8"))
                names = {item.name for item in fields(Draft)}
                known = {name: value for name, value in document["draft"].items() if name in names}
                found.append(LocalDraft(str(document["server"]), str(document["case"]), Draft(**known)))
        return found


def now() -> str:
    """The time in ISO 8601, UTC, to the second, as the server writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
