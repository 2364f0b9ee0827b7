"""The base of every error that a reader may see."""

from __future__ import annotations


class ExplainedError(Exception):
    """Something went wrong that the reader can understand and act on.

    Attributes:
        reason: what happened, in plain words.
        hint: what the reader can do about it.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.reason} {self.hint}".strip()
