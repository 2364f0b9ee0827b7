"""The base of every error that a reader may see."""

from __future__ import annotations

from typing import ClassVar

from MahtAILib.errors import ExplainedError


class MahtaiError(ExplainedError):
    """Something went wrong that the reader can understand and act on.

    Attributes:
        kind: slug that tells the cause apart for programs; it never changes once published.
        title: the cause in a few words, the same for every occurrence.
        status: HTTP status that the API answers with.
    """

    kind: ClassVar[str] = "error"
    title: ClassVar[str] = "Something went wrong"
    status: ClassVar[int] = 500
