"""The words that bundles use for sequences, regions and tasks → the ids that MahtAI uses."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

VOCABULARY_FILE = Path(__file__).with_name("vocabulary.json")

_LONGEST_RUN = 4
"""Words of a name that may be one sequence: "fluid attenuated inversion recovery"."""


@cache
def _table() -> dict[str, Any]:
    return dict(json.loads(VOCABULARY_FILE.read_text("utf-8")))


def _bare(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())


def _slug(word: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")


def channel_id(word: str) -> str:
    """``"T2-FLAIR"`` → ``"flair"``; a word that the table does not know becomes a slug of itself."""
    for channel, entry in _table()["channels"].items():
        if _bare(word) in entry["words"]:
            return str(channel)
    return _slug(word)


def channel_in(name: str) -> str | None:
    """The channel that an image's name tells, by the longest run of its words that is one; None if it tells none.

    ``"BraTS_001 T2-FLAIR"`` → ``"flair"``. Of two that are as long, the last one counts.
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    known = {word: channel for channel, entry in _table()["channels"].items() for word in entry["words"]}
    for length in range(min(len(words), _LONGEST_RUN), 0, -1):
        for first in range(len(words) - length, -1, -1):
            channel = known.get("".join(words[first : first + length]))
            if channel is not None:
                return str(channel)
    return None


def channel_text(channel: str) -> tuple[str, str]:
    """Name and description for the reader; the id itself and nothing for an unknown channel."""
    entry = _table()["channels"].get(channel, {"name": channel, "description": ""})
    return entry["name"], entry["description"]


def region_id(word: str) -> str:
    """``"Tumor core"`` → ``"tc"``; a word that the table does not know becomes a slug of itself."""
    for region, words in _table()["regions"].items():
        if _bare(word) in words:
            return str(region)
    return _slug(word)


def task_of_regions(regions: set[str]) -> str | None:
    """The task whose regions a bundle predicts, if it is one that MahtAI knows."""
    for task, known in _table()["tasks"].items():
        if regions and regions <= set(known):
            return str(task)
    return None
