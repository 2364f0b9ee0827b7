"""What label versions need to know of the kind of file that they keep; one implementation a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from mahtai.errors import MahtaiError
from MahtAILib.client.geometry import Geometry

Content = TypeVar("Content")
"""A label file, read."""

Json = dict[str, Any]


class LabelError(MahtaiError):
    """A label that does not fit its case."""

    kind = "label"
    title = "The label cannot be saved"
    status = 422


class WrongGrid(LabelError):
    """The label does not lie on the case's reference volume."""

    kind = "label-grid"
    title = "The label lies on another grid"


class LabelKind(Protocol[Content]):
    """A kind of label: what its files hold, and how two of them differ.

    Attributes:
        word: for the reader, with its article.
        file_name: how such a file is called, from its version's number.
        media_type: of a file.
    """

    @property
    def word(self) -> str:
        """Such as ``a segmentation``."""

    @property
    def file_name(self) -> str:
        """Such as ``label-{}.seg.nrrd``."""

    @property
    def media_type(self) -> str:
        """Such as ``application/x-nrrd``."""

    def read(self, data: bytes, reference: Geometry) -> Content:
        """A file on the grid of its case's reference volume.

        Raises:
            MahtaiError: damaged, or of another kind.
            WrongGrid: it does not belong to that volume.
        """

    def parts(self, content: Content) -> Json:
        """What it holds, by segment or landmark; plain JSON that ``part_of`` understands."""

    def compare(self, saved: Content, other: Content) -> Json:
        """How ``saved`` differs from ``other``; plain JSON that ``comparison_of`` understands."""

    def known_parts(self, task: str) -> frozenset[str] | None:
        """Ids of the segments or landmarks that a task knows; None for a task that has no list of them."""

    def merge(self, first: Content, second: Content, from_second: frozenset[str]) -> bytes:
        """A file with the parts of ``first``, but those in ``from_second`` as ``second`` has them, or has them not.

        Raises:
            LabelError: the two cannot be merged.
        """

    def part_of(self, stored: Mapping[str, Any]) -> Any:
        """One of ``parts`` as a value."""

    def comparison_of(self, stored: Mapping[str, Any]) -> Any:
        """What ``compare`` gave, as a value."""
