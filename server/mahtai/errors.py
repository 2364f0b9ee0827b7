"""The base of every error that a reader may see."""

from __future__ import annotations

from typing import ClassVar


class MahtaiError(Exception):
    """Something went wrong that the reader can understand and act on.

    Attributes:
        kind: slug that tells the cause apart for programs; it never changes once published.
        title: the cause in a few words, the same for every occurrence.
        status: HTTP status that the API answers with.
        reason: what happened this time, in plain words.
        hint: what to do about it.
    """

    kind: ClassVar[str] = "error"
    title: ClassVar[str] = "Something went wrong"
    status: ClassVar[int] = 500

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.reason} {self.hint}".strip()
