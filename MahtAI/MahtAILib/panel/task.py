"""What the panel does with one kind of image: the part that differs between brain tumours and cephalograms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from MahtAILib.client.connection import Connection
from MahtAILib.client.study import StudyVolume
from MahtAILib.panel.background import Errand
from MahtAILib.panel.topics import Topic
from MahtAILib.scene.provenance import Provenance

BRAIN = "brain-tumour"
CEPHALOMETRY = "cephalometry"

MODEL_PARAMETERS = {BRAIN: "model", CEPHALOMETRY: "landmark_model"}
"""Task → the parameter that holds the model that the reader chose for it."""


@dataclass(frozen=True)
class Words:
    """What the shared sections say of a task.

    Attributes:
        run, run_tip: on the button that starts the model.
        no_model: why there is none to start.
        leaves: what leaves the computer, in the question that is asked before; ``{names}`` are the images.
        to_save: what is saved.
        nothing_to_save, no_images: reason and hint where a version cannot be saved.
        draft: ending of a draft's file.
    """

    run: str
    run_tip: str
    no_model: str
    leaves: str
    to_save: str
    nothing_to_save: tuple[str, str]
    no_images: tuple[str, str]
    draft: str


class Sent(Protocol):
    """What was taken for a run.

    Attributes:
        volumes: channel → pixels and where they lie.
        key: the same for the same images in the same state.
    """

    @property
    def volumes(self) -> Mapping[str, StudyVolume]: ...  # noqa: D102

    @property
    def key(self) -> object: ...  # noqa: D102

    def changed_since(self) -> list[str]:
        """A sentence for each image that was changed or deleted meanwhile."""


@dataclass(frozen=True)
class ForFile:
    """Work that was taken out of the scene to be saved.

    Attributes:
        encode: writes the file; called in a thread.
        remark: what the reader should know of it; empty if nothing.
    """

    encode: Callable[[], bytes]
    remark: str = ""


class Task(Protocol):
    """One kind of image and what is made of it. Called on the main thread unless it says otherwise.

    Attributes:
        id: as models and cases name the task.
        words: what the shared sections say.
        changed: another node is under review, or it looks different.
        edited: the reader edited it.
        arrived: a saved version was brought into the scene.
    """

    id: str
    words: Words
    changed: Topic
    edited: Topic
    arrived: Topic

    @property
    def node(self) -> Any:
        """What is reviewed and saved, or None."""

    @property
    def provenance(self) -> Provenance | None:
        """Where it comes from."""

    def image_names(self) -> str:
        """The chosen images, for the question before they leave the computer."""

    def options(self) -> dict[str, str]:
        """Of a run, as the reader set them."""

    def take(self, options: Mapping[str, str]) -> Sent:
        """The images as they are now, for a run.

        Raises:
            ExplainedError: they cannot be used, and why.
        """

    def work(
        self, connection: Connection, sent: Any, model: str, options: Mapping[str, str], errand: Errand[Any]
    ) -> Any:
        """In a thread: run the model, fetch its result and make it ready to be shown.

        Raises:
            ExplainedError: what went wrong on the way; a ``CancelledError`` if it was cancelled.
        """

    def warm_up(self) -> None:
        """In a thread: load what the first result will need."""

    def show_preview(self, preview: Any) -> None:
        """Show what ``work`` offered before its end, marked as coarse; it is never the reader's."""

    def remove_preview(self) -> None:
        """Take it away again."""

    def place(self, outcome: Any, sent: Any, url: str) -> str:
        """Bring a result into the scene as one step that can be undone; returns what the reader should know."""

    def findings(self) -> Sequence[Sequence[str]]:
        """Rows of the table of what the model found; none to hide it."""

    def volume_ids(self) -> list[str]:
        """Of the chosen images: changes when other ones are chosen."""

    def is_empty(self) -> bool:
        """Whether no image is chosen."""

    def volumes(self) -> dict[str, StudyVolume]:
        """Slot → pixels and where they lie.

        Raises:
            ExplainedError: an image cannot be used.
        """

    def note(self, node: Any, **changes: Any) -> None:
        """Change what is known of where a node's content comes from, which is no edit."""

    def for_file(self, node: Any, provenance: Provenance) -> ForFile:
        """What is under review, as it is now, to be saved.

        Raises:
            ExplainedError: it cannot be saved.
        """

    def snapshot(self, node: Any, provenance: Provenance) -> Callable[[], bytes]:
        """What is under review, as it is now, for a draft: taken in a moment, written by what is returned, in a thread.

        Raises:
            ExplainedError: it cannot be saved; also by what is returned.
        """

    def prepare(self, content: Any) -> Any:
        """In a thread: make a saved version's content ready to be opened, so that nothing is left to compute."""

    def decode(self, data: bytes) -> Any:
        """In a thread: a saved version's content; it has ``provenance``, the keys of its file.

        Raises:
            ExplainedError: the file cannot be read.
        """

    def open(self, content: Any, origin: Provenance) -> None:
        """Bring a saved version into the scene."""
