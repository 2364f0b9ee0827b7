"""Which models can be fetched, from where, and what their bytes must hash to (``registry.json``)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mahtai.errors import MahtaiError

REGISTRY_FILE = Path(__file__).with_name("registry.json")


class UnknownSource(MahtaiError):
    """A model that the registry does not name."""

    kind = "unknown-source"
    title = "This model cannot be fetched"
    status = 404


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Attributes:
        path: where it belongs in the model's folder; empty for an archive.
        published_sha1: what the publisher states, checked besides ``sha256``.
    """

    url: str
    bytes: int
    sha256: str
    path: str = ""
    published_sha1: str | None = None


@dataclass(frozen=True)
class Source:
    """One place to get a whole model from: an archive, single files, or an archive with files added to it."""

    archive: RemoteFile | None
    files: tuple[RemoteFile, ...]

    @property
    def bytes(self) -> int:
        """What has to be fetched in all."""
        return sum(file.bytes for file in self.parts)

    @property
    def parts(self) -> tuple[RemoteFile, ...]:
        """The archive, if there is one, and the files."""
        return (*([self.archive] if self.archive else []), *self.files)


@dataclass(frozen=True)
class Entry:
    """One model of the registry; its sources are tried in order."""

    id: str
    name: str
    licence: str
    homepage: str
    sources: tuple[Source, ...]


def read_registry(path: Path = REGISTRY_FILE) -> dict[str, Entry]:
    """All entries by model id."""
    models: dict[str, Any] = json.loads(path.read_text("utf-8"))["models"]
    return {
        model_id: Entry(
            id=model_id,
            name=item["name"],
            licence=item["licence"],
            homepage=item["homepage"],
            sources=tuple(
                Source(
                    archive=RemoteFile(**source["archive"]) if "archive" in source else None,
                    files=tuple(RemoteFile(**file) for file in source.get("files", [])),
                )
                for source in item["sources"]
            ),
        )
        for model_id, item in models.items()
    }


def entry(model_id: str, registry: dict[str, Entry]) -> Entry:
    """One entry.

    Raises:
        UnknownSource: the hint names those that there are.
    """
    if model_id not in registry:
        raise UnknownSource(
            f"MahtAI does not know where to get a model {model_id[:100]!r}.",
            f"It can fetch: {', '.join(sorted(registry))}. Other MONAI bundles go as folders into the models folder.",
        )
    return registry[model_id]
